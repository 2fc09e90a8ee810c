// The server that this page came from: its models, its answers, and what it says when it refuses.

import { EventReader } from "./events.js";
import { oneLine, Told } from "./text.js";

const BUSY_SECONDS = 600; // how long a busy server is asked again; the person can stop sooner
const SHORTEST_WAIT = 1;

/** A refusal: one line, the HTTP status, OpenAI's word for why, and when to ask again (seconds, null: never). */
export class Refusal extends Told {
  constructor(message, status, code, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The server cannot be reached, or the connection broke off. */
export class Gone extends Told {}

/** Addresses are relative: the page also works below a path of a reverse proxy. */
export class Server {
  /** `key()` is the API key that there is now; `askKey(wrong)` asks for one and resolves once it is there. */
  constructor(key, askKey) {
    this.key = key;
    this.askKey = askKey;
  }

  /** The models: id, kind ("chat" or "base"), context in tokens. */
  async models() {
    const document = await (await this.#ask("v1/models")).json();
    return document.data.map((model) => ({
      id: String(model.id),
      kind: model.kind === "base" ? "base" : "chat",
      context: model.max_model_len ?? null,
    }));
  }

  /** Tokens that the context has left after what `body` asks for; null when the server cannot count. */
  async room(body, signal) {
    const { model, messages, prompt } = body;
    const asked = messages ? { model, messages, add_generation_prompt: true } : { model, prompt };
    const counted = await (await this.#ask("tokenize", asked, signal)).json();
    const room = counted.max_model_len - counted.count;
    return Number.isFinite(room) ? room : null;
  }

  /**
   * The documents of a streamed answer. While the server is busy `waiting(seconds)` is told of each wait.
   * Throws `Refusal`, `Gone`, or an AbortError once `signal` says so.
   */
  async *stream(path, body, signal, waiting) {
    const response = await this.#patiently(path, body, signal, waiting);
    const chunks = response.body.getReader();
    const events = new EventReader();
    try {
      for (;;) {
        const { done, value } = await chunks.read();
        if (done) return;
        for (const data of events.feed(value)) {
          if (data === "[DONE]") return;
          const document = JSON.parse(data);
          if (document.error) throw refusal(document, response);
          yield document;
        }
      }
    } catch (fault) {
      if (fault instanceof Told || fault.name === "AbortError") throw fault;
      throw new Gone("the answer broke off: the server or the connection ended");
    } finally {
      chunks.cancel().catch(() => {});
    }
  }

  async #patiently(path, body, signal, waiting) {
    const end = Date.now() + BUSY_SECONDS * 1000;
    for (;;) {
      try {
        return await this.#ask(path, body, signal);
      } catch (fault) {
        if (!(fault instanceof Refusal) || fault.retryAfter === null) throw fault;
        if (Date.now() + fault.retryAfter * 1000 > end) throw fault;
        for (let left = Math.ceil(fault.retryAfter); left > 0; left -= 1) {
          waiting(left);
          await pause(1000, signal);
        }
        waiting(0);
      }
    }
  }

  async #ask(path, body, signal) {
    for (let wrong = false; ; wrong = true) {
      const key = this.key();
      const response = await this.#fetch(path, body, signal, key);
      if (response.ok) return response;
      if (response.status !== 401) throw refusal(await response.json().catch(() => ({})), response);
      if (this.key() === key) await this.askKey(wrong || key !== "", signal);
    }
  }

  async #fetch(path, body, signal, key) {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    try {
      return await fetch(path, {
        method: body ? "POST" : "GET",
        headers,
        body: body && JSON.stringify(body),
        signal,
        cache: "no-store",
        redirect: "error",
      });
    } catch (fault) {
      if (fault.name === "AbortError") throw fault;
      throw new Gone(`no answer from ${location.host}: has the server ended?`);
    }
  }
}

function refusal(document, response) {
  const error = document.error ?? {};
  const said = oneLine(error.message ?? document.detail ?? "") || `the server answers ${response.status}`;
  const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const again = response.status !== 200 && Number.isFinite(wait);
  return new Refusal(said, response.status, error.code ?? "", again ? Math.max(SHORTEST_WAIT, wait) : null);
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}
