// What the status panel says, as elements.

import { bytes, clock, count, duration, make } from "./dom.js";

const longest = 30; // lines of a list
const fewest = 12; // of the one with much below it

/** The server's standing in a word and in a sentence. */
export function headline(status) {
  if (!status) return { state: "offline", short: "status", long: "The server does not answer" };
  const { whole = 0, waiting = 0, behind = 0, ended = 0 } = status.symbols;
  const carried = whole + waiting + behind;
  const down = status.connections.filter(({ state }) => state !== "up").length;
  if (status.store.state !== "ok") return { state: "offline", short: "store", long: `The store does not work: ${status.store.state}` };
  if (behind > 0) return { state: "connecting", short: `${count(behind)} behind`, long: `${count(behind)} of ${count(carried)} symbols ${behind === 1 ? "is" : "are"} behind: trades are missing` };
  if (waiting > 0) return { state: "connecting", short: `${count(waiting)} waiting`, long: `${count(waiting)} of ${count(carried)} symbols ${waiting === 1 ? "waits" : "wait"} for the first whole minute` };
  if (down > 0) return { state: "connecting", short: `${down} down`, long: `Every symbol is whole; ${down} of ${status.connections.length} connections ${down === 1 ? "is" : "are"} down` };
  const past = ended > 0 ? `, ${count(ended)} ${ended === 1 ? "has" : "have"} ended` : "";
  return { state: "live", short: `${count(whole)} whole`, long: `All ${count(whole)} symbols are whole${past}` };
}

/** The panel's sections, from the two latest statuses and the lists. */
export function sections(seen, lists) {
  const { status } = seen.at(-1);
  const { now } = status.clock;
  return [tiles(seen), symbols(status.symbols, lists.symbols, now), settled(status), connections(seen), gaps(status.gaps, lists, now), differences(lists, now)];
}

// What grew between the two latest statuses, in each second.
function rate(seen, of) {
  if (seen.length < 2) return undefined;
  const [before, after] = seen;
  const grown = of(after.status) - of(before.status);
  return grown < 0 ? undefined : (1000 * grown) / (after.at - before.at);
}

// A difference between clocks: small as it should be, or in words.
function offset(ms) {
  const size = Math.abs(ms);
  return `${ms < 0 ? "−" : "+"}${size < 10_000 ? `${size.toFixed(1)} ms` : duration(size)}`;
}

const perSecond = (n) => (n === undefined ? "–" : count(n));
const frames = (status) => status.connections.reduce((sum, { frames: n }) => sum + n, 0);

function tiles(seen) {
  const { status } = seen.at(-1);
  const { store, clock: exchange, gaps: missing } = status;
  const list = [
    ["Trades a second", perSecond(rate(seen, ({ trades }) => trades)), `${count(status.trades)} since the start, from ${status.source}`],
    ["Frames a second", perSecond(rate(seen, frames)), `${count(status.connections.length)} connections`],
    ["Gaps", count(missing.open), `open; ${count(missing.healed)} of ${count(missing.seen)} healed`, missing.open > 0],
    ["Grace", status.grace.replace(/[a-zµ]+/g, " $&"), "after a boundary, until a kline closes by the clock"],
    ["Clock", offset(exchange.offset_ms), `to the exchange's, within ${exchange.within_ms.toFixed(1)} ms`],
    ["REST weight", count(status.rest_weight_used), "used at the exchange in this minute"],
    ["Store", bytes(store.file_bytes), `${count(store.rows)} klines written, ${count(store.outbox_rows)} wait; ${bytes(store.free_bytes)} free`, store.state !== "ok" || store.disk !== "ok"],
    ["Up", duration(1000 * status.uptime_seconds), `klined ${status.version}`],
  ];
  const past = status.backfill;
  if (past.state === "running") {
    list.push(["Backfill", `${Math.floor((100 * past.done) / Math.max(1, past.total))} %`, `${count(past.done)} of ${count(past.total)} klines`]);
  } else if (past.state === "failed") {
    list.push(["Backfill", past.state, past.failed > 0 ? `${count(past.failed)} klines: ${past.error}` : past.error, true]);
  }
  return make("section", { class: "tiles", "aria-label": "Figures" }, ...list.map(([name, value, about, bad]) =>
    make("div", { class: "tile", "data-bad": Boolean(bad) }, make("h3", {}, name), make("p", { class: "figure" }, value), make("p", {}, about))));
}

