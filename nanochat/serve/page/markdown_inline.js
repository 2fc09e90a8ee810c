// Markdown inside a block: code, emphasis, links. It follows CommonMark (chapter 6) where models do, takes time
// in proportion to the text, and gives DOM nodes; HTML is text like any other.

import { el } from "./dom.js";

const LONGEST = 10_000; // characters of a block in which marks are looked for; longer ones are shown as they are
const DEEPEST = 8; // marks inside one another
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const TARGET = /\(\s{0,9}<?((?:[^\s()<>]|\([^\s()<>]{0,500}\)){0,2000})>?(?:\s{1,9}"[^"]{0,500}")?\s{0,9}\)/y;
const AUTOLINK = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const BARE = /https?:\/\/[^\s<>"'`*[\]\u2400-\u2426⟨⟩]{1,2000}/y;
const SPECIAL = /[\\`*_~[\]!<\nh]/g;
const SPACE = /\s/;
const PUNCTUATION = /[\p{P}\p{S}]/u;

/** The nodes of a block's text. */
export function inline(text) {
  if (text.length > LONGEST) return [document.createTextNode(text)];
  return nodes(emphasis(scan(text)));
}

/** The address that a link may lead to: http or https, in the form that browsers go by; "" for all others. */
export function safeAddress(address) {
  try {
    const url = new URL(address);
    const isSafe = ["http:", "https:"].includes(url.protocol) && !url.username && !url.password;
    return isSafe ? url.href : "";
  } catch {
    return "";
  }
}

// An item is text or a node, with how deep its marks go; or a mark whose meaning is not known yet:
// {mark: "*", count, opens, closes} or {bracket: "[" | "![", used}.
const textItem = (text) => ({ text, depth: 0 });
const nodeItem = (node, depth = 1) => ({ node, depth });

function scan(text) {
  const items = [];
  const brackets = []; // places in `items`
  const closing = codeRuns(text);
  let from = 0;
  const flush = (to) => to > from && items.push(textItem(text.slice(from, to)));
  for (let at = 0; at < text.length; ) {
    SPECIAL.lastIndex = at;
    const found = SPECIAL.exec(text);
    if (!found) break;
    at = found.index;
    const read = readMark(text, at, { items, brackets, closing }, () => flush(at));
    if (read > at) from = read;
    at = Math.max(read, at + 1);
  }
  flush(text.length);
  return items;
}

/** Reads the mark at `at`; returns where it ends, or `at` when it is plain text. `flush` adds the text before. */
function readMark(text, at, { items, brackets, closing }, flush) {
  const sign = text[at];
  const add = (end, ...made) => {
    flush();
    items.push(...made);
    return end;
  };
  switch (sign) {
    case "\\":
      return at + 1 < text.length && ESCAPABLE.test(text[at + 1]) ? add(at + 2, textItem(text[at + 1])) : at;
    case "\n":
      return add(at + 1, nodeItem(el("br"), 0));
    case "`":
      return readCode(text, at, closing, add);
    case "*":
    case "_":
    case "~":
      return readEmphasisMark(text, at, add);
    case "<":
    case "h":
      return readAddress(text, at, add);
    case "!":
      if (text[at + 1] !== "[") return at;
      add(at + 2, { bracket: "![", depth: 0 });
      brackets.push(items.length - 1);
      return at + 2;
    case "[":
      add(at + 1, { bracket: "[", depth: 0 });
      brackets.push(items.length - 1);
      return at + 1;
    default:
      return readLink(text, at, items, brackets, flush);
  }
}

/** By length, where each run of backticks begins, in order. */
function codeRuns(text) {
  const runs = new Map();
  for (const run of text.matchAll(/`+/g)) {
    if (!runs.has(run[0].length)) runs.set(run[0].length, []);
    runs.get(run[0].length).push(run.index);
  }
  return runs;
}

function readCode(text, at, closing, add) {
  const length = runLength(text, at);
  const places = closing.get(length) ?? [];
  while (places.length && places[0] <= at) places.shift();
  const end = places[0];
  if (end === undefined) return add(at + length, textItem("`".repeat(length)));
  let code = text.slice(at + length, end).replaceAll("\n", " ");
  if (code.startsWith(" ") && code.endsWith(" ") && code.trim()) code = code.slice(1, -1);
  return add(end + length, nodeItem(el("code", { text: code })));
}

function runLength(text, at) {
  let end = at;
  while (text[end] === text[at]) end += 1;
  return end - at;
}

function readEmphasisMark(text, at, add) {
  const mark = text[at];
  const count = runLength(text, at);
  if (mark === "~" && count !== 2) return add(at + count, textItem(mark.repeat(count)));
  const before = text[at - 1] ?? " ";
  const after = text[at + count] ?? " ";
  const isOpening = leansOn(after, before);
  const isClosing = leansOn(before, after);
  const isInWord = mark === "_" && isOpening && isClosing; // snake_case
  const opens = isOpening && (!isInWord || PUNCTUATION.test(before));
  const closes = isClosing && (!isInWord || PUNCTUATION.test(after));
  return add(at + count, { mark, count, opens, closes, depth: 0 });
}

/** Whether a mark belongs to the character `inner` beside it and not to `outer` on its other side. */
function leansOn(inner, outer) {
  return !SPACE.test(inner) && (!PUNCTUATION.test(inner) || SPACE.test(outer) || PUNCTUATION.test(outer));
}

function readAddress(text, at, add) {
  const pattern = text[at] === "<" ? AUTOLINK : BARE;
  if (text[at] === "h" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? " ")) return at;
  pattern.lastIndex = at;
  const found = pattern.exec(text);
  if (!found) return at;
  let address = found[1] ?? found[0];
  if (text[at] === "h") {
    address = address.replace(/[.,:;!?]+$/, "");
    if (address.endsWith(")") && !address.includes("(")) address = address.replace(/\)+[.,:;!?]*$/, "");
  }
  const end = text[at] === "<" ? at + found[0].length : at + address.length;
  return add(end, { ...nodeItem(link([document.createTextNode(address)], address)), isLink: true });
}

/** At a "]": a link or an image where "(address)" follows and a bracket is open. */
function readLink(text, at, items, brackets, flush) {
  TARGET.lastIndex = at + 1;
  const found = brackets.length ? TARGET.exec(text) : null;
  const place = brackets.pop();
  if (!found) return at;
  flush();
  const [{ bracket }, ...inside] = items.splice(place);
  const label = emphasis(inside);
  const depth = deepest(label) + 1;
  if (bracket === "![") items.push(nodeItem(image(label, found[1]), depth));
  else if (depth > DEEPEST || inside.some((item) => item.isLink)) items.push(...label, textItem(` (${found[1]})`));
  else items.push({ ...nodeItem(link(nodes(label), found[1]), depth), isLink: true });
  return at + 1 + found[0].length;
}

/** A link with its address in sight. Nothing is loaded before it is followed. */
function link(label, address) {
  const safe = safeAddress(address);
  const text = label.map((node) => node.textContent).join("");
  const isPlain = text === address || text === safe;
  const where = isPlain ? null : el("bdi", { class: "address", dir: "ltr", text: ` (${safe || address})` });
  if (!safe) return el("span", {}, ...label, where);
  return el("a", { href: safe, target: "_blank", rel: "noopener noreferrer nofollow" }, ...label, where);
}

/** An image is never loaded: its text and its address stand for it. */
function image(label, address) {
  const text = nodes(label).map((node) => node.textContent).join("");
  const where = el("bdi", { dir: "ltr", text: address });
  return el("span", { class: "image" }, `[image: ${text || "without text"}] `, where);
}

/** Pairs the marks of emphasis (CommonMark, "process emphasis"); those without a partner stay text. */
function emphasis(items) {
  const done = [];
  const bottom = {}; // by mark: no opener lies before this place
  for (const item of items) {
    if (item.closes) close(item, done, bottom);
    if (item.mark === undefined || item.count > 0) done.push(item);
  }
  return done;
}

function close(item, done, bottom) {
  const { mark } = item;
  while (item.count > 0) {
    let place = done.length - 1;
    const lowest = bottom[mark] ?? 0;
    while (place >= lowest && !(done[place].mark === mark && done[place].opens && done[place].count > 0)) place -= 1;
    if (place < lowest) {
      if (!item.opens) bottom[mark] = done.length;
      return;
    }
    const opener = done[place];
    const used = Math.min(2, opener.count, item.count);
    const inside = done.splice(place + 1);
    const depth = deepest(inside) + 1;
    opener.count -= used;
    item.count -= used;
    if (opener.count === 0) done.pop();
    if (depth > DEEPEST) done.push(textItem(mark.repeat(used)), ...inside, textItem(mark.repeat(used)));
    else done.push(nodeItem(el(tag(mark, used), {}, ...nodes(inside)), depth));
    for (const name of Object.keys(bottom)) bottom[name] = Math.min(bottom[name], done.length);
  }
}

const tag = (mark, used) => (mark === "~" ? "s" : used === 2 ? "strong" : "em");

const deepest = (items) => items.reduce((depth, item) => Math.max(depth, item.depth), 0);

function nodes(items) {
  return items.map((item) => {
    return item.node ?? document.createTextNode(item.text ?? item.bracket ?? item.mark.repeat(item.count));
  });
}
