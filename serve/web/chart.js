// Klines and volume of one series, on lightweight-charts.

import { follows } from "./kline.js";

const { createChart, CandlestickSeries, HistogramSeries, CrosshairMode, LineStyle } = LightweightCharts;

const rightOffset = 6; // klines' widths kept free after the last
const probe = document.createElement("span");

/** The colour that a property of the style sheet stands for now, in a form that the charts can read. */
function colour(name, alpha = 1) {
  probe.style.color = `var(--${name})`;
  const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

/** How prices of so many digits are written, where move units of the last digit lie between two: a place of the chart as the nearest price,
 * a line of the axis as what it is. (The charts' own format writes 0.0000002 where minMove times ten to the digits is not an integer.) */
export function priceFormat({ digits, move }) {
  const one = 10 ** digits; // in units of the last digit
  return {
    type: "custom",
    formatter: (price) => ((Math.round((price * one) / move) * move) / one).toFixed(digits),
    tickmarksFormatter: (prices) => prices.map((price) => price.toFixed(digits)),
    base: one % move === 0 ? one / move : one, // the axis' lines are multiples of 1/base; it must be made of twos and fives
  };
}

export class Chart {
  #chart;
  #prices;
  #volumes;
  #klines = []; // by time
  #colours = {};
  #line; // of the last price, with its label on the axis
  #lined = ""; // how it is drawn
  #on;

  /** onHover(kline | undefined) follows the crosshair; onEarlier() asks for klines before the first; onScroll(away) says
   * whether the newest kline is out of view. */
  constructor(place, handlers) {
    this.#on = handlers;
    probe.hidden = true;
    document.body.append(probe);
    this.#chart = createChart(place, {
      autoSize: true,
      crosshair: { mode: CrosshairMode.Normal },
      localization: { locale: "en-GB", dateFormat: "yyyy-MM-dd" },
      timeScale: { rightOffset, barSpacing: innerWidth < 720 ? 6 : 8, minBarSpacing: 0.8 },
    });
    this.#prices = this.#chart.addSeries(CandlestickSeries, { borderVisible: false, lastValueVisible: false, priceLineVisible: false });
    this.#line = this.#prices.createPriceLine({ price: 0, lineWidth: 1, lineStyle: LineStyle.Dashed, lineVisible: false, axisLabelVisible: false });
    this.#prices.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0.22 } });
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#chart.subscribeCrosshairMove(({ time }) => this.#on.onHover(time === undefined ? undefined : this.#klines[this.#find(time)]));
    const scale = this.#chart.timeScale();
    scale.subscribeVisibleLogicalRangeChange((range) => {
      if (!range || this.#klines.length === 0) return;
      this.#on.onScroll(scale.scrollPosition() < -2);
      if (this.nearFirst) this.#on.onEarlier();
    });
    this.paint();
  }

  get klines() {
    return this.#klines;
  }

  get last() {
    return this.#klines.at(-1);
  }

  /** Whether less than a view's width lies before the view. */
  get nearFirst() {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    return range !== null && range.from < range.to - range.from;
  }

  /** Shows another series: its klines, its prices' digits and steps, and its end. */
  begin(klines, price, seconds) {
    this.#prices.applyOptions({ priceFormat: priceFormat(price) });
    this.#chart.applyOptions({ timeScale: { timeVisible: true, secondsVisible: seconds } });
    this.#prices.priceScale().applyOptions({ autoScale: true });
    this.show(klines);
    this.toEnd();
  }

  /** Shows klines in place of all others; what is in view stays there. */
  show(klines) {
    this.#klines = klines;
    const prices = [];
    const volumes = [];
    klines.forEach((kline, i) => {
      if (i > 0 && !follows(klines[i - 1], kline)) prices.push(hole(klines[i - 1]));
      prices.push(this.#price(kline));
      volumes.push(this.#volume(kline));
    });
    this.#prices.setData(prices);
    this.#volumes.setData(volumes);
    this.#paintLine();
  }

  /** Takes in a newer version of a kline, or the next one. */
  update(kline) {
    const last = this.last;
    const older = last !== undefined && kline.time < last.time;
    if (!last || kline.time > last.time) {
      if (last && !follows(last, kline)) this.#prices.update(hole(last));
      this.#klines.push(kline);
    } else {
      const at = this.#find(kline.time);
      if (at < 0) return;
      this.#klines[at] = kline;
    }
    this.#prices.update(this.#price(kline), older);
    this.#volumes.update(this.#volume(kline), older);
    this.#paintLine();
  }

  /** Forgets all klines but the last n, which it has, unless others are in view; says whether it has. */
  trim(n) {
    const range = this.#chart.timeScale().getVisibleRange();
    if (!range || range.from < this.#klines.at(-n).time) return false;
    this.show(this.#klines.slice(-n));
    return true;
  }

  /** The kline that opens at a time of the chart. */
  at(time) {
    return this.#klines[this.#find(time)];
  }

  toEnd() {
    this.#chart.timeScale().scrollToPosition(rightOffset, false); // an animation would end with the next update
  }

  /** Moves the view by so many parts of its width. */
  scroll(parts) {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const by = parts * (range.to - range.from);
    this.#chart.timeScale().setVisibleLogicalRange({ from: range.from + by, to: range.to + by });
  }

  /** Shows so many times as much. */
  zoom(factor) {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    if (range) this.#chart.timeScale().setVisibleLogicalRange({ from: range.to - factor * (range.to - range.from), to: range.to });
  }

  /** Takes the colours of the style sheet. */
  paint() {
    this.#colours = { up: colour("up"), down: colour("down"), gap: colour("amber"), upTint: colour("up", 0.28), downTint: colour("down", 0.28), gapTint: colour("amber", 0.4) };
    Object.assign(this.#colours, { upLabel: colour("up-label"), downLabel: colour("down-label"), gapLabel: colour("amber-label") });
    const { up, down } = this.#colours;
    const [muted, line, grid] = [colour("muted"), colour("line"), colour("grid")];
    const crosshair = { color: muted, labelBackgroundColor: colour("label") };
    const fontFamily = getComputedStyle(document.body).fontFamily;
    this.#chart.applyOptions({
      layout: { background: { type: "solid", color: colour("ground") }, textColor: muted, fontFamily, fontSize: 11, attributionLogo: true },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      crosshair: { vertLine: crosshair, horzLine: crosshair },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.#prices.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.show(this.#klines);
  }

  // A line of our own: the series' label would tell the last kline in view, wherever its line is. The label's text is white: its ground is
  // darker than the klines where they are bright.
  #paintLine() {
    const { gapLabel, downLabel, upLabel } = this.#colours;
    const { last } = this;
    const visible = last !== undefined;
    const color = last?.gap ? gapLabel : last?.close < last?.open ? downLabel : upLabel;
    const lined = `${last?.close} ${color}`;
    if (lined !== this.#lined) this.#line.applyOptions({ price: last?.close ?? 0, color, lineVisible: visible, axisLabelVisible: visible });
    this.#lined = lined;
  }

  #find(time) {
    let low = 0;
    let high = this.#klines.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.#klines[middle].time === time) return middle;
      if (this.#klines[middle].time < time) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  // What lacks trades is drawn in a colour of its own.
  #price({ time, open, high, low, close, gap }) {
    const mark = gap ? { color: this.#colours.gap, wickColor: this.#colours.gap } : {};
    return { time, open, high, low, close, ...mark };
  }

  #volume({ time, open, close, volume, gap }) {
    const { gapTint, downTint, upTint } = this.#colours;
    return { time, value: volume, color: gap ? gapTint : close < open ? downTint : upTint };
  }
}

// Where klines are missing between two, one place is left free.
const hole = (before) => ({ time: (before.end + 1) / 1000 });
