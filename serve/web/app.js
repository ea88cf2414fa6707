// The chart page: which series is shown, and what keys and buttons do.

import { Chart } from "./chart.js";
import { duration, element, make, write } from "./dom.js";
import { Feed } from "./feed.js";
import { Header } from "./header.js";
import { bare } from "./names.js";
import { makePicker } from "./picker.js";
import { ask, Series } from "./series.js";
import { Status } from "./status.js";
import { followTheme } from "./theme.js";

const setup = JSON.parse(element("setup").textContent);
const priceOf = (scale, move) => ({ digits: Math.round(Math.log10(scale)), move });
// How prices are written, and how many units of their last digit lie between two, by symbol: of all that are listed, and of those that
// have ended and are looked at.
let prices = new Map(setup.symbols.map(([name, digits, move]) => [name, priceOf(10 ** digits, move)]));
let listed = new Set(prices.keys());
const dialogs = [element("picker"), element("status"), element("help")];

const chart = new Chart(element("chart"), {
  onHover: (kline) => header.hover(kline),
  onEarlier: () => series.earlier(),
  onScroll: (away) => (element("latest").hidden = !away),
});

const series = new Series(chart, {
  settles: setup.settles,
  live: () => feed.live,
  now: () => header.now,
  onChange: (before) => {
    header.show(before);
    tellNotice();
  },
  onFailure: showFailure,
  onLoading: (on) => element("chart").toggleAttribute("data-loading", on),
});

const header = new Header(chart, series);

const feed = new Feed({
  onState: (state, again) => {
    header.connection(state, again);
    status.reachable = state === "live";
  },
  onReady: () => {
    series.refresh();
    setClock();
  },
  onKline: (event) => {
    header.heard(event);
    series.apply(event);
  },
});

const status = new Status(listSymbols);
const toggleTheme = followTheme(() => chart.paint());
const openPicker = makePicker(() => [...prices.keys()], listSymbols, (symbol) => {
  history.pushState(null, ""); // the way back to the symbol before
  stepped = -Infinity;
  go(symbol, series.interval);
});

const stepsWithin = 1000; // ms from one change of the interval to the next that make them one step of the browser's history
let stepped = -Infinity; // when it was changed last

/** Shows another interval. */
function change(interval) {
  if (!series.symbol || interval === series.interval) return;
  const now = performance.now();
  if (now - stepped > stepsWithin) history.pushState(null, ""); // the way back to the interval before
  stepped = now;
  go(series.symbol, interval);
}

