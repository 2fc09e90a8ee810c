// A pane: a model, the conversation with it, and what can be done with both.

import { Answer } from "./answer.js";
import { spoken } from "./answer_view.js";
import { fileName, fromJson, toJson, toMarkdown } from "./chat_log.js";
import { Conversation } from "./conversation.js";
import { announce, button, byId, el, saveFile, show } from "./dom.js";
import { Refusal } from "./server.js";
import { grouped, oneLine, Told } from "./text.js";
import { TurnView } from "./turn_view.js";

const SEEDS = 2 ** 31;
const TOP = 5; // alternatives of a token
const LONG_WAIT = 3000; // milliseconds after which a wait is explained
const WAITING = "waiting for the first token …";
const LONG_WAITING = "waiting: the server has others to answer first, or loads the model …";
const NEAR = 80; // pixels from the end within which the view follows what comes
const REST = 3; // times as long as a drawing took, the page rests: for keys and the pointer
const LARGEST_FILE = 64 << 20;
const OVERFLOW = "context_length_exceeded";

export class Pane {
  #page;
  #models = [];
  #wanted = ""; // the model to choose once it is listed
  #views = new Map(); // by question
  #shown = []; // the questions in sight
  #running = null; // {control, answer, state}
  #isStale = false; // something has come since the last drawing
  #isResting = false;
  #follows = true;
  #select;
  #turns;
  #notice;
  #file;

