// How the server stands: at a glance in the header, and in a panel of its own.

import { ask } from "./series.js";
import { element, write } from "./dom.js";
import { headline, sections } from "./report.js";

const glanceEvery = 10_000; // ms
const readEvery = 2000; // ms, while the panel is open
const listsEvery = 5; // reads of the status between two of the lists

export class Status {
  #reachable = false;
  #onEnded;
  #ended; // how many symbols had ended
  #timer = 0;
  #reads = 0;
  #seen = []; // the two latest statuses, with when they came
  #stale = true; // nothing has come since the server was lost
  #lists = { symbols: [], gaps: [], differences: [] };

  /** onEnded() is called when other symbols than before have ended; where its promise fails, again after the next look. */
  constructor(onEnded) {
    this.#onEnded = onEnded;
    element("status").addEventListener("close", () => this.#next());
  }

  /** Whether the server can be asked. */
  set reachable(on) {
    if (on === this.#reachable) return;
    this.#reachable = on;
    if (!on) this.#lost();
    else this.#read();
  }

  open() {
    const panel = element("status");
    if (panel.open) return;
    panel.showModal();
    element("status-body").focus({ focusVisible: false }); // for the keys that scroll; a ring around all of it would say nothing
    this.#reads = 0;
    this.#show();
    this.#read();
  }

  #next() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), element("status").open ? readEvery : glanceEvery);
  }

  async #read() {
    clearTimeout(this.#timer);
    if (this.#reachable && !document.hidden) {
      try {
        const status = await ask("klined/v1/status");
        const at = performance.now();
        if (element("status").open && (this.#reads++ % listsEvery === 0 || this.#changed(status))) await this.#readLists();
        this.#seen = [...(this.#stale ? [] : this.#seen), { at, status }].slice(-2);
        this.#stale = false;
        this.#show();
        const { ended = 0 } = status.symbols;
        const same = ended === (this.#ended ?? ended);
        if (same || (await this.#onEnded().then(() => true, () => false))) this.#ended = ended;
      } catch {
        this.#lost();
      }
    }
    this.#next();
  }

  // The server does not answer: what it said last stays in view.
  #lost() {
    this.#stale = true;
    this.#show();
  }

  // The lists tell more of these: they are read again when these are others.
  #changed({ symbols, gaps }) {
    const before = this.#stale ? undefined : this.#seen.at(-1)?.status;
    return !before || JSON.stringify([symbols, gaps]) !== JSON.stringify([before.symbols, before.gaps]);
  }

  async #readLists() {
    const names = Object.keys(this.#lists);
    const lists = await Promise.all(names.map((name) => ask(`klined/v1/${name}`)));
    names.forEach((name, i) => (this.#lists[name] = lists[i]));
  }

  #show() {
    const latest = this.#seen.at(-1)?.status;
    const { state, short, long } = headline(this.#stale ? undefined : latest);
    element("status-button").dataset.state = state;
    write(element("standing"), short);
    if (!element("status").open) return;
    write(element("status-headline"), long);
    element("status-headline").dataset.state = state;
    element("status-body").toggleAttribute("data-stale", this.#stale);
    if (latest) element("status-body").replaceChildren(...sections(this.#seen, this.#lists));
  }
}
