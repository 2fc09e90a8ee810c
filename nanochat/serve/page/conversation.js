// A conversation as a tree: each question has answers, each answer has questions that follow it. Editing a
// question or asking for another answer adds a branch beside the one that was there; nothing is lost.

import { timeText } from "./text.js";

let nextId = 1;

class Node {
  constructor(parent, kind, value) {
    this.id = nextId++;
    this.parent = parent;
    this.kind = kind; // "root", "question" (value: its text) or "answer" (value: an Answer)
    this.value = value;
    this.children = [];
    this.current = 0; // which child the conversation goes on with
  }

  add(kind, value) {
    const child = new Node(this, kind, value);
    this.current = this.children.push(child) - 1;
    return child;
  }

  /** Its number among its siblings, from 0, and how many there are. */
  get branch() {
    const { children } = this.parent;
    return { at: children.indexOf(this), of: children.length };
  }
}

export class Conversation {
  /** `started`: local time, as in 2025-10-16 18:40:38. */
  constructor(started = timeText(new Date())) {
    this.started = started;
    this.root = new Node(null, "root", null);
  }

  /** The turns that are in sight: the question and the answer (null before there is one) of each. */
  turns() {
    const found = [];
    for (let node = this.root; node.children.length; ) {
      const question = node.children[node.current];
      const answer = question.children[question.current] ?? null;
      found.push({ question, answer });
      if (!answer) break;
      node = answer;
    }
    return found;
  }

  get isEmpty() {
    return this.root.children.length === 0;
  }

  /** Adds a question after the last answer; one that nothing came of is followed by the next all the same. */
  ask(text) {
    const last = this.turns().at(-1);
    const after = last ? (last.answer ?? last.question.parent) : this.root;
    return after.add("question", text);
  }

  /** Adds another wording of a question beside it. */
  edit(question, text) {
    return question.parent.add("question", text);
  }

  /** Adds an answer to a question, beside those that are there. */
  answer(question, answer) {
    return question.add("answer", answer);
  }

  /** Goes to the branch before (-1) or after (1). Returns the node that is now in sight. */
  go(node, step) {
    const { parent } = node;
    parent.current = Math.min(parent.children.length - 1, Math.max(0, parent.current + step));
    return parent.children[parent.current];
  }

  /** The turns before a question that count, oldest first: what a model is told and a log holds. */
  before(question) {
    const found = [];
    for (let node = question?.parent; node && node.kind === "answer"; node = node.parent.parent) {
      if (node.value.counts) found.push({ question: node.parent.value, answer: node.value });
    }
    return found.reverse();
  }

  /** All turns in sight that count. */
  counted() {
    return this.turns()
      .filter(({ answer }) => answer?.value.counts)
      .map(({ question, answer }) => ({ question: question.value, answer: answer.value }));
  }

  /** The messages that ask `question` after what was said before it; tool calls as in training data. */
  messages(question, system) {
    const found = system ? [{ role: "system", content: system }] : [];
    for (const turn of this.before(question)) {
      const parts = turn.answer.parts.map(({ kind, text }) => ({ type: kind, text }));
      const hasTools = parts.some((part) => part.type !== "text");
      found.push({ role: "user", content: turn.question });
      found.push({ role: "assistant", content: hasTools ? parts : turn.answer.text });
    }
    found.push({ role: "user", content: question.value });
    return found;
  }
}
