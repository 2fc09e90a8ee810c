// A question and the answer in sight, with the ways to their branches.

import { AnswerView } from "./answer_view.js";
import { button, el, show } from "./dom.js";
import { grouped, oneLine, visible } from "./text.js";

const LONGEST = 20_000; // characters of a question that are shown

export class TurnView {
  #acts;
  #question;
  #answerNode = null;
  #answerView = null;
  #words = el("div", { class: "words", dir: "auto" });
  #editButton;
  #edit = null;
  #answerHead = el("h2", { class: "who" });
  #answerPlace = el("div");
  #questionBranches;
  #answerBranches;

  /** `acts`: edit(question, text), again(question), go(node, step, kind), isBusy(). */
  constructor(question, number, acts) {
    this.#question = question;
    this.#acts = acts;
    const edit = { class: "quiet", label: `Edit question ${number}` };
    this.#editButton = button("Edit", () => this.startEditing(), edit);
    this.#questionBranches = new Branches("question", acts.go);
    this.#answerBranches = new Branches("answer", acts.go);
    const actions = el("div", { class: "actions" }, this.#questionBranches.element, this.#editButton);
    const head = el("div", { class: "question-head" }, el("h2", { class: "who", text: "You" }), actions);
    const asked = el("div", { class: "question" }, head, this.#words);
    const answered = el("div", { class: "answer" }, this.#answerHead, this.#answerPlace);
    this.element = el("article", { class: "turn", "aria-label": `Question ${number}` }, asked, answered);
    const text = visible(question.value);
    const over = text.length - LONGEST;
    this.#words.textContent = over > 0 ? `${text.slice(0, LONGEST)}… and ${grouped(over)} characters more` : text;
  }

  /** Draws the answer in sight as it is now. */
  update(answerNode, state) {
    if (answerNode !== this.#answerNode) {
      this.#answerNode = answerNode;
      const again = () => this.#acts.again(this.#question);
      this.#answerView = new AnswerView(answerNode.value, { again });
      this.#answerView.actions.prepend(this.#answerBranches.element);
      this.#answerPlace.replaceChildren(this.#answerView.element);
    }
    this.#answerHead.textContent = oneLine(answerNode.value.model || "assistant", 100);
    this.#questionBranches.update(this.#question);
    this.#answerBranches.update(answerNode);
    this.#answerView.update(state);
  }

  /** Puts the focus where it was before the branch was changed. */
  focusBranches(kind) {
    (kind === "question" ? this.#questionBranches : this.#answerBranches).focus();
  }

  focusAgain() {
    this.#answerView.focusAgain();
  }

  startEditing() {
    if (this.#edit) return;
    const field = el("textarea", { "aria-label": "The question, anew", rows: "3" });
    const send = el("button", { type: "submit", text: "Send" });
    const cancel = button("Cancel", () => this.#endEditing(), { class: "quiet" });
    const form = el("form", { class: "editing" }, field, el("div", { class: "actions" }, send, cancel));
    field.value = this.#question.value;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!field.value.trim() || this.#acts.isBusy()) return;
      this.#endEditing();
      this.#acts.edit(this.#question, field.value);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.#endEditing();
        event.stopPropagation();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === field) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.#edit = form;
    this.#words.after(form);
    show(this.#words, false);
    show(this.#editButton, false);
    field.focus();
  }

  #endEditing() {
    this.#edit?.remove();
    this.#edit = null;
    show(this.#words, true);
    show(this.#editButton, true);
    this.#editButton.focus();
  }
}

/** Which of several wordings or answers is in sight, and the way to the others. */
class Branches {
  #node = null;
  #count = el("span");

  constructor(kind, go) {
    this.back = button("‹", () => go(this.#node, -1, kind), { label: `Previous ${kind}`, class: "quiet" });
    this.forth = button("›", () => go(this.#node, 1, kind), { label: `Next ${kind}`, class: "quiet" });
    const label = { role: "group", "aria-label": `Versions of the ${kind}` };
    this.element = el("span", { class: "branches", ...label }, this.back, this.#count, this.forth);
  }

  update(node) {
    this.#node = node;
    const { at, of } = node.branch;
    this.#count.textContent = `${at + 1} / ${of}`;
    this.back.disabled = at === 0;
    this.forth.disabled = at === of - 1;
    show(this.element, of > 1);
  }

  focus() {
    (this.back.disabled ? this.forth : this.back).focus();
  }
}
