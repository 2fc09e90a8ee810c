// Markdown drawn as it grows: blocks that are over stay as they are, only what follows them is drawn anew.

import { copyButton, el } from "./dom.js";
import { parseBlocks } from "./markdown_blocks.js";
import { inline } from "./markdown_inline.js";
import { visible } from "./text.js";

const TOP_LEVEL = 3; // the page's own headings are above those of an answer

export class MarkdownView {
  #text = "";
  #settled = 0; // where the first block begins that may still change
  #tail = []; // that block and those after it, as they are drawn: {block, source, node}

  constructor() {
    this.element = el("div", { class: "markdown", dir: "auto" });
  }

  /** Shows `text`, which begins with what was shown before. */
  update(text) {
    const shown = visible(text);
    if (shown === this.#text) return;
    if (!shown.startsWith(this.#text)) this.#reset();
    this.#text = shown;
    const rest = shown.slice(this.#settled);
    const blocks = parseBlocks(rest);
    this.#draw(blocks.map((block, at) => ({ block, source: rest.slice(block.at, blocks[at + 1]?.at) })));
    const settled = settledBlocks(rest);
    if (settled > 0) {
      this.#settled += blocks[settled].at;
      this.#tail = this.#tail.slice(settled);
    }
  }

  /** Draws the tail anew, but for what is as it was. */
  #draw(tail) {
    let same = 0;
    while (same < tail.length && tail[same].source === this.#tail[same]?.source) same += 1;
    const old = this.#tail.slice(same);
    this.#tail.length = same;
    const [first, ...others] = tail.slice(same);
    if (first && grow(old[0], first)) this.#tail.push(old.shift());
    else if (first) others.unshift(first);
    for (const { node } of old) node.remove();
    for (const each of others) {
      each.node = draw(each.block);
      this.element.append(each.node);
      this.#tail.push(each);
    }
  }

  #reset() {
    this.element.replaceChildren();
    this.#tail = [];
    this.#settled = 0;
  }
}

/** How many blocks cannot change any more: those before the last one in lines that are whole. */
function settledBlocks(text) {
  const whole = text.lastIndexOf("\n") + 1;
  return whole > 0 ? Math.max(0, parseBlocks(text.slice(0, whole)).length - 1) : 0;
}

/** A code block grows in place: what is selected or scrolled in it stays so. Returns whether it could. */
function grow(drawn, next) {
  const [last, block] = [drawn?.block, next.block];
  if (last?.kind !== "code" || block.kind !== "code" || last.info !== block.info) return false;
  if (!last.text || !block.text.startsWith(last.text)) return false;
  drawn.node.querySelector("code").firstChild.appendData(block.text.slice(last.text.length));
  Object.assign(drawn, next);
  return true;
}

function draw(block) {
  switch (block.kind) {
    case "heading":
      return heading(block);
    case "code":
      return code(block);
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, ...block.blocks.map(draw));
    case "list":
      return list(block);
    case "table":
      return table(block);
    default:
      return el("p", {}, ...inline(block.text));
  }
}

function heading({ level, text }) {
  return el(`h${Math.min(6, TOP_LEVEL + level - 1)}`, { class: `level-${level}` }, ...inline(text));
}

function code({ info, text }) {
  const language = info.split(/\s/, 1)[0];
  const body = el("pre", { tabindex: "0", role: "group", "aria-label": language ? `Code, ${language}` : "Code" });
  body.append(el("code", { text }));
  const bar = el("div", { class: "code-bar" }, el("span", { text: language }));
  bar.append(copyButton(() => body.textContent, "Copy the code"));
  return el("div", { class: "code" }, bar, body);
}

function list({ start, isLoose, items }) {
  const made = start === null ? el("ul") : el("ol", start === 1 ? {} : { start: String(start) });
  for (const blocks of items) {
    const isTight = (block) => !isLoose && block.kind === "paragraph";
    made.append(el("li", {}, ...blocks.flatMap((block) => (isTight(block) ? inline(block.text) : [draw(block)]))));
  }
  return made;
}

function table({ align, head, rows }) {
  const cell = (name, attributes) => (text, column) => {
    return el(name, { class: `to-${align[column]}`, ...attributes }, ...inline(text));
  };
  const body = rows.map((row) => el("tr", {}, ...row.map(cell("td"))));
  const top = el("thead", {}, el("tr", {}, ...head.map(cell("th", { scope: "col" }))));
  const made = el("table", {}, top, el("tbody", {}, ...body));
  return el("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, made);
}
