// Small help with the document and with numbers.

export const element = (id) => document.getElementById(id);

/** Makes an element; attributes that are undefined or false are left out. */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Writes a text, where it is another than before. */
export function write(to, text) {
  if (to.textContent !== text) to.textContent = text;
}

const two = (n) => String(n).padStart(2, "0");

/** A count with its thousands set apart. */
export const count = (n) => Math.round(n).toLocaleString("en-US");

/** A decimal with its thousands set apart, and all its digits. */
export function grouped(text) {
  const [whole, part] = text.split(".");
  const set = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return part === undefined ? set : `${set}.${part}`;
}

/** A time in UTC: "20:41:07" where it is of the same day as now, else "11-25 20:41". */
export function clock(ms, now) {
  const [at, today] = [ms, now].map((time) => new Date(time).toISOString());
  return at.slice(0, 10) === today.slice(0, 10) ? at.slice(11, 19) : `${at.slice(5, 10)} ${at.slice(11, 16)}`;
}

/** A length of time that counts down: "00:42", "3:07:42", "2d 03h". */
export function countdown(seconds) {
  if (seconds >= 86400) return `${Math.floor(seconds / 86400)}d ${two(Math.floor(seconds / 3600) % 24)}h`;
  const minutes = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return seconds >= 3600 ? `${Math.floor(seconds / 3600)}:${minutes}` : minutes;
}

/** A length of time in words: "250 ms", "4 s", "3 h 12 min". */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** An amount of memory or disk. */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${n.toFixed(n < 10 && i > 0 ? 1 : 0)} ${units[i]}`;
}

/** Up or down, for colours. */
export const move = (from, to) => (to > from ? "up" : to < from ? "down" : "");

/** A change in per cent, rounded; with its sign, unless that leaves nothing. */
export function percent(from, to) {
  const change = (100 * (to - from)) / from;
  const size = Math.abs(change).toFixed(2);
  return `${size === "0.00" ? "" : change < 0 ? "−" : "+"}${size} %`;
}
