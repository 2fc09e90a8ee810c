// Asks for the API key of a server that wants one. The browser forgets it when the tab is closed.

import { byId, show } from "./dom.js";
import { keepKey, keptKey } from "./storage.js";
import { Told } from "./text.js";

let key = keptKey();
let asking = null;

export const currentKey = () => key;

/** Resolves once there is a new key. Several that ask share one dialog. Throws `Told` when it is closed. */
export function askKey(isWrong, signal) {
  asking ??= ask(isWrong).finally(() => (asking = null));
  if (!signal) return asking;
  const stopped = new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")), { once: true });
  });
  return Promise.race([asking, stopped]);
}

function ask(isWrong) {
  const dialog = byId("key-dialog");
  const field = byId("key");
  const form = byId("key-form");
  show(byId("key-wrong"), isWrong);
  field.value = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    const closed = () => {
      form.removeEventListener("submit", submitted);
      reject(new Told("the server asks for an API key"));
    };
    const submitted = (event) => {
      event.preventDefault();
      const written = field.value.trim();
      if (!/^[!-~]+$/.test(written)) return; // no header can hold it
      key = written;
      keepKey(key);
      resolve();
      dialog.close();
    };
    form.addEventListener("submit", submitted);
    dialog.addEventListener("close", closed, { once: true });
  });
}
