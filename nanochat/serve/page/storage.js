// What the browser keeps of this server: conversations and settings until they are cleared, the API key until
// the tab is closed. A browser that keeps nothing, or has no room, is no failure: the page works without.

import { Answer } from "./answer.js";
import { Conversation } from "./conversation.js";

const STATE = "nanochat-chat-1";
const THEME = "nanochat-theme";
const KEY = "nanochat-key";
const MOST = 4_000_000; // characters; browsers give 5 million to a server

/** Keeps the page's state: `panes` ({model, conversation}), settings and more. Returns whether there was room.
 *
 * Each tab keeps its own, else of two that are open the one would lose its conversation to the other; the
 * next tab that is opened goes on with what was kept last. */
export function keep({ panes, ...rest }) {
  const document = { ...rest, panes: panes.map(({ model, conversation }) => ({ model, ...flat(conversation) })) };
  const text = JSON.stringify(document);
  if (text.length > MOST) return false;
  if (!write(sessionStorage, STATE, text)) remove(sessionStorage, STATE);
  return write(localStorage, STATE, text);
}

/** What was kept; null when that is nothing, or nothing that this page understands. */
export function kept() {
  return readState(sessionStorage) ?? readState(localStorage);
}

function readState(storage) {
  try {
    const { panes, ...rest } = JSON.parse(read(storage, STATE));
    const found = panes.map((pane) => ({ model: String(pane.model), conversation: unflat(pane) }));
    return { ...rest, panes: found };
  } catch {
    return null;
  }
}

export function forget() {
  remove(sessionStorage, STATE);
  remove(localStorage, STATE);
}

export const keptTheme = () => read(localStorage, THEME);
export const keepTheme = (theme) => write(localStorage, THEME, theme);
export const keptKey = () => read(sessionStorage, KEY);
export const keepKey = (key) => write(sessionStorage, KEY, key);

function read(storage, name) {
  try {
    return storage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function remove(storage, name) {
  try {
    storage.removeItem(name);
  } catch {
    // it kept nothing
  }
}

function write(storage, name, text) {
  try {
    storage.setItem(name, text);
    return true;
  } catch {
    return false;
  }
}

// -- a tree as a list, each node after its parent: the deepest conversation needs no recursion ----------

function flat(conversation) {
  const nodes = [];
  const places = new Map([[conversation.root, -1]]);
  const open = [conversation.root];
  while (open.length) {
    const node = open.shift();
    for (const child of node.children) {
      places.set(child, nodes.length);
      nodes.push({ parent: places.get(node), kind: child.kind, current: child.current, value: plain(child) });
      open.push(child);
    }
  }
  return { started: conversation.started, current: conversation.root.current, nodes };
}

/** Token probabilities are left out: they are ten times the text. */
function plain({ kind, value }) {
  if (kind === "question") return value;
  const { model, settings, parts, reason, error, note, count, firstSeconds, seconds } = value;
  return {
    model, settings, parts, reason: reason || "cut", error, note, count, firstSeconds, seconds, kind: value.kind,
  };
}

function unflat({ started, current, nodes }) {
  const conversation = new Conversation(String(started));
  const made = nodes.map(() => null);
  for (const [at, { parent, kind, value }] of nodes.entries()) {
    const above = parent < 0 ? conversation.root : made[parent];
    made[at] = above.add(kind, kind === "answer" ? Object.assign(new Answer("", {}), value) : String(value));
  }
  conversation.root.current = current;
  nodes.forEach((node, at) => (made[at].current = node.current));
  return conversation;
}
