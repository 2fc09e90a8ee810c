// Markdown's blocks (CommonMark, chapters 4 and 5, and GitHub's tables): lines in, a list of blocks out. A block
// is over once the next one has begun, which is what lets a growing text be drawn piece by piece.

const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])[ \t]+(\S.*)$/; // "35." alone is an answer, no empty item of a list
const DELIMITER = /^:?-+:?$/;
const DEEPEST = 6; // lists and quotes inside one another; what lies deeper is plain text
const COLUMNS = 64;

const isBlank = (line) => line.trim() === "";

/** The blocks of `text`, each {kind, at: where it begins, …}. */
export function parseBlocks(text, depth = 0) {
  const lines = text.split("\n");
  const starts = [];
  let offset = 0;
  for (const line of lines) {
    starts.push(offset);
    offset += line.length + 1;
  }
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const [block, next] = readBlock(lines, at, depth);
    blocks.push({ ...block, at: starts[at] });
    at = next;
  }
  return blocks;
}

/** The block that begins at a line, and the line after it. */
function readBlock(lines, at, depth) {
  const line = lines[at];
  const fence = readFence(line);
  if (fence) return readCode(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) {
    const text = (heading[2] ?? "").replace(/(^|[ \t])#+[ \t]*$/, "").trim();
    return [{ kind: "heading", level: heading[1].length, text }, at + 1];
  }
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return readList(lines, at, depth);
  if (isTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at, depth);
}

/** Whether a line ends the paragraph before it. */
function begins(lines, at, depth) {
  const line = lines[at];
  if (readFence(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, at)) return true;
  if (depth >= DEEPEST) return false;
  const item = ITEM.exec(line);
  return QUOTE.test(line) || Boolean(item && /^(?:1[.)]|[-+*])$/.test(item[2]));
}

function readFence(line) {
  const found = FENCE.exec(line);
  // An info string with backticks is inline code, no fence.
  return found && (found[1][0] === "~" || !found[2].includes("`")) ? found : null;
}

function readCode(lines, at, [, mark, info]) {
  const indent = lines[at].search(/[`~]/);
  const code = [];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const end = FENCE.exec(lines[next]);
    if (end?.[1].startsWith(mark) && isBlank(end[2])) {
      next += 1;
      break;
    }
    code.push(unindent(lines[next], indent));
  }
  return [{ kind: "code", info: info.trim(), text: code.join("\n") }, next];
}

function unindent(line, width) {
  let at = 0;
  while (at < width && line[at] === " ") at += 1;
  return line.slice(at);
}

function readQuote(lines, at, depth) {
  const inside = [];
  let next = at;
  for (; next < lines.length && QUOTE.test(lines[next]); next += 1) inside.push(lines[next].replace(QUOTE, ""));
  return [{ kind: "quote", blocks: parseBlocks(inside.join("\n"), depth + 1) }, next];
}

/** A list ends at another kind of marker, or where a line after a blank one is not indented. */
function readList(lines, at, depth) {
  const [, , marker] = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(marker);
  const kind = marker.at(-1);
  const items = [];
  let isLoose = false;
  let next = at;
  while (next < lines.length) {
    const found = ITEM.exec(lines[next]);
    if (!found || found[2].at(-1) !== kind || /\d/.test(found[2]) !== isOrdered || RULE.test(lines[next])) break;
    const [inside, after] = readItem(lines, next, found, depth);
    items.push(parseBlocks(inside.join("\n"), depth + 1));
    const isSpaced = after < lines.length && isBlank(lines[after - 1]) && ITEM.test(lines[after]);
    const last = inside.findLastIndex((line) => !isBlank(line));
    isLoose ||= isSpaced || inside.some((line, place) => place < last && isBlank(line));
    next = after;
  }
  const start = isOrdered ? Number.parseInt(marker, 10) : null;
  return [{ kind: "list", start, isLoose, items }, next];
}

/** The lines of a list's item, without their indentation, and the line after them. */
function readItem(lines, at, [, indent, marker, first], depth) {
  const width = indent.length + marker.length + 1;
  const inside = [first];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    const spaces = line.search(/[^ ]|$/);
    const isInside = spaces >= Math.min(width, 4) || (spaces >= 2 && spaces > indent.length);
    if (isBlank(line)) inside.push("");
    else if (isInside) inside.push(unindent(line, width));
    else if (isBlank(lines[next - 1]) || ITEM.test(line) || begins(lines, next, depth)) break;
    else inside.push(line);
  }
  return [inside, next];
}

function isTable(lines, at) {
  const delimiter = lines[at + 1];
  if (delimiter === undefined || !lines[at].includes("|") || !delimiter.includes("-")) return false;
  const columns = cells(delimiter);
  if (columns.length > COLUMNS || !columns.every((cell) => DELIMITER.test(cell))) return false;
  return cells(lines[at]).length === columns.length;
}

function readTable(lines, at) {
  const align = cells(lines[at + 1]).map((cell) => {
    return cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left";
  });
  const rows = [];
  let next = at + 2;
  for (; next < lines.length && !isBlank(lines[next]) && lines[next].includes("|"); next += 1) {
    const row = cells(lines[next]);
    rows.push(align.map((_, column) => row[column] ?? ""));
  }
  return [{ kind: "table", align, head: cells(lines[at]), rows }, next];
}

/** The cells of a row; a "|" after a backslash or inside code is none of its borders. */
function cells(line) {
  const found = [];
  let cell = "";
  let isCode = false;
  const inside = line.trim().replace(/^\|/, "").replace(/([^\\]|^)\|$/, "$1");
  for (let at = 0; at < inside.length; at += 1) {
    if (inside[at] === "`") isCode = !isCode;
    if (inside[at] === "\\" && inside[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (inside[at] === "|" && !isCode) {
      found.push(cell.trim());
      cell = "";
    } else {
      cell += inside[at];
    }
  }
  return [...found, cell.trim()];
}

/** Indentation stays: programs that a model writes without a fence keep their shape. */
function readParagraph(lines, at, depth) {
  let next = at + 1;
  while (next < lines.length && !isBlank(lines[next]) && !begins(lines, next, depth)) next += 1;
  const text = lines.slice(at, next).map((line) => line.trimEnd()).join("\n");
  return [{ kind: "paragraph", text }, next];
}
