// An answer on the page: its text, its tool calls apart from it, its tokens, and what it cost.

import { button, copyButton, el, show } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { grouped, oneLine, visible } from "./text.js";
import { TokenView } from "./token_view.js";

const STEP = 60_000; // characters drawn at a time: a browser lays out one endless line of more too slowly

const ENDS = {
  length: "cut at its limit of tokens",
  stopped: "stopped",
  cut: "broke off",
  other: "ended by the server",
};

/** A text that is shown as it is: a base model's. */
class PlainView {
  constructor() {
    this.element = el("p", { class: "plain", dir: "auto" });
  }

  update(text) {
    this.element.textContent = visible(text);
  }
}

/** A call of the calculator and its result. */
class ToolView {
  constructor() {
    this.element = el("div", { class: "tool", role: "group", "aria-label": "Calculator" });
  }

  update(expression, output) {
    const hasResult = output !== null;
    this.element.replaceChildren(
      el("span", { class: "tool-name", text: "calculator" }),
      el("code", { text: visible(expression) }),
      el("span", { "aria-hidden": "true", text: hasResult ? "=" : "→" }),
      hasResult ? el("code", { text: visible(output) }) : el("span", { class: "no-result", text: "no result" }),
    );
  }
}

export class AnswerView {
  #answer;
  #views = []; // by part
  #body = el("div", { class: "body" });
  #more = button("", () => this.#grow(), { class: "quiet" });
  #limit = STEP;
  #status = el("p", { class: "status" });
  #error = el("p", { class: "error" });
  #figures = el("p", { class: "figures" });
  #tokenView = null;
  #tokenButton;
  #again;
  #actions;

  /** `act.again()` asks for another answer. */
  constructor(answer, act) {
    this.#answer = answer;
    const tokens = { class: "quiet", "aria-pressed": "false", label: "Tokens with their probabilities" };
    this.#tokenButton = button("Tokens", () => this.#toggleTokens(), tokens);
    this.#again = button("Regenerate", act.again, { class: "quiet", label: "Regenerate this answer" });
    const copy = copyButton(() => answer.text, "Copy this answer");
    this.#actions = el("div", { class: "actions" }, copy, this.#again, this.#tokenButton);
    const around = [this.#more, this.#status, this.#error, this.#figures, this.#actions];
    this.element = el("div", { class: "answer-view" }, this.#body, ...around);
    this.update("");
  }

  get actions() {
    return this.#actions;
  }

  focusAgain() {
    this.#again.focus();
  }

  /** Draws what has come since; `state` says what it waits for. */
  update(state) {
    const answer = this.#answer;
    this.#drawParts();
    if (this.#tokenView) this.#tokenView.update(answer.tokens);
    this.#status.textContent = answer.isRunning ? state : "";
    show(this.#status, Boolean(answer.isRunning && state));
    this.#error.textContent = answer.error;
    show(this.#error, Boolean(answer.error));
    this.#figures.textContent = figures(answer);
    show(this.#tokenButton, answer.tokens.length > 0);
    show(this.#actions, !answer.isRunning);
  }

  #drawParts() {
    let left = this.#limit;
    let total = 0;
    const { parts, kind } = this.#answer;
    for (const [at, part] of parts.entries()) {
      if (part.kind === "python_output" && parts[at - 1]?.kind === "python") continue; // shown with its call
      total += part.text.length;
      if (left <= 0) continue;
      const view = this.#view(at, part.kind === "text" ? (kind === "base" ? PlainView : MarkdownView) : ToolView);
      const text = part.text.slice(0, left).replace(/[\ud800-\udbff]$/, ""); // no half of a character
      if (part.kind === "text") view.update(text);
      else if (part.kind === "python") view.update(text, outputOf(parts[at + 1]));
      else view.update("", text);
      left -= text.length;
    }
    const over = total - this.#limit;
    show(this.#more, over > 0);
    const shown = `${grouped(total)} characters, ${grouped(this.#limit)} shown`;
    this.#more.textContent = `${shown}: show ${grouped(Math.min(STEP, over))} more`;
  }

  #view(at, Kind) {
    if (!this.#views[at]) {
      this.#views[at] = new Kind();
      this.#body.append(this.#views[at].element);
    }
    return this.#views[at];
  }

  #grow() {
    this.#limit += STEP;
    this.#drawParts();
  }

  #toggleTokens() {
    const shown = !this.#tokenView;
    this.#tokenButton.setAttribute("aria-pressed", String(shown));
    show(this.#body, !shown);
    if (shown) {
      this.#tokenView = new TokenView();
      this.#tokenView.update(this.#answer.tokens);
      this.#body.after(this.#tokenView.element);
    } else {
      this.#tokenView.element.remove();
      this.#tokenView = null;
    }
  }
}

const outputOf = (part) => (part?.kind === "python_output" ? part.text : null);

/** What an answer cost, and how it ended where that is worth a word. */
function figures(answer) {
  const { tokenCount, speed, firstSeconds, settings, reason, note } = answer;
  const told = [
    tokenCount === 0 ? "" : `${grouped(tokenCount)} ${tokenCount === 1 ? "token" : "tokens"}`,
    speed === null ? "" : `${speed.toFixed(1)} tokens/s`,
    firstSeconds === null ? "" : `first after ${firstSeconds.toFixed(2)} s`,
    reason === "" ? "" : settingsText(settings),
    (reason === "length" && note) || (ENDS[reason] ?? ""),
  ];
  return told.filter(Boolean).join(" · ");
}

function settingsText({ temperature, top_k: topK, seed }) {
  if (temperature === undefined) return "";
  return `temperature ${temperature} · top-k ${topK || "off"} · seed ${seed ?? "unknown"}`;
}

/** What a screen reader is told of an answer that has ended. */
export function spoken(answer) {
  if (answer.error && !answer.text) return answer.error;
  const end = answer.error ? ` ${answer.error}` : "";
  return `${answer.model}: ${oneLine(answer.text.slice(0, 2000) || "an empty answer", 1000)}${end}`;
}
