// An answer as it comes: its parts, its tokens with their probabilities, how it ended, and its figures.

import { characterOffset, countCharacters } from "./text.js";

/** What an answer is sampled with where nobody says otherwise, as `AnswerSettings` in Python. */
export const SETTINGS = { temperature: 0.6, top_k: 50, top_p: 1, min_p: 0, max_tokens: 256, seed: null };

export const REASONS = ["stop", "length", "stopped", "cut", "other"];

const SHORTEST = 0.1; // seconds within which a browser cannot tell one token's arrival from the next one's

export class Answer {
  /** `settings` with the seed that is used; `model` as the server lists it. */
  constructor(model, settings, kind = "chat") {
    this.model = model; // with the checkpoint's step, once the server has said it
    this.settings = settings;
    this.kind = kind; // "chat", or "base" for a continuation of a text
    this.parts = []; // {kind: "text" | "python" | "python_output", text}
    this.tokens = []; // {text, logprob, top: [{text, logprob}]}
    this.reason = ""; // while it comes
    this.ended = null; // the reason that the server gave
    this.error = ""; // one line, where it failed
    this.note = ""; // one line on how it was asked for
    this.count = null;
    this.firstSeconds = null;
    this.seconds = null;
    this.length = 0; // characters of text, as Python counts them
    this.began = performance.now();
  }

  get text() {
    return this.parts.filter((part) => part.kind === "text").map((part) => part.text).join("");
  }

  /** Whether it belongs to the conversation: something of it came, or the model ended it at once. */
  get counts() {
    return this.parts.length > 0 || ["stop", "length", "other"].includes(this.reason);
  }

  get isRunning() {
    return this.reason === "";
  }

  /** Tokens so far; 0 where nobody counts them. */
  get tokenCount() {
    return this.count ?? this.tokens.length;
  }

  /** Tokens a second after the first one; null where they are not counted, or came all at once. */
  get speed() {
    if (this.tokenCount < 2 || this.firstSeconds === null) return null;
    const spent = (this.seconds ?? (performance.now() - this.began) / 1000) - this.firstSeconds;
    return spent > SHORTEST ? (this.tokenCount - 1) / spent : null;
  }

  /** Takes a document of the stream; returns whether anything of the answer changed. */
  take(document) {
    if (document.system_fingerprint) this.model = String(document.system_fingerprint);
    if (document.usage) this.count = document.usage.completion_tokens ?? null;
    const choice = document.choices?.[0];
    if (!choice) return false;
    const { content = choice.text ?? "", executed_tools: calls = choice.executed_tools } = choice.delta ?? {};
    if (content || calls) {
      this.firstSeconds ??= (performance.now() - this.began) / 1000;
      this.#add(String(content ?? ""), calls ?? []);
    }
    if (choice.logprobs) this.tokens.push(...readTokens(choice.logprobs));
    if (choice.finish_reason) this.ended = REASONS.includes(choice.finish_reason) ? choice.finish_reason : "other";
    return true;
  }

  /** Says how it ended. */
  end(reason, error = "") {
    this.reason = reason;
    this.error = error;
    this.seconds = (performance.now() - this.began) / 1000;
  }

  /** Begins anew, as nothing of it has come. */
  restart(settings, note) {
    this.settings = settings;
    this.note = note;
  }

  #add(said, calls) {
    for (const call of calls) {
      const cut = characterOffset(said, Math.max(0, (call.offset ?? 0) - this.length));
      this.#text(said.slice(0, cut));
      said = said.slice(cut);
      this.parts.push({ kind: "python", text: String(call.arguments ?? "").toWellFormed() });
      if (typeof call.output === "string") {
        this.parts.push({ kind: "python_output", text: call.output.toWellFormed() });
      }
    }
    this.#text(said);
  }

  #text(said) {
    if (!said) return;
    this.length += countCharacters(said);
    const last = this.parts.at(-1);
    if (last?.kind === "text") last.text += said.toWellFormed();
    else this.parts.push({ kind: "text", text: said.toWellFormed() });
  }
}

/** Tokens of a chat's `logprobs` or of a completion's parallel lists. */
function readTokens(logprobs) {
  if (logprobs.content) {
    return logprobs.content.map((token) => ({
      text: spelling(token),
      logprob: token.logprob,
      top: (token.top_logprobs ?? []).map((rival) => ({ text: spelling(rival), logprob: rival.logprob })),
    }));
  }
  return (logprobs.tokens ?? []).map((text, at) => ({
    text: text.replace(/^bytes:/, ""),
    logprob: logprobs.token_logprobs[at],
    top: Object.entries(logprobs.top_logprobs[at] ?? {})
      .map(([rival, logprob]) => ({ text: rival.replace(/^bytes:/, ""), logprob }))
      .sort((one, other) => other.logprob - one.logprob),
  }));
}

/** A token's text; its bytes as \xe2\x80 where they are no whole characters. */
function spelling({ token, bytes }) {
  if (!token.includes("\ufffd") || !bytes) return token;
  return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}
