// The list of symbols, with a search in it.

const element = (id) => document.getElementById(id);

/** Makes the picker; pick(name) is called with the symbol that is chosen. The result opens it: open(current). */
export function makePicker(names, pick) {
  const [dialog, search, list, none, button] = ["picker", "search", "symbols", "no-symbol", "symbol"].map(element);
  let current = "";
  let chosen = -1;

  const items = names.map((name, i) => {
    const item = document.createElement("li");
    item.id = `symbol-${i}`;
    item.setAttribute("role", "option");
    item.textContent = name;
    item.dataset.name = name;
    return item;
  });
  list.append(...items);
  const shown = () => items.filter((item) => !item.hidden);

  function choose(index) {
    const visible = shown();
    chosen = visible.length === 0 ? -1 : Math.max(0, Math.min(index, visible.length - 1));
    for (const item of items) item.setAttribute("aria-selected", "false");
    search.removeAttribute("aria-activedescendant");
    if (chosen < 0) return;
    visible[chosen].setAttribute("aria-selected", "true");
    visible[chosen].scrollIntoView({ block: "nearest" });
    search.setAttribute("aria-activedescendant", visible[chosen].id);
  }

  // Names that begin with what was typed come first.
  function filter() {
    const text = search.value.trim().toUpperCase();
    const rank = (name) => (name.startsWith(text) ? 0 : name.includes(text) ? 1 : 2);
    for (const item of items) item.hidden = rank(item.dataset.name.toUpperCase()) === 2;
    const sorted = [...items].sort((a, b) => rank(a.dataset.name.toUpperCase()) - rank(b.dataset.name.toUpperCase()) || items.indexOf(a) - items.indexOf(b));
    list.replaceChildren(...sorted);
    items.splice(0, items.length, ...sorted);
    none.hidden = shown().length > 0;
    choose(text ? 0 : shown().findIndex((item) => item.dataset.name === current));
  }

  function take(item) {
    dialog.close();
    if (item && item.dataset.name !== current) pick(item.dataset.name);
  }

  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step) choose(chosen + step);
    else if (event.key === "Enter") take(shown()[chosen]);
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) take(item);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => button.setAttribute("aria-expanded", "false"));

  return function open(name) {
    if (dialog.open) return;
    current = name;
    for (const item of items) item.toggleAttribute("data-current", item.dataset.name === name);
    search.value = "";
    dialog.showModal();
    button.setAttribute("aria-expanded", "true");
    search.focus();
    filter();
  };
}
