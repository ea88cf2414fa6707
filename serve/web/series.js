// The series that is shown: what REST and the stream bring of it, joined without a hole.

import { follows, klineOfEvent, klineOfRow, mayReplace } from "./kline.js";

const rowsAtOnce = 1000;
const fewRows = 10; // rows that are taken in one by one
const retryAfter = 3000; // ms, where the server does not say
const settlesWithin = 200; // klines from the last one back that are asked for again until they are settled, and after a reconnect
const lookEvery = 5000; // ms without an event, until the latest klines are asked for
const most = 12_000; // klines that are kept of a series that goes on, unless the oldest are in view: some 2 kB each
const fewer = 8000; // that are left then
const shownFor = 400; // ms that another series stays in view while this one is being loaded

export class Series {
  symbol = "";
  interval = "";
  #chart;
  #on;
  #price; // how its prices are written
  #fresh = true; // nothing of it is shown yet
  #loading = null; // the AbortController of what is being loaded
  #again = false; // the latest klines are asked for once more after that
  #waiting = []; // events that came while klines were being loaded
  #first = false; // nothing comes before the first kline shown
  #timer = 0; // of the next attempt, after a failure
  #heard = 0; // when its last event came
  #leave = 0; // the timer at whose end another series leaves the view
  #settles;
  #live;
  #now;

