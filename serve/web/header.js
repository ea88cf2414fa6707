// The line above the chart: price, the two latest klines, the connection; and the legend in the chart.

import { clock, count, countdown, duration, element, grouped, make, move, percent, write } from "./dom.js";
import { standingOf } from "./kline.js";

const quietAfter = 5000; // ms without an event
const lags = 20; // events whose lag is looked at together

export class Header {
  #chart;
  #series;
  #hovered;
  #offset = 0; // ms from this machine's clock to the exchange's
  #heard = 0; // when the last event came, by this machine's clock
  #lags = [];
  #again = 0; // when the next attempt to connect is made

  constructor(chart, series) {
    this.#chart = chart;
    this.#series = series;
    setInterval(() => this.#tick(), 250);
  }

  /** The connection's state. */
  connection(state, again) {
    element("connection").dataset.state = state;
    this.#again = again ?? 0;
    this.#heard = 0;
    this.#lags = [];
    write(element("connection-text"), state);
    this.#tick();
  }

  /** How far the exchange's clock is ahead of ours. */
  set offset(ms) {
    this.#offset = ms;
  }

  get now() {
    return Date.now() + this.#offset;
  }

  /** An event has come. */
  heard(event) {
    this.#heard = Date.now();
    this.#lags.push(Math.max(0, this.now - event.E));
    if (this.#lags.length > lags) this.#lags.shift();
  }

  /** Another series is to be shown. */
  begin() {
    delete element("price").dataset.move;
    this.hover(undefined);
  }

  /** The crosshair is on a kline, or on none. */
  hover(kline) {
    this.#hovered = kline;
    this.#legend();
  }

  /** Shows what the chart shows; before is the price before it. */
  show(before) {
    const { last } = this.#chart;
    const price = element("price");
    write(price, last ? last.text.c : "–");
    document.title = last ? `${last.text.c} ${this.#series.symbol} · klined` : `${this.#series.symbol} · klined`;
    if (before !== undefined && last && before !== last.close) price.dataset.move = move(before, last.close);
    const change = element("change");
    const percents = last ? percent(last.open, last.close) : "";
    write(change, percents);
    change.dataset.move = { "+": "up", "−": "down" }[percents[0]] ?? "";
    this.#standing("closed", this.#chart.klines.at(-2), (kline) => `${this.#when(kline)} ${standingOf(kline)}`);
    this.#legend();
    this.#tick();
    loaded(this.#chart.klines, this.now);
  }

  // A kline's time, as far as it tells it from others of its length.
  #when(kline) {
    const length = kline.end + 1 - 1000 * kline.time;
    if (length >= 86_400_000) return new Date(1000 * kline.time).toISOString().slice(0, 10);
    return new Date(1000 * kline.time).toISOString().slice(11, length < 60_000 ? 19 : 16);
  }

  #standing(id, kline, text) {
    const chip = element(id);
    chip.hidden = !kline;
    if (!kline) return;
    chip.dataset.state = kline.state;
    chip.toggleAttribute("data-gap", kline.gap);
    write(chip, text(kline));
  }

  #legend() {
    const kline = this.#hovered ?? this.#chart.last;
    const legend = element("legend");
    if (!kline) {
      legend.replaceChildren();
      return;
    }
    legend.dataset.move = move(kline.open, kline.close);
    const { o, h, l, c, v, n } = kline.text;
    const pairs = { O: o, H: h, L: l, C: c, Vol: grouped(v), Trades: count(n) };
    const values = Object.entries(pairs).map(([name, text]) => make("span", {}, `${name} `, make("b", {}, text)));
    const state = make("span", { class: "state", "data-state": kline.state, "data-gap": kline.gap }, standingOf(kline));
    legend.replaceChildren(...values, make("b", {}, percent(kline.open, kline.close)), state);
  }

  // What changes by time alone.
  #tick() {
    const left = this.#chart.last ? Math.ceil((this.#chart.last.end + 1 - this.now) / 1000) : 0;
    this.#standing("running", left > -5 ? this.#chart.last : undefined, (kline) => {
      const standing = standingOf(kline);
      return kline.state === "open" ? `${standing} · ${countdown(Math.max(0, left))}` : standing;
    });
    write(element("lag"), this.#lag());
  }

  #lag() {
    const { state } = element("connection").dataset;
    if (state === "offline") return this.#again > Date.now() ? `retry in ${duration(this.#again - Date.now() + 999)}` : "";
    if (state !== "live" || !this.#heard) return "";
    const quiet = Date.now() - this.#heard;
    if (quiet > quietAfter) return `quiet ${duration(quiet)}`;
    const sorted = [...this.#lags].sort((a, b) => a - b);
    return duration(sorted[sorted.length >> 1]);
  }
}

// Says below the chart what the klines that are loaded are made of.
function loaded(klines, now) {
  const states = { settled: 0, closed: 0, open: 0 };
  let gaps = 0;
  for (const kline of klines) {
    states[kline.state]++;
    if (kline.gap) gaps++;
  }
  const parts = Object.entries(states).filter(([, n]) => n > 0).map(([state, n]) => `${count(n)} ${state}`);
  if (gaps > 0) parts.push(`${count(gaps)} with trades missing`);
  write(element("loaded"), parts.join(", "));
  write(element("since"), klines.length > 0 ? ` · since ${clock(1000 * klines[0].time, now).replace(/^(\d\d:\d\d):00$/, "$1")}` : "");
}
