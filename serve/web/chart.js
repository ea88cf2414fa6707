// Candles and volume of one series, on lightweight-charts.

const { createChart, CandlestickSeries, HistogramSeries, CrosshairMode } = LightweightCharts;

const dark = matchMedia("(prefers-color-scheme: dark)");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Translates a REST row of klines. */
export const barOfRow = ([t, o, h, l, c, v, T, q, n]) => makeBar(t, T, o, h, l, c, v, n);
/** Translates the k of a kline event. */
export const barOfEvent = ({ t, T, o, h, l, c, v, n }) => makeBar(t, T, o, h, l, c, v, n);

// Prices are numbers for drawing; the texts are kept as the server wrote them, for reading.
function makeBar(t, T, o, h, l, c, v, n) {
  return { time: t / 1000, end: T, open: +o, high: +h, low: +l, close: +c, volume: +v, text: { o, h, l, c, v, n } };
}

export class Chart {
  #chart;
  #candles;
  #volumes;
  #bars = []; // by time
  #tints = {}; // of volumes
  #onHover;
  #onEarlier;

  /** onHover(bar | undefined) follows the crosshair; onEarlier() asks for bars before the first. */
  constructor(element, { onHover, onEarlier }) {
    this.#onHover = onHover;
    this.#onEarlier = onEarlier;
    this.#chart = createChart(element, {
      autoSize: true,
      crosshair: { mode: CrosshairMode.Normal },
      localization: { locale: "en-GB", dateFormat: "yyyy-MM-dd" },
      timeScale: { rightOffset: 6, barSpacing: 8, minBarSpacing: 0.8 },
    });
    this.#candles = this.#chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.#candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.22 } });
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#chart.subscribeCrosshairMove(({ time }) => this.#onHover(time === undefined ? undefined : this.#find(time)));
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < 30 && this.#bars.length > 0) this.#onEarlier();
    });
    this.#paint();
    dark.addEventListener("change", () => this.#paint());
  }

  get bars() {
    return this.#bars;
  }

  get last() {
    return this.#bars.at(-1);
  }

  /** Empties the chart for another series. */
  clear(precision, seconds) {
    const priceFormat = { type: "price", precision, minMove: 10 ** -precision };
    this.#candles.applyOptions({ priceFormat });
    this.#chart.applyOptions({ timeScale: { timeVisible: true, secondsVisible: seconds } });
    this.#candles.priceScale().applyOptions({ autoScale: true });
    this.show([]);
  }

  /** Shows bars in place of all others, and their end where there were none before. */
  show(bars) {
    const fresh = this.#bars.length === 0;
    this.#bars = bars;
    this.#candles.setData(bars.map(candle));
    this.#volumes.setData(bars.map((bar) => this.#volume(bar)));
    if (fresh && bars.length > 0) this.#chart.timeScale().scrollToRealTime();
  }

  /** Puts bars that are earlier than all others before them; what is in view stays there. */
  prepend(earlier) {
    const first = this.#bars[0]?.time ?? Infinity;
    const added = earlier.filter((bar) => bar.time < first);
    if (added.length > 0) this.show([...added, ...this.#bars]);
    return added.length;
  }

  /** Takes in a newer version of a bar, or a new one. */
  update(bar) {
    const last = this.last;
    if (!last || bar.time > last.time) {
      this.#bars.push(bar);
    } else {
      const at = this.#bars.findLastIndex((b) => b.time === bar.time);
      if (at < 0) return;
      this.#bars[at] = bar;
    }
    const older = bar.time < this.last.time;
    this.#candles.update(candle(bar), older);
    this.#volumes.update(this.#volume(bar), older);
  }

  #find(time) {
    let low = 0;
    let high = this.#bars.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.#bars[middle].time === time) return this.#bars[middle];
      if (this.#bars[middle].time < time) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  #volume(bar) {
    return { time: bar.time, value: bar.volume, color: bar.close < bar.open ? this.#tints.down : this.#tints.up };
  }

  #paint() {
    const [ground, muted, line, up, down] = ["ground", "muted", "line", "up", "down"].map(colour);
    this.#tints = { up: `${up}55`, down: `${down}55` };
    const crosshair = { color: muted, labelBackgroundColor: muted };
    this.#chart.applyOptions({
      layout: { background: { type: "solid", color: ground }, textColor: muted, fontFamily: colour("text"), fontSize: 11, attributionLogo: true },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      crosshair: { vertLine: crosshair, horzLine: crosshair },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.#candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.show(this.#bars);
  }
}

const candle = ({ time, open, high, low, close }) => ({ time, open, high, low, close });
