// An answer's tokens, shaded by probability, with the alternatives of the one under the pointer or the arrow
// keys. Shade and underline say about how likely a token was; the figures are beside it.

import { button, el, show } from "./dom.js";
import { grouped, visible } from "./text.js";

const STEP = 1000; // tokens shown at a time
const LEVELS = [0.9, 0.5, 0.2, 0.05, 0.01]; // probabilities below which the next shade begins
const LEGEND = ["90 % or more", "50–90 %", "20–50 %", "5–20 %", "1–5 %", "under 1 %"];

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 20, PageUp: -20 };
const HINT = "Point at a token, or use the arrow keys, for its probability and the alternatives.";

export class TokenView {
  #tokens = [];
  #list = el("div", { class: "token-list", role: "listbox", tabindex: "0", "aria-label": "Tokens" });
  #detail = el("div", { class: "token-detail", "aria-hidden": "true", hidden: true });
  #more = button("", () => this.#grow(), { class: "quiet" });
  #limit = STEP;
  #active = -1;

  constructor() {
    const sample = (level) => el("span", { class: `token p${level}`, text: "token" });
    const entries = LEGEND.map((text, level) => el("li", {}, sample(level), ` ${text}`));
    const legend = el("ul", { class: "legend", "aria-label": "Probability" }, ...entries);
    const hint = el("p", { class: "hint", text: HINT });
    this.element = el("div", { class: "tokens" }, legend, hint, this.#list, this.#detail, this.#more);
    this.#list.addEventListener("pointerover", (event) => this.#point(event.target));
    this.element.addEventListener("pointerleave", () => this.#leave());
    this.#list.addEventListener("click", (event) => this.#point(event.target));
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.#list.addEventListener("focus", () => this.#activate(Math.max(0, this.#active)));
    this.#list.addEventListener("blur", () => show(this.#detail, false));
    show(this.#more, false);
  }

  /** Shows `tokens`, which begin with those that were shown before. */
  update(tokens) {
    if (tokens !== this.#tokens) {
      this.#list.replaceChildren();
      this.#tokens = tokens;
    }
    const until = Math.min(tokens.length, this.#limit);
    const from = this.#list.childElementCount;
    this.#list.append(...tokens.slice(from, until).map((token, at) => drawToken(token, from + at)));
    const left = tokens.length - until;
    show(this.#more, left > 0);
    this.#more.textContent = `Show ${grouped(Math.min(left, STEP))} more of ${grouped(left)} tokens`;
  }

  #grow() {
    this.#limit += STEP;
    this.update(this.#tokens);
  }

  #point(target) {
    if (target instanceof HTMLElement && target.dataset.at) this.#activate(Number(target.dataset.at), true);
  }

  #leave() {
    if (document.activeElement !== this.#list) show(this.#detail, false);
  }

  #key(event) {
    const last = this.#list.childElementCount - 1;
    const steps = { ...STEPS, Home: -last, End: last };
    if (event.key === "Escape" && !this.#detail.hidden) {
      show(this.#detail, false);
      event.stopPropagation();
    } else if (event.key in steps && !event.ctrlKey && !event.altKey && !event.metaKey) {
      this.#activate(Math.min(last, Math.max(0, this.#active + steps[event.key])));
      event.preventDefault();
    }
  }

  /** Makes a token the one that is told of. */
  #activate(at, isPointed = false) {
    const option = this.#list.children[at];
    if (!option) return;
    this.#list.children[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = at;
    const token = this.#tokens[at];
    option.id ||= `token-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    option.setAttribute("aria-selected", "true");
    option.setAttribute("aria-label", told(token));
    this.#list.setAttribute("aria-activedescendant", option.id);
    if (!isPointed) option.scrollIntoView({ block: "nearest" });
    this.#detail.replaceChildren(...detail(token));
    show(this.#detail, true);
    this.#place(option);
  }

  /** Puts the figures under their token, or above it where there is more room, inside the width of the view. */
  #place(option) {
    const { offsetWidth: width, offsetHeight: height, style } = this.#detail;
    const room = this.element.clientWidth - width;
    style.left = `${Math.max(0, Math.min(room, option.offsetLeft))}px`;
    const frame = this.element.closest(".turns").getBoundingClientRect();
    const token = option.getBoundingClientRect();
    const isAbove = token.bottom + height > frame.bottom && token.top - height > frame.top;
    style.top = `${isAbove ? option.offsetTop - height - 2 : option.offsetTop + option.offsetHeight + 2}px`;
  }
}

function drawToken(token, at) {
  const level = token.logprob === null ? 0 : shade(Math.exp(token.logprob));
  const option = { role: "option", "aria-selected": "false", "data-at": String(at) };
  return el("span", { class: `token p${level}`, ...option, text: shape(token.text) });
}

function shade(probability) {
  const level = LEVELS.findIndex((bound) => probability >= bound);
  return level < 0 ? LEVELS.length : level;
}

/** A token's text as it stands in the line; one without any ink is shown by a sign. */
function shape(text) {
  const shown = visible(text);
  if (/^\s*$/.test(shown)) return shown.replaceAll("\n", "⏎\n").replaceAll("\t", "⇥\t") || "∅";
  return shown;
}

const quoted = (text) => `“${visible(text).replaceAll("\n", "⏎").replaceAll("\t", "⇥")}”`;

export function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share >= 10 ? `${share.toFixed(1)} %` : share >= 0.01 ? `${share.toFixed(2)} %` : "< 0.01 %";
}

/** The token as a screen reader tells it. */
function told(token) {
  if (token.logprob === null) return `${quoted(token.text)}, no probability`;
  const rivals = token.top.map((rival) => `${quoted(rival.text)} ${percent(rival.logprob)}`);
  return `${quoted(token.text)} ${percent(token.logprob)}. Likeliest: ${rivals.join(", ")}`;
}

function detail(token) {
  const head = el("p", {}, el("bdi", { class: "spelled", text: quoted(token.text) }));
  if (token.logprob === null) return [head, el("p", { text: "the first token has no probability" })];
  head.append(` ${percent(token.logprob)} · log-probability ${token.logprob.toFixed(3).replace(/^-(0\.0+)$/, "$1")}`);
  const rows = token.top.map((rival) => {
    const isChosen = rival.text === token.text;
    const bar = el("meter", { min: "0", max: "1", value: String(Math.exp(rival.logprob)) });
    return el(
      "tr",
      { class: isChosen ? "chosen" : "" },
      el("td", {}, el("bdi", { class: "spelled", text: quoted(rival.text) })),
      el("td", {}, bar),
      el("td", { class: "figure", text: percent(rival.logprob) }),
      el("td", { text: isChosen ? "chosen" : "" }),
    );
  });
  return [head, el("table", {}, el("tbody", {}, ...rows))];
}
