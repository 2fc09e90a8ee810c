// The page: one or two panes, one field that asks them all, and how answers are sampled.

import { Conversation } from "./conversation.js";
import { byId, button, show } from "./dom.js";
import { askKey, currentKey } from "./key_dialog.js";
import { Pane } from "./pane.js";
import { Server } from "./server.js";
import { SettingsForm } from "./settings.js";
import { forget, keep, keepTheme, kept, keptTheme } from "./storage.js";
import { oneLine } from "./text.js";

const KEEP_AFTER = 400; // milliseconds without a change

class Page {
  server = new Server(currentKey, askKey);
  #form = new SettingsForm(() => this.changed());
  #panes = [1, 2].map((number) => new Pane(number, this));
  #isComparing = false;
  #timer = 0;
  #isForgotten = false;
  #message = byId("message");
  #models = [];

  async start() {
    byId("server").textContent = location.host;
    byId("panes").append(...this.#panes.map((pane) => pane.element));
    this.#restore();
    this.#listen();
    this.#showPanes();
    if (matchMedia("(pointer: fine)").matches) this.#message.focus(); // elsewhere a keyboard would cover the page
    await this.#findModels();
  }

  // -- what panes ask of their page ----------------------------------------------------------------

  settings() {
    return this.#form.read();
  }

  get system() {
    return this.#form.system;
  }

  useSystem(text) {
    this.#form.system = text;
  }

  changed() {
    const isRunning = this.#isRunning;
    const hadFocus = document.activeElement === byId("send") || document.activeElement === byId("stop");
    show(byId("stop"), isRunning);
    show(byId("send"), !isRunning);
    if (hadFocus) byId(isRunning ? "stop" : "send").focus();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#keep(), KEEP_AFTER);
  }

  // -- panes ---------------------------------------------------------------------------------------

  get #isRunning() {
    return this.#panes.some((pane) => pane.isRunning);
  }

  get #inSight() {
    return this.#isComparing ? this.#panes : this.#panes.slice(0, 1);
  }

  #compare(isOn) {
    this.#isComparing = isOn;
    const [first, second] = this.#panes;
    const other = this.#models.find((model) => model.id !== first.modelName);
    const isNew = second.conversation.isEmpty && second.modelName === first.modelName;
    if (isOn && isNew && other) second.open(second.conversation, other.id);
    if (!isOn) second.stop();
    this.#showPanes();
    this.changed();
  }

  #showPanes() {
    byId("compare").setAttribute("aria-pressed", String(this.#isComparing));
    byId("panes").classList.toggle("two", this.#isComparing);
    show(this.#panes[1].element, this.#isComparing);
    this.#showPane(0);
  }

  /** On a narrow screen one of two panes is in sight. */
  #showPane(which) {
    byId("panes").dataset.pane = String(which);
    for (const at of [0, 1]) byId(`pane-${at + 1}`).setAttribute("aria-pressed", String(at === which));
  }

  // -- asking --------------------------------------------------------------------------------------

  #send() {
    const text = this.#message.value;
    const panes = this.#inSight;
    if (!text.trim() || this.#isRunning) return;
    this.#say("");
    try {
      this.settings();
    } catch (fault) {
      this.#say(fault.message);
      return;
    }
    if (panes.some((pane) => !pane.model)) {
      this.#say("The server offers no model yet.");
      return;
    }
    this.#message.value = "";
    const coversPanes = matchMedia("(max-width: 760px)").matches && !byId("settings").hidden;
    if (coversPanes) this.#toggleSettings();
    for (const pane of panes) pane.ask(text);
  }

  #stop() {
    for (const pane of this.#panes) pane.stop();
  }

  async #findModels() {
    this.#say("");
    try {
      this.#models = await this.server.models();
      for (const pane of this.#panes) pane.offer(this.#models);
      if (this.#models.length === 0) this.#say("The server offers no model.");
    } catch (fault) {
      const again = button("Try again", () => this.#findModels());
      this.#say(`The models cannot be listed: ${oneLine(fault.message)}`, again);
    }
  }

  /** Lists what was saved while the page was out of sight. A server that is gone is told of when it is asked. */
  async #refreshModels() {
    const models = await this.server.models().catch(() => this.#models);
    if (JSON.stringify(models) === JSON.stringify(this.#models)) return;
    this.#models = models;
    for (const pane of this.#panes) pane.offer(models);
  }

  #say(text, ...more) {
    const line = byId("problem");
    line.replaceChildren(text, ...(more.length ? [" ", ...more] : []));
    show(line, text !== "");
  }

  // -- keys and buttons ----------------------------------------------------------------------------

  #listen() {
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#message.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#send();
      } else if (event.key === "ArrowUp" && this.#message.value === "" && !this.#isRunning) {
        if (this.#panes[0].editLast()) event.preventDefault();
      }
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !byId("key-dialog").open) this.#stop();
    });
    byId("stop").addEventListener("click", () => this.#stop());
    byId("compare").addEventListener("click", () => this.#compare(!this.#isComparing));
    for (const at of [0, 1]) byId(`pane-${at + 1}`).addEventListener("click", () => this.#showPane(at));
    byId("settings-toggle").addEventListener("click", () => this.#toggleSettings());
    byId("clear").addEventListener("click", () => this.#clear());
    byId("key-cancel").addEventListener("click", () => byId("key-dialog").close());
    const theme = byId("theme");
    theme.value = keptTheme() || "auto";
    theme.addEventListener("change", () => {
      document.documentElement.dataset.theme = theme.value;
      keepTheme(theme.value);
    });
    addEventListener("pagehide", () => this.#keep());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#refreshModels();
      else this.#keep(); // a telephone may end a hidden page without a word
    });
  }

  #toggleSettings() {
    const isOpen = byId("settings-toggle").getAttribute("aria-expanded") !== "true";
    byId("settings-toggle").setAttribute("aria-expanded", String(isOpen));
    show(byId("settings"), isOpen);
  }

  // -- what the browser keeps ----------------------------------------------------------------------

  #keep() {
    clearTimeout(this.#timer);
    if (this.#isForgotten) return;
    const panes = this.#panes.map((pane) => ({ model: pane.modelName, conversation: pane.conversation }));
    const isKept = keep({ panes, settings: this.#form.state, isComparing: this.#isComparing });
    show(byId("not-kept"), !isKept);
  }

  #restore() {
    const state = kept();
    if (!state) return;
    try {
      this.#open(state);
    } catch (fault) {
      // Another page of this address wrote it, or another version of this one.
      console.info("what was kept cannot be read", fault);
      this.#form.restore({});
      for (const pane of this.#panes) pane.open(new Conversation());
    }
  }

  #open(state) {
    this.#form.restore(state.settings ?? {});
    this.#isComparing = state.isComparing === true;
    this.#panes.forEach((pane, at) => {
      const found = state.panes[at];
      if (found) pane.open(found.conversation, found.model);
    });
  }

  #clear() {
    if (!confirm("Clear the conversations and settings that this browser keeps of this server?")) return;
    this.#isForgotten = true;
    forget();
    location.reload();
  }
}

new Page().start();
