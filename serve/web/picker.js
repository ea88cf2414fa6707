// The list of symbols, with a search in it.

import { count, element, make, write } from "./dom.js";

const plain = (text) => text.normalize("NFKC").trim().toUpperCase();

/** Makes the picker; names() are the symbols, pick(name) is called with the one that is chosen. The result opens it: open(current). */
export function makePicker(names, pick) {
  const [dialog, search, list, found, button] = ["picker", "search", "symbols", "found", "symbol"].map(element);
  let current = "";
  let chosen = -1;
  let shown = [];
  let items = [];

  // Lines of symbols that are still there stay as they are.
  function renew() {
    const before = new Map(items.map((item) => [item.name, item]));
    items = names().map((name) => before.get(name) ?? { name, key: plain(name), line: make("li", { id: `symbol-${name}`, role: "option", "data-name": name }, name) });
  }

  function choose(index) {
    shown[chosen]?.line.setAttribute("aria-selected", "false");
    chosen = shown.length === 0 ? -1 : Math.max(0, Math.min(index, shown.length - 1));
    search.removeAttribute("aria-activedescendant");
    if (chosen < 0) return;
    const { line } = shown[chosen];
    line.setAttribute("aria-selected", "true");
    line.scrollIntoView({ block: "nearest" });
    search.setAttribute("aria-activedescendant", line.id);
  }

  // Names that begin with what was typed come first, else as the exchange lists them.
  function filter() {
    shown[chosen]?.line.setAttribute("aria-selected", "false");
    chosen = -1;
    const text = plain(search.value);
    const begin = items.filter(({ key }) => key.startsWith(text));
    const within = items.filter(({ key }) => !key.startsWith(text) && key.includes(text));
    shown = [...begin, ...within];
    list.replaceChildren(...shown.map(({ line }) => line));
    write(found, shown.length > 0 ? `${count(shown.length)} ${shown.length === 1 ? "symbol" : "symbols"}` : "No symbol of that name is carried here.");
    choose(text ? 0 : shown.findIndex(({ name }) => name === current));
  }

  function take(name) {
    dialog.close();
    if (name !== undefined && name !== current) pick(name);
  }

  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // the key belongs to an input method
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step) choose(chosen + step);
    else if (event.key === "Enter") take(shown[chosen]?.name);
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const line = event.target.closest("li");
    if (line) take(line.dataset.name);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => button.setAttribute("aria-expanded", "false"));

  return function open(name) {
    if (dialog.open) return;
    current = name;
    renew();
    for (const item of items) item.line.toggleAttribute("data-current", item.name === name);
    search.value = "";
    dialog.showModal();
    button.setAttribute("aria-expanded", "true");
    search.focus();
    filter();
  };
}
