// The list of symbols, with a search in it.

import { count, element, make, write } from "./dom.js";
import { bare, plain } from "./names.js";

// What is said where nothing is found, by how the asking for the symbols stands.
const without = {
  asked: "Asking for symbols …",
  known: "No symbol of that name is carried here.",
  failed: "No symbol of that name is known to this page, and the server does not answer.",
};
const askEvery = 3000; // ms, at most, while it is open and finds nothing

/**
 * Makes the picker; names() are the symbols, learn() has them asked for again, pick(name) is called with the one that is chosen. The
 * result opens it: open(current).
 */
export function makePicker(names, learn, pick) {
  const [dialog, search, list, found, button] = ["picker", "search", "symbols", "found", "symbol"].map(element);
  let current = "";
  let chosen = -1;
  let timer = 0; // to ask again
  let shown = [];
  let items = [];
  let asked = -askEvery; // when learn was called last
  let standing = ""; // of the last answer: "asked" until it is here, "known" or "failed"

  // Lines of symbols that are still there stay as they are.
  function renew() {
    const before = new Map(items.map((item) => [item.name, item]));
    items = names().map((name) => before.get(name) ?? { name, plain: plain(name), bare: bare(name), line: make("li", { id: `symbol-${name}`, role: "option", "data-name": name }, name) });
    for (const item of items) item.line.toggleAttribute("data-current", item.name === current);
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
  function matching(form, text) {
    const [begin, within] = [[], []];
    for (const item of items) {
      const at = item[form].indexOf(text);
      if (at >= 0) (at === 0 ? begin : within).push(item);
    }
    return [...begin, ...within];
  }

  // What is typed is taken as it is, and only where no name has it, without what other programs write around names.
  function filter() {
    shown[chosen]?.line.setAttribute("aria-selected", "false");
    chosen = -1;
    const [text, rest] = [plain, bare].map((form) => form(search.value));
    shown = matching("plain", text);
    if (shown.length === 0 && rest) shown = matching("bare", rest);
    list.replaceChildren(...shown.map(({ line }) => line));
    write(found, shown.length > 0 ? `${count(shown.length)} ${shown.length === 1 ? "symbol" : "symbols"}` : without[standing]);
    choose(text ? 0 : shown.findIndex(({ name }) => name === current));
    if (shown.length === 0) update();
  }

  // Has the symbols asked for again, and shows them. What is chosen stays so.
  async function update() {
    if (standing === "asked" || !dialog.open) return;
    const wait = asked + askEvery - performance.now();
    clearTimeout(timer);
    if (wait > 0) {
      timer = setTimeout(() => shown.length === 0 && update(), wait);
      return;
    }
    asked = performance.now();
    standing = "asked";
    if (shown.length === 0) write(found, without.asked);
    standing = await learn().then(() => "known", () => "failed");
    if (!dialog.open) return;
    const name = shown[chosen]?.name;
    renew();
    filter();
    const at = shown.findIndex((item) => item.name === name);
    if (at >= 0) choose(at);
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
    search.value = "";
    dialog.showModal();
    button.setAttribute("aria-expanded", "true");
    search.focus();
    filter();
    update();
  };
}
