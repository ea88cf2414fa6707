// Light or dark: as the machine has it, until it is chosen here.

import { element } from "./dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const kept = "klined-theme";

/** Follows the machine and the button; onChange() is called after the colours have changed. */
export function followTheme(onChange) {
  const root = document.documentElement;
  const show = () => {
    root.style.colorScheme = read() ?? "light dark";
    document.querySelector("meta[name=theme-color]").content = getComputedStyle(document.body).backgroundColor;
    onChange();
  };
  const toggle = () => {
    const next = (read() ?? (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    // What the machine has anyway need not be kept.
    if (next === (dark.matches ? "dark" : "light")) localStorage.removeItem(kept);
    else localStorage.setItem(kept, next);
    show();
  };
  dark.addEventListener("change", show);
  element("theme").addEventListener("click", toggle);
  show();
  return toggle;
}

function read() {
  const theme = localStorage.getItem(kept);
  return theme === "light" || theme === "dark" ? theme : undefined;
}
