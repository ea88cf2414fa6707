// The chart page: which series is shown, what REST and the stream bring for it, and the header.

import { Chart, barOfEvent, barOfRow } from "./chart.js";
import { Feed } from "./feed.js";
import { makePicker } from "./picker.js";

const rowsAtOnce = 1000;
const retryAfter = 3000; // ms, where the server does not say

const element = (id) => document.getElementById(id);
const setup = JSON.parse(element("setup").textContent);
const digits = new Map(setup.symbols.map((symbol) => [symbol.name, symbol]));

const shown = { symbol: "", interval: "" };
let loading = null; // the AbortController of what is being loaded
let waiting = []; // events that came while the rows were being loaded
let earliest = false; // nothing comes before the first bar
let clockOffset = 0; // ms from this machine's clock to the exchange's
let retry = 0;

const chart = new Chart(element("chart"), {
  onHover: (bar) => showLegend(bar ?? chart.last),
  onEarlier: loadEarlier,
});

const feed = new Feed({
  onState: (state) => {
    element("connection").dataset.state = state;
    element("connection-text").textContent = state;
  },
  onOpen: load, // what was missed while there was no connection
  onKline: (event) => {
    clockOffset = event.E - Date.now();
    if (loading) waiting.push(event);
    else apply(event);
  },
});

const openPicker = makePicker([...digits.keys()], (symbol) => go(symbol, shown.interval));

/** Shows another series. */
function go(symbol, interval) {
  if (symbol === shown.symbol && interval === shown.interval) return;
  Object.assign(shown, { symbol, interval });
  history.replaceState(null, "", `#${symbol}/${interval}`);
  element("symbol-name").textContent = symbol;
  element("state").hidden = true;
  for (const button of element("intervals").children) button.toggleAttribute("aria-current", button.textContent === interval);
  element("intervals").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  chart.clear(digits.get(symbol).price, interval.endsWith("s"));
  earliest = false;
  showBar();
  const lower = symbol.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  feed.follow(`${lower}@kline_${interval}`);
  load();
}

async function fetchRows(parameters, signal) {
  const query = new URLSearchParams({ symbol: shown.symbol, interval: shown.interval, limit: rowsAtOnce, ...parameters });
  const response = await fetch(`fapi/v1/klines?${query}`, { signal });
  const body = await response.json();
  if (response.ok) return body.map(barOfRow);
  const seconds = Number(response.headers.get("Retry-After"));
  throw Object.assign(new Error(body.msg), { pause: seconds ? 1000 * seconds : retryAfter });
}

/** Loads the latest rows of the series shown; events that come meanwhile are applied after them. */
async function load() {
  loading?.abort();
  clearTimeout(retry);
  const mine = (loading = new AbortController());
  waiting = [];
  try {
    const bars = await fetchRows({}, mine.signal);
    const known = chart.bars;
    const before = bars.length > 0 ? known.filter((bar) => bar.time < bars[0].time) : known;
    const joins = before.length > 0 && bars.length > 0 && before.at(-1).end + 1 === 1000 * bars[0].time;
    chart.show(joins ? [...before, ...bars] : bars);
    loading = null;
    notice("");
    showBar();
    waiting.forEach(apply);
  } catch (error) {
    if (mine.signal.aborted) return;
    loading = null;
    notice(`Klines cannot be loaded: ${error.message}`);
    retry = setTimeout(load, error.pause ?? retryAfter);
  }
}

/** Loads what comes before the first bar, when the view nears it. */
async function loadEarlier() {
  if (loading || earliest) return;
  const mine = (loading = new AbortController());
  try {
    const bars = await fetchRows({ endTime: 1000 * chart.bars[0].time - 1 }, mine.signal);
    if (mine.signal.aborted) return;
    earliest = chart.prepend(bars) === 0;
  } catch {
    if (mine.signal.aborted) return;
    earliest = true; // until the series is shown again
  }
  loading = null;
  waiting.forEach(apply);
  waiting = [];
}

function apply({ k }) {
  const bar = barOfEvent(k);
  if (chart.last && bar.time < chart.last.time && !k.x) return;
  const before = chart.last?.close;
  chart.update(bar);
  const [state, gap] = k.st.split("+");
  const chip = element("state");
  chip.hidden = false;
  chip.dataset.state = state;
  chip.toggleAttribute("data-gap", Boolean(gap));
  chip.textContent = gap ? `${state}, trades missing` : state;
  showBar(before);
}

const move = (from, to) => (to > from ? "up" : to < from ? "down" : "");

function showBar(before) {
  const bar = chart.last;
  const price = element("price");
  price.textContent = bar ? bar.text.c : "–";
  document.title = bar ? `${bar.text.c} ${shown.symbol} · klined` : `${shown.symbol} · klined`;
  if (before !== undefined && before !== bar.close) {
    price.dataset.move = move(before, bar.close);
    setTimeout(() => delete price.dataset.move, 250);
  }
  const change = element("change");
  change.textContent = "";
  if (bar) {
    const percent = (100 * (bar.close - bar.open)) / bar.open;
    change.textContent = `${percent < 0 ? "−" : "+"}${Math.abs(percent).toFixed(2)} %`;
    change.dataset.move = move(bar.open, bar.close);
  }
  showLegend(bar);
  countDown();
}

function showLegend(bar) {
  const legend = element("legend");
  legend.replaceChildren();
  if (!bar) return;
  legend.dataset.move = move(bar.open, bar.close);
  const { o, h, l, c, v, n } = bar.text;
  for (const [name, text] of Object.entries({ O: o, H: h, L: l, C: c, Vol: v, Trades: String(n) })) {
    const value = document.createElement("b");
    value.textContent = text;
    const pair = document.createElement("span");
    pair.append(`${name} `, value);
    legend.append(pair);
  }
}

/** Says how long the running kline still runs. */
function countDown() {
  const bar = chart.last;
  const left = bar ? Math.ceil((bar.end + 1 - Date.now() - clockOffset) / 1000) : 0;
  const two = (n) => String(n).padStart(2, "0");
  let text = "";
  if (left >= 86400) text = `${Math.floor(left / 86400)}d ${two(Math.floor(left / 3600) % 24)}h`;
  else if (left >= 3600) text = `${Math.floor(left / 3600)}:${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
  else if (left > 0) text = `${two(Math.floor(left / 60))}:${two(left % 60)}`;
  element("countdown").textContent = text;
}

function notice(text) {
  element("notice").textContent = text;
  element("notice").hidden = text === "";
}

/** The series that the address names, as far as it is served here. */
function wanted() {
  const [symbol, interval] = decodeURIComponent(location.hash.slice(1)).split("/");
  const first = digits.has("BTCUSDT") ? "BTCUSDT" : setup.symbols[0].name;
  return [
    digits.has(symbol) ? symbol : shown.symbol || first,
    setup.intervals.includes(interval) ? interval : shown.interval || (setup.intervals.includes("1m") ? "1m" : setup.intervals[0]),
  ];
}

function begin() {
  if (setup.symbols.length === 0 || setup.intervals.length === 0) {
    notice("Waiting for the exchange's list of symbols …");
    setTimeout(() => location.reload(), retryAfter);
    return;
  }
  for (const interval of setup.intervals) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = interval;
    button.addEventListener("click", () => go(shown.symbol, interval));
    element("intervals").append(button);
  }
  element("symbol").addEventListener("click", () => openPicker(shown.symbol));
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || element("picker").open) return;
    event.preventDefault();
    openPicker(shown.symbol);
  });
  addEventListener("hashchange", () => go(...wanted()));
  setInterval(countDown, 250);
  go(...wanted());
}

begin();
