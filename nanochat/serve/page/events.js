// Server-sent events, read (WHATWG HTML, 9.2): bytes in, the data of each event out.

const MAX_EVENT = 16 << 20;

export class EventReader {
  #decoder = new TextDecoder();
  #rest = []; // pieces of a line whose end has not come
  #size = 0;
  #data = [];

  /** The data of the events that `bytes` complete. */
  feed(bytes) {
    return this.#lines(this.#decoder.decode(bytes, { stream: true }));
  }

  #lines(text) {
    const events = [];
    const lines = text.split("\n");
    const last = lines.pop();
    for (const line of lines) {
      this.#rest.push(line);
      this.#line(this.#rest.join("").replace(/\r$/, ""), events);
      this.#rest = [];
      this.#size = 0;
    }
    if (last) {
      this.#rest.push(last);
      this.#size += last.length;
      if (this.#size > MAX_EVENT) throw new Error(`an event of more than ${MAX_EVENT >> 20} MiB`);
    }
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#data.length) events.push(this.#data.join("\n"));
      this.#data = [];
    } else if (line.startsWith("data:")) {
      this.#data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }
}
