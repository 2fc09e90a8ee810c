// Foreign text made fit to be shown or saved, as nanochat/common/text.py does it.

const SGR = /\x1b\[[0-9;:]*m/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]/gu;
const REORDERING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** An error whose message is one line for the person at the page. */
export class Told extends Error {}

/** For a text file: what a terminal would act on is dropped or shown as its picture (`show_controls`). */
export function showControls(text) {
  return text.replaceAll("\r\n", "\n").replace(SGR, "").replace(CONTROL, picture);
}

/** For the screen: as `showControls`, and what would reorder the text around it is shown as its code point. */
export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(SGR, "").replace(REORDERING, picture);
}

function picture(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return code === 0x7f ? "␡" : `⟨${code.toString(16).padStart(4, "0")}⟩`;
}

/** One line of at most `most` characters. */
export function oneLine(text, most = 300) {
  const line = visible(String(text)).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

/** Characters as Python counts them: an emoji is one, not two. */
export function countCharacters(text) {
  let count = 0;
  for (let at = 0; at < text.length; at += 1) {
    if ((text.charCodeAt(at) & 0xfc00) !== 0xdc00) count += 1;
  }
  return count;
}

/** Where the character number `count` begins in `text`. */
export function characterOffset(text, count) {
  let at = 0;
  for (; count > 0 && at < text.length; count -= 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

/** 12,345 */
export const grouped = (number) => number.toLocaleString("en-US");

/** 2025-10-16 18:40:38, local. */
export function timeText(time) {
  const two = (number) => String(number).padStart(2, "0");
  const date = `${String(time.getFullYear()).padStart(4, "0")}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${date} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
