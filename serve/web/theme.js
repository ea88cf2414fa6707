// Light or dark: as the machine has it, until it is chosen here.

import { element } from "./dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const kept = "klined-theme";
let chosen; // "light" or "dark"

/** Follows the machine and the button; onChange() is called after the colours have changed. */
export function followTheme(onChange) {
  const root = document.documentElement;
  const show = () => {
    root.style.colorScheme = chosen ?? "light dark";
    document.querySelector("meta[name=theme-color]").content = getComputedStyle(document.body).backgroundColor;
    onChange();
  };
  const toggle = () => {
    const machine = dark.matches ? "dark" : "light";
    const next = (chosen ?? machine) === "dark" ? "light" : "dark";
    chosen = next === machine ? undefined : next;
    keep();
    show();
  };
  dark.addEventListener("change", show);
  element("theme").addEventListener("click", toggle);
  chosen = read();
  show();
  return toggle;
}

// A browser that keeps nothing for this page throws at the mere name of localStorage.

function read() {
  try {
    const theme = localStorage.getItem(kept);
    return theme === "light" || theme === "dark" ? theme : undefined;
  } catch {
    return undefined;
  }
}

function keep() {
  try {
    if (chosen) localStorage.setItem(kept, chosen);
    else localStorage.removeItem(kept); // what the machine has anyway need not be kept
  } catch {
    // then it is chosen until the page is left
  }
}
