// Conversations as files, in the very form of nanochat/serve/chat_log.py: Markdown for people, and JSON, which
// loads back exactly.

import { Answer, REASONS, SETTINGS } from "./answer.js";
import { Conversation } from "./conversation.js";
import { showControls, Told } from "./text.js";

const FORMAT = "nanochat-conversation";
const KINDS = ["text", "python", "python_output"];
const REALS = ["temperature", "top_p", "min_p"];
const WHOLES = ["top_k", "max_tokens", "seed"];
const TIME = /^(\d{4})-(\d{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2})$/;
// Control characters, and those that take no cell, look like nothing, or reorder what is around them (`UNSAFE`).
const UNSAFE = new RegExp(
  "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
    "\\u3164\\ud800-\\udfff\\ufeff\\uffa0\\u{e0000}-\\u{e007f}]",
  "gu",
);

/**
 * `started`: 2025-10-16 18:40:38, local. `turns`: the question and the Answer of each. Tool calls are left out.
 */
export function toMarkdown(started, turns) {
  const head = `# Chat Dialogue Log\n\n## 对话时间\n${started}\n\n---\n\n## 对话内容\n`;
  const body = turns.map(({ question, answer }, at) => {
    const said = showControls(answer.text);
    return `\n### 问题 ${at + 1}\n用户：${showControls(question)}\n助手：${said}\n\n---\n`;
  });
  return head + body.join("");
}

export function toJson(started, system, turns) {
  const document = {
    format: FORMAT,
    version: 1,
    started,
    system,
    turns: turns.map(({ question, answer }) => ({
      question,
      answer: answer.parts.map(({ kind, text }) => ({ type: kind, text })),
      finish_reason: answer.reason,
      model: answer.model,
      settings: settingsDocument(answer.settings),
    })),
  };
  const text = `${pretty(document, "\n")}\n`;
  return text.replace(UNSAFE, (character) => (character === "\n" ? "\n" : escaped(character)));
}

/** The name that `nanochat chat_cli` would give the log. */
export function fileName(started, end) {
  return `cc_${started.replaceAll(/[-:]/g, "").replace(" ", "_")}.${end}`;
}

class Real {
  constructor(number) {
    this.number = number;
  }
}

function settingsDocument(settings) {
  const found = {};
  for (const name of Object.keys(SETTINGS)) {
    found[name] = REALS.includes(name) ? new Real(settings[name]) : settings[name];
  }
  return found;
}

/** JSON as Python writes it with indent=1: a float keeps its point. */
function pretty(value, newline) {
  if (value instanceof Real) return Number.isInteger(value.number) ? `${value.number}.0` : `${value.number}`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const inner = `${newline} `;
  const entries = isList
    ? value.map((entry) => pretty(entry, inner))
    : Object.entries(value).map(([name, entry]) => `${JSON.stringify(name)}: ${pretty(entry, inner)}`);
  const [open, close] = isList ? "[]" : "{}";
  return entries.length ? `${open}${inner}${entries.join(`,${inner}`)}${newline}${close}` : open + close;
}

function escaped(character) {
  return Array.from({ length: character.length }, (_, at) => {
    return `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`;
  }).join("");
}

// -- loading -----------------------------------------------------------------------------------------

/** The conversation in a JSON log and its system message. Throws `Told` with the field that is wrong. */
export function fromJson(text) {
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Told("it is no JSON");
  }
  check(document?.format === FORMAT, `it is no conversation: its "format" is not "${FORMAT}"`);
  check(document.version === 1, "its version is not 1, which is the one this page reads");
  check(Array.isArray(document.turns), '"turns" is not a list');
  const conversation = new Conversation(readTime(document.started));
  for (const [at, turn] of document.turns.entries()) {
    const answer = readAnswer(turn, `turns[${at}]`);
    conversation.answer(conversation.ask(readText(turn.question, `turns[${at}].question`)), answer);
  }
  return { conversation, system: readText(document.system, "system") };
}

function readAnswer(turn, where) {
  check(turn !== null && typeof turn === "object", `${where} is not an object`);
  check(Array.isArray(turn.answer), `${where}.answer is not a list`);
  check(REASONS.includes(turn.finish_reason), `${where}.finish_reason is none of ${REASONS.join(", ")}`);
  const answer = new Answer(readText(turn.model, `${where}.model`), readSettings(turn.settings, `${where}.settings`));
  for (const [at, part] of turn.answer.entries()) {
    check(KINDS.includes(part?.type), `${where}.answer[${at}].type is none of ${KINDS.join(", ")}`);
    answer.parts.push({ kind: part.type, text: readText(part.text, `${where}.answer[${at}].text`) });
  }
  answer.reason = turn.finish_reason;
  answer.kind = answer.model.startsWith("base/") ? "base" : "chat";
  return answer;
}

function readSettings(value, where) {
  check(value !== null && typeof value === "object", `${where} is not an object`);
  const isNumber = (name) => Number.isFinite(value[name]) && value[name] >= 0;
  for (const name of REALS) check(isNumber(name), `${where}.${name} is not a number from 0 up`);
  for (const name of WHOLES) {
    const isNone = name === "seed" && (value.seed ?? null) === null;
    check(isNone || (isNumber(name) && Number.isInteger(value[name])), `${where}.${name} is not a number from 0 up`);
    check(isNone || Number.isSafeInteger(value[name]), `${where}.${name} is larger than a browser can count`);
  }
  return Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, value[name] ?? null]));
}

function readText(value, where) {
  check(typeof value === "string", `${where} is not a text`);
  return value.toWellFormed();
}

function readTime(text) {
  const found = TIME.exec(typeof text === "string" ? text : "");
  const [year, month, day, ...clock] = (found ?? []).slice(1).map(Number);
  const time = found && new Date(Date.UTC(year, month - 1, day, ...clock));
  const isTime = time && time.toISOString().slice(0, 19).replace("T", " ") === text;
  check(isTime, "started is no time such as 2025-10-16 18:40:38");
  return text;
}

function check(holds, message) {
  if (!holds) throw new Told(message);
}