  /** `page`: server, settings(), system, useSystem(text), changed(). */
  constructor(number, page) {
    this.#page = page;
    this.conversation = new Conversation();
    this.#select = el("select", { id: `model-${number}`, on: { change: () => this.#chosen() } });
    this.#notice = el("p", { class: "notice", role: "alert" });
    const label = { "aria-label": `Conversation ${number}` };
    this.#turns = el("div", { class: "turns", tabindex: "0", role: "region", ...label });
    this.#turns.addEventListener("scroll", () => (this.#follows = this.#isNearEnd()), { passive: true });
    this.#file = el("input", {
      type: "file",
      accept: ".json,application/json",
      hidden: true,
      "aria-label": "A conversation's JSON file",
      on: { change: () => this.#load() },
    });
    const tools = el(
      "div",
      { class: "tools", role: "group", "aria-label": "Conversation" },
      button("New", () => this.#begin(), { class: "quiet" }),
      button("Save .md", () => this.#save("md"), { class: "quiet" }),
      button("Save .json", () => this.#save("json"), { class: "quiet" }),
      button("Load .json", () => this.#file.click(), { class: "quiet" }),
    );
    const model = el("div", { class: "model" }, el("label", { for: this.#select.id, text: "Model" }), this.#select);
    const head = el("div", { class: "pane-head" }, model, tools, this.#file);
    this.element = el("section", { class: "pane", "aria-label": `Pane ${number}` }, head, this.#notice, this.#turns);
    this.#notify("");
  }

  get isRunning() {
    return this.#running !== null;
  }

  /** The model that is asked: {id, kind}; undefined while none is known. */
  get model() {
    return this.#models.find((model) => model.id === this.#select.value);
  }

  get modelName() {
    return this.#select.value || this.#wanted;
  }

  // -- the model -----------------------------------------------------------------------------------

  /** Offers these models; the one chosen before stays chosen. */
  offer(models) {
    const chosen = this.modelName;
    this.#models = models;
    const label = ({ id, kind }) => (kind === "base" ? `${id} (continues text)` : id);
    this.#select.replaceChildren(...models.map((model) => el("option", { value: model.id, text: label(model) })));
    this.#select.value = models.some((model) => model.id === chosen) ? chosen : (models[0]?.id ?? "");
    this.#draw();
  }

  #chosen() {
    this.#wanted = "";
    this.#draw();
    this.#page.changed();
  }

  // -- the conversation ----------------------------------------------------------------------------

  /** Goes on with another conversation. */
  open(conversation, model = "") {
    this.stop();
    this.conversation = conversation;
    if (model) {
      this.#wanted = model;
      if (this.#models.some(({ id }) => id === model)) this.#select.value = model;
    }
    this.#views.clear();
    this.#shown = [];
    this.#follows = true;
    this.#draw();
  }

  #begin() {
    if (!this.#mayGo("Begin a new conversation?")) return;
    this.open(new Conversation());
    this.#page.changed();
  }

  /** Asks before the conversation in this pane goes, where there is one. */
  #mayGo(question) {
    return this.conversation.isEmpty || confirm(`${question} The one in this pane is gone then, unless you saved it.`);
  }

  #save(end) {
    const { started } = this.conversation;
    const turns = this.conversation.counted();
    const text = end === "md" ? toMarkdown(started, turns) : toJson(started, this.#page.system, turns);
    saveFile(fileName(started, end), text, end === "md" ? "text/markdown" : "application/json");
  }

  async #load() {
    const [file] = this.#file.files;
    this.#file.value = "";
    if (!file) return;
    try {
      if (file.size > LARGEST_FILE) throw new Told(`it is larger than ${LARGEST_FILE >> 20} MiB`);
      const { conversation, system } = fromJson(await file.text());
      if (!this.#mayGo(`Go on with ${oneLine(file.name, 80)}?`)) return;
      this.open(conversation);
      this.#page.useSystem(system);
      this.#page.changed();
      announce(`${file.name} is loaded`);
    } catch (fault) {
      const why = fault instanceof Told ? fault.message : "the browser cannot read it";
      this.#notify(`${oneLine(file.name, 80)} cannot be loaded: ${why}`);
    }
  }

  // -- asking --------------------------------------------------------------------------------------

  ask(text) {
    return this.#run(this.conversation.ask(text));
  }

  stop() {
    this.#running?.control.abort();
  }

  /** Edits the last question in sight, if there is one. */
  editLast() {
    const last = this.#shown.at(-1);
    if (last) this.#views.get(last).startEditing();
    return Boolean(last);
  }

  async #run(question, isAgain = false) {
    const { probabilities, ...settings } = this.#page.settings();
    if (settings.seed === null || isAgain) settings.seed = crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;
    const { id = this.modelName, kind = "chat" } = this.model ?? {};
    const answer = new Answer(id, settings, kind);
    const running = { control: new AbortController(), answer, state: "" };
    this.conversation.answer(question, answer);
    this.#running = running;
    this.#follows = true;
    this.#draw();
    this.#page.changed();
    const path = kind === "base" ? "v1/completions" : "v1/chat/completions";
    const wanted = probabilities ? logprobs(kind) : {};
    const body = { model: id, ...this.#prompt(question, kind), ...request(answer.settings), ...wanted };
    try {
      await this.#receive(path, body, running);
      answer.end(answer.ended ?? "cut", answer.ended ? "" : "the answer broke off before its end");
    } catch (fault) {
      if (fault.name === "AbortError") answer.end("stopped");
      else answer.end("cut", fault instanceof Told ? fault.message : `the page failed: ${oneLine(fault.message)}`);
      if (!(fault instanceof Told) && fault.name !== "AbortError") console.error(fault);
    }
    if (this.#running === running) this.#running = null;
    const focusIsFree = [document.body, byId("stop")].includes(document.activeElement);
    this.#draw();
    announce(spoken(answer));
    this.#page.changed();
    if (isAgain && focusIsFree) this.#views.get(question)?.focusAgain();
  }

  #prompt(question, kind) {
    if (kind === "base") return { prompt: question.value };
    return { messages: this.conversation.messages(question, this.#page.system) };
  }

  /** Takes the answer; one that does not fit the context is asked for again with what there is room for. */
  async #receive(path, body, running) {
    try {
      await this.#stream(path, body, running);
    } catch (fault) {
      if (!(fault instanceof Refusal && fault.code === OVERFLOW)) throw fault;
      const room = await this.#page.server.room(body, running.control.signal);
      if (!(room > 0 && room < body.max_tokens)) throw fault;
      const settings = { ...running.answer.settings, max_tokens: room };
      running.answer.restart(settings, `cut: the context had room for ${grouped(room)} tokens`);
      await this.#stream(path, { ...body, max_tokens: room }, running);
    }
  }

  async #stream(path, body, running) {
    const { answer, control } = running;
    const say = (state) => {
      running.state = state;
      this.#schedule();
    };
    const timer = setTimeout(() => say(LONG_WAITING), LONG_WAIT);
    const waiting = (seconds) => say(seconds ? `the server is busy: asked again in ${seconds} s` : WAITING);
    say(WAITING);
    try {
      for await (const document of this.#page.server.stream(path, body, control.signal, waiting)) {
        clearTimeout(timer);
        running.state = "";
        if (answer.take(document)) this.#schedule();
      }
    } finally {
      clearTimeout(timer);
    }
  }

  // -- drawing -------------------------------------------------------------------------------------

  /** Draws soon: with the next frame, and less often the longer a drawing takes. */
  #schedule() {
    this.#isStale = true;
    if (this.#isResting) return;
    this.#isResting = true;
    requestAnimationFrame(() => {
      const start = performance.now();
      this.#isStale = false;
      this.#drawRunning();
      // This runs once the frame is laid out and painted, which is most of what a long text costs.
      setTimeout(() => setTimeout(() => this.#rested(), REST * (performance.now() - start)));
    });
  }

  #rested() {
    this.#isResting = false;
    if (this.#isStale && this.#running) this.#schedule();
  }

  #drawRunning() {
    const last = this.#shown.at(-1);
    const node = last && this.conversation.turns().at(-1);
    if (node?.answer && this.#running?.answer === node.answer.value) {
      this.#views.get(last).update(node.answer, this.#running.state);
      this.#follow();
    }
  }

  /** Draws all that is in sight. Views of questions that were drawn before are kept as they are. */
  #draw() {
    const turns = this.conversation.turns();
    const questions = turns.map(({ question }) => question);
    for (const [at, { question, answer }] of turns.entries()) {
      if (!this.#views.has(question)) this.#views.set(question, new TurnView(question, at + 1, this.#acts()));
      if (answer) this.#views.get(question).update(answer, this.#stateOf(answer));
    }
    const isSame = questions.length === this.#shown.length && questions.every((one, at) => one === this.#shown[at]);
    if (questions.length === 0) this.#turns.replaceChildren(empty(this.model));
    else if (!isSame) this.#show(questions);
    this.#shown = questions;
    this.#follow();
  }

  #stateOf(node) {
    return this.#running?.answer === node.value ? this.#running.state : "";
  }

  /** Puts these questions in sight; those that begin the list already stay untouched, and keep the focus. */
  #show(questions) {
    const first = questions.findIndex((question, at) => question !== this.#shown[at]);
    const same = first < 0 ? questions.length : first;
    while (this.#turns.childElementCount > (this.#shown.length ? same : 0)) this.#turns.lastElementChild.remove();
    this.#turns.append(...questions.slice(same).map((question) => this.#views.get(question).element));
  }

  #acts() {
    const unlessBusy = (act) => (...words) => {
      if (!this.isRunning) act(...words);
    };
    return {
      isBusy: () => this.isRunning,
      edit: unlessBusy((question, text) => {
        this.#try(() => this.#run(this.conversation.edit(question, text)));
        byId("message").focus(); // what was edited is out of sight
      }),
      again: unlessBusy((question) => this.#try(() => this.#run(question, true))),
      go: unlessBusy((node, step, kind) => {
        const now = this.conversation.go(node, step);
        this.#follows = false;
        this.#draw();
        this.#views.get(kind === "question" ? now : now.parent)?.focusBranches(kind);
        this.#page.changed();
      }),
    };
  }

  #try(act) {
    this.#notify("");
    act().catch((fault) => this.#notify(fault.message));
  }

  /** Says something about the pane in one line; "" says nothing. */
  #notify(text) {
    this.#notice.textContent = text;
    show(this.#notice, text !== "");
  }

  #isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#turns;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  #follow() {
    if (this.#follows) this.#turns.scrollTop = this.#turns.scrollHeight;
  }
}

/** The fields of a request that say how to sample, as `nanochat chat_cli` sends them. */
function request({ temperature, top_k, min_p, max_tokens, seed }) {
  return { temperature, top_k, min_p, max_tokens, seed, stream: true, stream_options: { include_usage: true } };
}

function logprobs(kind) {
  return kind === "base" ? { logprobs: TOP } : { logprobs: true, top_logprobs: TOP };
}

function empty(model) {
  const text = model?.kind === "base" ? "This base model continues text: write how it begins." : "Ask something.";
  return el("p", { class: "empty", text: model ? text : "" });
}