/** Shows another series. */
function go(symbol, interval) {
  wrong = "";
  history.replaceState(null, "", `${location.pathname}#${symbol}/${interval}`); // also in place of an address that names none of ours
  if (symbol === series.symbol && interval === series.interval) return;
  write(element("symbol-name"), symbol);
  element("chart").setAttribute("aria-label", `Klines and volume of ${symbol}, ${interval}`);
  for (const button of element("intervals").children) {
    if (button.textContent === interval) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  element("intervals").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  header.begin();
  const lower = symbol.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  series.open(symbol, interval, prices.get(symbol));
  showEnded();
  feed.follow(`${lower}@kline_${interval}`);
}

/** Learns which symbols there are by now: the exchange lists new ones and ends old ones while the page is open. Fails where the server does. */
async function listSymbols() {
  const { symbol, pricescale, minmovement } = await ask("udf/symbol_info");
  const shown = prices.get(series.symbol);
  prices = new Map(symbol.map((name, i) => [name, priceOf(pricescale[i], minmovement[i])]));
  listed = new Set(symbol);
  if (shown && !prices.has(series.symbol)) prices.set(series.symbol, shown);
  showEnded();
}

/** Says that the exchange has ended the symbol that is shown. */
function showEnded() {
  element("ended").hidden = !series.symbol || listed.has(series.symbol);
}

/** Measures how far the exchange's clock is ahead of ours. */
async function setClock() {
  const sent = Date.now();
  const { serverTime } = await ask("fapi/v1/time").catch(() => ({}));
  if (serverTime) header.offset = serverTime - (sent + Date.now()) / 2;
}

let wrong = ""; // what the address names that is not served here, as sentences
let wrongFor = 0; // s in view that they are still shown

let failure; // to load klines

function showFailure(next) {
  failure = next;
  element("retry").hidden = !failure;
  tellNotice();
}

/** Says why there are no klines, and when they are asked for again; or why the address is another than was asked for. */
function tellNotice() {
  element("notice").hidden = !failure && !wrong && !series.empty;
  if (!failure) {
    write(element("notice-text"), wrong || `No klines of ${series.interval} here yet: they begin with the first whole minute.`);
    return;
  }
  const again = failure.at > Date.now() ? ` Next try in ${duration(failure.at - Date.now() + 999)}.` : "";
  write(element("notice-text"), `Klines cannot be loaded: ${failure.text.replace(/\.$/, "")}.${again}`);
}

/** What the address names, as [symbol, interval]: #ETHUSDT/1h, or ?symbol=ETHUSDT&interval=1h as people guess it. */
function named() {
  const query = new URLSearchParams(location.search);
  if (!location.hash) return [query.get("symbol") ?? "", query.get("interval") ?? ""];
  try {
    return decodeURIComponent(location.hash.slice(1)).split("/");
  } catch {
    return [""]; // not an address of ours
  }
}

/** Shows the series that the address names, as far as it is served here, and says what is not. */
async function goWanted() {
  stepped = -Infinity; // what follows on a way back or forth is a step of its own
  const { href } = location;
  const [asked, length] = named();
  const symbol = asked && (await find(asked));
  if (href !== location.href) return; // somebody has gone elsewhere meanwhile
  const interval = length?.replace(/[SHDW]$/, (letter) => letter.toLowerCase()); // 1M is a month
  const served = setup.intervals.includes(interval);
  const first = prices.has("BTCUSDT") ? "BTCUSDT" : setup.symbols[0][0];
  go(
    symbol?.name ?? (series.symbol || first),
    served ? interval : series.interval || (setup.intervals.includes("1m") ? "1m" : setup.intervals[0]),
  );
  wrong = [symbol?.wrong, length && !served && `The interval ${short(length)} is not served here.`].filter(Boolean).join(" ");
  wrongFor = 10;
  tellNotice();
}

/** Finds a symbol by its name, in any form, as {name} or as {wrong}, why not. One that has ended is served, and is in no list; one that is
 * listed since the page was loaded is in the list of by now. */
async function find(text) {
  const upper = text.replace(/[a-z]/g, (letter) => letter.toUpperCase());
  if (prices.has(upper)) return { name: upper };
  const known = [...prices.keys()].find((name) => bare(name) === bare(text));
  if (known) return { name: known };
  try {
    const [{ name, pricescale, minmov }] = await Promise.all([ask(`udf/symbols?symbol=${encodeURIComponent(upper)}`), listSymbols()]);
    if (!prices.has(name)) prices.set(name, priceOf(pricescale, minmov));
    return { name };
  } catch ({ message }) {
    return { wrong: message.startsWith("unknown_symbol") ? `${short(text)} is not carried here.` : `${short(text)} cannot be looked up: ${message}.` };
  }
}

/** What somebody wrote into the address, as much of it as a line holds. */
const short = (text) => (text.length > 30 ? `${text.slice(0, 30)}…` : text);

/** Shows a longer or a shorter interval. */
function step(by) {
  const next = setup.intervals[setup.intervals.indexOf(series.interval) + by];
  if (next) change(next);
}

function openHelp() {
  element("help").showModal();
}

const keys = {
  "/": () => openPicker(series.symbol),
  "[": () => step(-1),
  "]": () => step(1),
  s: () => status.open(),
  t: () => toggleTheme(),
  "?": openHelp,
  ArrowLeft: () => chart.scroll(-0.1),
  ArrowRight: () => chart.scroll(0.1),
  PageUp: () => chart.scroll(-0.9),
  PageDown: () => chart.scroll(0.9),
  "+": () => chart.zoom(0.8),
  "=": () => chart.zoom(0.8),
  "-": () => chart.zoom(1.25),
  End: () => chart.toEnd(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || dialogs.some((dialog) => dialog.open)) return;
  const nth = /^[1-9]$/.test(event.key) ? setup.intervals[event.key - 1] : undefined;
  const act = nth ? () => change(nth) : keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function begin() {
  if (setup.symbols.length === 0 || setup.intervals.length === 0) {
    element("notice").hidden = false;
    write(element("notice-text"), "Waiting for the exchange's list of symbols …");
    setTimeout(() => location.reload(), 3000);
    return;
  }
  setup.intervals.forEach((interval, i) => {
    const button = make("button", { type: "button", title: i < 9 ? `( ${i + 1} )` : undefined }, interval);
    button.addEventListener("click", () => change(interval));
    element("intervals").append(button);
  });
  element("symbol").addEventListener("click", () => openPicker(series.symbol));
  element("status-button").addEventListener("click", () => status.open());
  element("help-button").addEventListener("click", openHelp);
  element("latest").addEventListener("click", () => chart.toEnd());
  element("retry").addEventListener("click", () => failure?.retry());
  for (const dialog of dialogs) dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  addEventListener("keydown", onKey);
  addEventListener("hashchange", goWanted);
  setInterval(() => {
    if (wrong && !failure && !document.hidden && --wrongFor <= 0) wrong = "";
    tellNotice();
  }, 1000);
  setInterval(() => feed.live && !document.hidden && setClock(), 60_000);
  goWanted();
}

begin();