function symbols(states, all, now) {
  const line = make("div", { class: "share", "aria-hidden": "true" });
  const words = [];
  for (const state of ["whole", "waiting", "behind", "ended"]) {
    const n = states[state] ?? 0;
    if (n === 0 && state !== "whole") continue;
    const part = make("i", { "data-state": state });
    part.style.flexGrow = n;
    line.append(part);
    words.push(make("span", { "data-state": state }, make("b", {}, count(n)), ` ${state}`));
  }
  const rows = all.filter(({ state }) => state !== "whole").map(({ symbol, state, reason, gaps: open, last_trade_at: last }) =>
    [symbol, state, reason + (open > 0 ? `; ${count(open)} ${open === 1 ? "gap is" : "gaps are"} open` : ""), last ? clock(last, now) : "–"]);
  const made = table(["Symbol", "State", "Why", "Last trade"], rows, all.length > 0 ? "Every symbol is whole." : asking, fewest);
  made.classList.add("symbols");
  return section("Symbols", line, make("p", { class: "legend-line" }, ...words), made);
}

/** A share in per cent, rounded; 100.00 is all, and nothing less. */
export const share = (x) => (x === undefined ? "–" : `${(x < 1 ? Math.min(100 * x, 99.99) : 100).toFixed(2)} %`);
const why = "aggTrade merges fills of up to 100 ms and books them under the first one's time: minutes may differ a little when they close. The exchange's own values then take their place.";
const spans = ["hour", "day", "start"];
const values = ["open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume"];

function settled({ source, settled: { at_once: once, checked } }) {
  const whole = (of) => (span) => share(of[span].compared > 0 ? of[span].equal / of[span].compared : undefined);
  const rows = [
    ["all nine values", ...spans.map(whole(once))],
    ...values.map((field) => [field.replaceAll("_", " "), ...spans.map((span) => share(once[span].shares[field]))]),
    ["minutes compared", ...spans.map((span) => count(once[span].compared))],
    ["settled, read again", ...spans.map(whole(checked))],
  ];
  const shown = once.start.compared + checked.start.compared > 0 ? rows : [];
  const made = table(["Value", "Last hour", "Last day", "In all"], shown, "No minute has been compared with the exchange's own yet.");
  made.classList.add("figures");
  const merged = source === "aggTrade" && once.start.equal < once.start.compared;
  return section("Equal to the exchange's klines, at once", ...(merged ? [make("p", { class: "why" }, why)] : []), made);
}

function connections(seen) {
  const { status } = seen.at(-1);
  const before = new Map(seen[0].status.connections.map(({ id, frames: n }) => [id, n]));
  const now = status.clock.now - status.clock.offset_ms; // by the server's own clock, as its other times are
  const rows = status.connections.map(({ id, lane, state, streams, up_since: since, last_frame: last, frames: n }) => [
    id, String(lane ?? "–"), state, count(streams),
    seen.length < 2 || !before.has(id) ? "–" : count((1000 * (n - before.get(id))) / (seen[1].at - seen[0].at)),
    last ? duration(now - Date.parse(last)) : "–", since ? clock(Date.parse(since), now) : "–",
  ]);
  const made = table(["Connection", "Lane", "State", "Streams", "Frames/s", "Last frame", "Up since"], rows, "There is none.");
  made.classList.add("figures", "connections");
  return section("Connections to the exchange", made);
}

const asking = "Asking …"; // where no list has come yet: with each comes that of the symbols, which is never empty

function gaps({ open, healed, seen }, { gaps: all, symbols: asked }, now) {
  const rows = all.map(({ symbol, first, last, seen_at: at, state, healed_at: end }) =>
    [symbol, first === last ? String(first) : `${first} … ${last}`, clock(at, now), end ? `${state} after ${duration(end - at)}` : state]);
  const made = table(["Symbol", "Missing ids", "Seen at", "State"], rows, asked.length > 0 ? "No gap has been seen." : asking);
  return section("Gaps", make("p", {}, `${count(seen)} seen, ${count(open)} open, ${count(healed)} healed`), made);
}

function differences({ differences: all, symbols: asked }, now) {
  const rows = all.map(({ symbol, open_time: at, values: differing }) =>
    [symbol, clock(at, now), Object.entries(differing).map(([name, { ours, official }]) => `${name.replaceAll("_", " ")} ${ours} → ${official}`).join(", ")]);
  return section("Minutes that gave way to the exchange's own", table(["Symbol", "Opened", "Ours → official"], rows, asked.length > 0 ? "There is none." : asking));
}

function section(title, ...children) {
  return make("section", { "aria-label": title }, make("h3", {}, title), ...children);
}

// A table of texts, and how many lines more there are.
function table(heads, rows, none, most = longest) {
  if (rows.length === 0) return make("p", {}, none);
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  const body = rows.slice(0, most).map((cells) => line("td", cells));
  const made = make("table", {}, make("thead", {}, line("th", heads)), make("tbody", {}, ...body));
  const more = rows.length - most;
  return make("div", { class: "table" }, made, ...(more > 0 ? [make("p", {}, `and ${count(more)} more`)] : []));
}
