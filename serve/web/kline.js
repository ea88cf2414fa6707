// Klines as the page keeps them: times of the chart in seconds, of the exchange in ms; prices as numbers for drawing, and as
// the server wrote them for reading.

/** Translates a row of /klined/v1/klines. */
export const klineOfRow = ([t, o, h, l, c, v, T, , n, , , , st, r]) => makeKline(t, T, o, h, l, c, v, n, st, r);
/** Translates the k of a kline event. */
export const klineOfEvent = ({ t, T, o, h, l, c, v, n, st, r }) => makeKline(t, T, o, h, l, c, v, n, st, r);

function makeKline(t, T, o, h, l, c, v, n, standing, revision) {
  const [state, gap] = standing.split("+");
  return {
    time: t / 1000, end: T, open: +o, high: +h, low: +l, close: +c, volume: +v, text: { o, h, l, c, v, n },
    state, gap: Boolean(gap), revision,
  };
}

const ranks = { open: 0, closed: 1, settled: 2 };

/** Whether a version of a kline may take the place of another: settled over ours, then the higher revision. */
export function mayReplace(a, b) {
  if (a.state !== b.state) return ranks[a.state] > ranks[b.state];
  return a.revision >= b.revision;
}

/** Whether b opens where a ends. */
export const follows = (a, b) => a.end + 1 === 1000 * b.time;

/** What is to be known of a kline besides its values: "settled", "closed · revised 2×", "open · trades missing". */
export function standingOf(kline) {
  const words = [kline.state];
  if (kline.revision > 0) words.push(kline.revision > 1 ? `revised ${kline.revision}×` : "revised");
  if (kline.gap) words.push("trades missing");
  return words.join(" · ");
}
