// How answers are sampled: the form beside the conversations.

import { SETTINGS } from "./answer.js";
import { byId } from "./dom.js";
import { Told } from "./text.js";

const FIELDS = ["temperature", "top_k", "max_tokens", "seed"];
const field = (name) => byId(`set-${name}`);

export class SettingsForm {
  /** `changed` is called after every change. */
  constructor(changed) {
    this.form = byId("settings-form");
    this.restore({});
    this.form.addEventListener("input", () => changed());
    this.form.addEventListener("submit", (event) => event.preventDefault());
  }

  /** The settings, and whether probabilities are wanted. Throws `Told` for a field that is no such number. */
  read() {
    const wrong = FIELDS.map(field).find((input) => !input.validity.valid);
    if (wrong) {
      this.open();
      wrong.reportValidity();
      throw new Told(`${wrong.labels[0].textContent}: ${wrong.title}`);
    }
    const found = { ...SETTINGS };
    for (const name of FIELDS) {
      const { value } = field(name);
      found[name] = value === "" ? SETTINGS[name] : Number(value);
    }
    return { ...found, probabilities: field("probabilities").checked };
  }

  /** What is kept: the fields as they are written. */
  get state() {
    const texts = Object.fromEntries(FIELDS.map((name) => [name, field(name).value]));
    return { ...texts, system: this.system, probabilities: field("probabilities").checked };
  }

  restore({ system = "", probabilities = true, ...texts }) {
    for (const name of FIELDS) field(name).value = texts[name] ?? SETTINGS[name] ?? "";
    field("probabilities").checked = probabilities !== false;
    this.system = String(system);
  }

  get system() {
    return field("system").value;
  }

  set system(text) {
    field("system").value = text;
  }

  open() {
    const toggle = byId("settings-toggle");
    if (toggle.getAttribute("aria-expanded") !== "true") toggle.click();
  }
}