  /** onChange(before) follows each change of what is shown, with the last price before it; onFailure({text, at, retry}) says
   * why klines cannot be loaded, and undefined when they can; onLoading(true) and (false) surround a wait. settles says whether
   * closed klines settle some time after, live() whether the server can be reached, now() the exchange's time. */
  constructor(chart, { settles, live, now, ...handlers }) {
    this.#chart = chart;
    this.#on = handlers;
    this.#settles = settles;
    this.#live = live;
    this.#now = now;
    setInterval(() => this.#look(), lookEvery);
  }

  /** Shows another series; it appears when its klines are here. */
  open(symbol, interval, price) {
    Object.assign(this, { symbol, interval });
    this.#price = price;
    this.#fresh = true;
    this.#first = false;
    this.#heard = 0;
    clearTimeout(this.#leave);
    this.#leave = setTimeout(() => this.#clear(), shownFor);
    this.#load();
  }

  /** Whether it is known that there are no klines of it. */
  get empty() {
    return !this.#fresh && this.#chart.klines.length === 0;
  }

  /** Asks for what may have been missed: also for what has become of klines that are shown. */
  refresh() {
    if (this.#loading) this.#again = true;
    else this.#load(settlesWithin);
  }

  /** Asks for the klines before the first one shown. */
  async earlier() {
    const first = this.#chart.klines[0];
    if (this.#loading || this.#first || this.#fresh || this.#timer || !first) return;
    await this.#during(async (signal) => {
      let klines = await this.#fetch({ endTime: 1000 * first.time - 1, limit: rowsAtOnce }, signal);
      const before = klines.length === 0 && (await this.#beforeHole(first, signal));
      if (before) klines = await this.#fetch({ endTime: 1000 * before, limit: rowsAtOnce }, signal);
      this.#first = klines.length === 0;
      if (!this.#first) this.#chart.show([...klines, ...this.#chart.klines]);
      this.#on.onChange();
    }, () => this.#chart.nearFirst && this.earlier());
  }

  /** Takes an event of the stream. */
  apply(event) {
    if (event.k.s !== this.symbol || event.k.i !== this.interval) return;
    this.#heard = Date.now();
    if (this.#loading || this.#fresh) {
      this.#waiting.push(event);
      return;
    }
    const before = this.#chart.last?.close;
    if (!this.#take(klineOfEvent(event.k))) return;
    if (this.#chart.klines.length > most && this.#chart.trim(fewer)) this.#first = false;
    this.#on.onChange(before);
  }

  // Takes another series out of view, where this one is not here yet.
  #clear() {
    if (!this.#fresh) return;
    this.#chart.begin([], this.#price, this.interval.endsWith("s"));
    this.#on.onChange();
  }

  #take(kline) {
    const known = this.#chart.at(kline.time);
    if (known ? !mayReplace(kline, known) : this.#chart.last && kline.time < this.#chart.last.time) return false;
    this.#chart.update(kline);
    return true;
  }

  // Loads the latest klines: a thousand of a series that is not shown yet, else from the last closed one known, and at least
  // so many.
  #load(least = 3) {
    const last = this.#fresh ? undefined : this.#chart.last;
    const missed = last ? Math.ceil((this.#now() - 1000 * last.time) / (last.end + 1 - 1000 * last.time)) + 3 : rowsAtOnce;
    const limit = Math.min(Math.max(missed, least), rowsAtOnce);
    return this.#during(async (signal) => {
      const klines = await this.#fetch({ limit }, signal);
      if (this.#fresh) {
        this.#fresh = false;
        this.#chart.begin(klines, this.#price, this.interval.endsWith("s"));
      } else {
        this.#join(klines);
      }
      this.#on.onChange();
    }, () => this.#load(least));
  }

  // Puts the latest klines in place of what was known of them; where they do not follow on it, of all.
  #join(klines) {
    if (klines.length === 0) return;
    const before = this.#chart.klines.filter((kline) => kline.time < klines[0].time);
    const joins = before.length > 0 && (this.interval.endsWith("s") || follows(before.at(-1), klines[0]));
    if (joins && klines.length <= fewRows) {
      klines.forEach((kline) => this.#chart.update(kline));
      return;
    }
    if (!joins) this.#first = false;
    this.#chart.show(joins ? [...before, ...klines] : klines);
  }

  // Runs one load at a time; a later one of another series ends it. What fails is tried again.
  async #during(load, retry) {
    this.#loading?.abort();
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#waiting = [];
    const mine = (this.#loading = new AbortController());
    this.#on.onLoading(true);
    try {
      await load(mine.signal);
      if (mine.signal.aborted) return;
      this.#on.onFailure(undefined);
    } catch (error) {
      if (mine.signal.aborted) return;
      const pause = error.pause ?? retryAfter;
      this.#clear();
      const again = () => {
        clearTimeout(this.#timer);
        this.#timer = 0;
        if (this.#live()) retry();
        else this.#again = true; // when it can be reached again, all is asked for anyway
      };
      this.#timer = setTimeout(again, pause);
      this.#on.onFailure({ text: error.message, at: Date.now() + pause, retry: again });
    }
    this.#loading = null;
    this.#on.onLoading(false);
    const waiting = this.#waiting;
    this.#waiting = [];
    waiting.forEach((event) => this.apply(event));
    if (this.#again) {
      this.#again = false;
      if (!this.#timer) this.refresh();
    }
  }

  async #fetch(parameters, signal) {
    const query = new URLSearchParams({ symbol: this.symbol, interval: this.interval, ...parameters });
    const rows = await ask(`klined/v1/klines?${query}`, signal);
    return rows.map(klineOfRow);
  }

  // Below a minute there are holes, of times without klined: where the last kline before one opens.
  async #beforeHole(first, signal) {
    if (!this.interval.endsWith("s")) return 0;
    const query = new URLSearchParams({ symbol: this.symbol, resolution: this.interval.toUpperCase(), to: first.time, countback: 1 });
    const history = await ask(`udf/history?${query}`, signal);
    return history.t?.[0] ?? 0;
  }

  // Looks for what is not pushed: the running kline of a symbol that is not whole yet, and what has become of closed ones.
  async #look() {
    const busy = () => this.#loading || this.#fresh || this.#timer || document.hidden || !this.#live();
    if (!busy() && Date.now() - this.#heard > lookEvery) await this.#load();
    if (!busy()) await this.#settle();
  }

  // What is settled equal is not pushed again, and what closed without all trades only later.
  async #settle() {
    const settles = this.#settles && !this.interval.endsWith("s");
    const recent = this.#chart.klines.slice(-settlesWithin, -1);
    const from = recent.find((kline) => kline.state === "open" || (settles && kline.state === "closed"));
    if (!from) return;
    const { symbol, interval } = this;
    const klines = await this.#fetch({ startTime: 1000 * from.time, limit: settlesWithin }, undefined).catch(() => []);
    if (symbol !== this.symbol || interval !== this.interval || this.#loading) return;
    if (klines.filter((kline) => kline.state !== "open" && this.#take(kline)).length > 0) this.#on.onChange();
  }
}

/** Asks the server; what it refuses is an error with its words, and with when to ask again. */
export async function ask(path, signal) {
  let response;
  try {
    response = await fetch(path, { signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("the server cannot be reached");
  }
  const body = await response.json().catch(() => ({}));
  if (response.ok && body.s !== "error") return body;
  const seconds = Number(response.headers.get("Retry-After"));
  throw Object.assign(new Error(body.msg ?? body.errmsg ?? `status ${response.status}`), { pause: seconds ? 1000 * seconds : undefined });
}
