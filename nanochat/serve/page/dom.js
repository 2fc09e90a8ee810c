// Building the page. Foreign text enters it as text nodes only.

/** An element: `text` is its text, `on` its listeners by event, all else its attributes (true: without a value). */
export function el(name, { text, on, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) made.setAttribute(attribute, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on ?? {})) made.addEventListener(event, listener);
  if (text !== undefined) made.textContent = text;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A button that says what it does; `label` says more to those who do not see where it stands. */
export function button(text, act, { label, ...rest } = {}) {
  return el("button", { type: "button", text, "aria-label": label, on: { click: act }, ...rest });
}

export const byId = (id) => document.getElementById(id);

/** Shows an element or hides it. */
export function show(element, shown) {
  element.hidden = !shown;
}

/** Tells a screen reader, politely, what has happened. */
export function announce(text) {
  const region = byId("announcer");
  while (region.childElementCount > 4) region.firstElementChild.remove();
  region.append(el("p", { text }));
}

/** Copies a text; returns whether the browser let us. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Browsers keep the clipboard from pages over plain http, but for this machine's own.
  }
  const field = el("textarea", { class: "out-of-sight", "aria-hidden": "true", tabindex: "-1" });
  const focused = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}

/** A button that copies what `text` gives and says so on itself. */
export function copyButton(text, label) {
  const made = button("Copy", async () => {
    const copied = await copyText(text());
    made.textContent = copied ? "Copied" : "Not allowed";
    announce(copied ? "Copied" : "The browser did not allow copying");
    setTimeout(() => (made.textContent = "Copy"), 2000);
  }, { label, class: "quiet" });
  return made;
}

/** Has the browser save a text as a file. */
export function saveFile(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
