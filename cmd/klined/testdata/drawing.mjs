// What the page draws and says nowhere: each function returns what is wrong with it, as sentences.

/** Prices of any digits and step, and a view among holes. */
export function prices(page) {
  return page.evaluate(async () => {
    const { Chart, priceFormat } = await import(new URL('web/chart.js', document.baseURI))
    const place = document.createElement('div')
    place.style = 'position: fixed; inset: 0; visibility: hidden'
    document.body.append(place)
    const chart = LightweightCharts.createChart(place, { width: 400, height: 300 })
    const series = chart.addSeries(LightweightCharts.CandlestickSeries)
    const faults = []
    for (let digits = 0; digits <= 8; digits++) {
      for (const move of [1, 2, 3, 5, 7, 10, 20, 25, 30, 50, 100, 125, 250, 500, 1000, 2500, 5000, 10_000]) {
        const text = (units) => {
          const all = String(units).padStart(digits + 1, '0')
          return digits === 0 ? all : `${all.slice(0, -digits)}.${all.slice(-digits)}`
        }
        series.applyOptions({ priceFormat: priceFormat({ digits, move }) })
        series.setData([9, 10].map((steps, time) => ({ time, open: +text(steps * move), high: +text(12 * move), low: +text(8 * move), close: +text(steps * move) })))
        chart.takeScreenshot() // draws the axis
        const format = series.priceFormatter()
        for (const steps of [1, 9, 999, 12_345, 98_765_432]) {
          const [price, one] = [+text(steps * move), move / 10 ** digits]
          for (const seen of [price, price + 0.4 * one, price - 0.4 * one]) {
            if (format.format(seen) !== text(steps * move)) faults.push(`${digits} digits, ${move} a step: ${seen} as ${format.format(seen)}, want ${text(steps * move)}`)
          }
          const lines = format.formatTickmarks([+text(steps * move + 1)])
          if (lines[0] !== text(steps * move + 1)) faults.push(`${digits} digits, ${move} a step: a line at ${text(steps * move + 1)} as ${lines[0]}`)
        }
      }
    }
    chart.remove()

    const own = new Chart(place, { onHover() {}, onEarlier() {}, onScroll() {} })
    const drawn = () => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))
    await drawn() // it has its size
    const one = { open: 1, high: 1, low: 1, close: 1, volume: 1, text: {}, state: 'closed', gap: false, revision: 0 }
    own.begin(Array.from({ length: 2000 }, (_, i) => ({ time: 2 * i, end: 2000 * i + 999, ...one })), { digits: 2, move: 1 }, true) // every other second
    await drawn()
    own.scroll(-15) // to some 2200 s before the end
    await drawn()
    if (own.trim(900)) faults.push('klines in view are forgotten')
    if (!own.trim(1600) || own.klines.length !== 1600) faults.push('klines before the view are kept')
    place.remove()
    return faults
  })
}

/** The last price, on the axis: at its line, in its colour, wherever the view is, in both themes. */
export function lastPrice(page) {
  return page.evaluate(async () => {
    const { Chart } = await import(new URL('web/chart.js', document.baseURI))
    const place = document.createElement('div')
    place.style = 'position: fixed; width: 480px; height: 320px; visibility: hidden'
    document.body.append(place)
    const chart = new Chart(place, { onHover() {}, onEarlier() {}, onScroll() {} })
    const drawn = () => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))
    const kline = (i, open, close, gap = false) => ({
      time: 60 * i, end: 60_000 * (i + 1) - 1, open, close, high: Math.max(open, close), low: Math.min(open, close), volume: 0, text: {}, state: 'closed', gap, revision: 0,
    })
    const colours = () => Object.fromEntries(['up', 'down', 'amber'].map((name) => {
      const probe = place.appendChild(document.createElement('i'))
      probe.style.color = `var(--${name}-label)`
      const [red, green, blue] = getComputedStyle(probe).color.match(/\d+/g)
      probe.remove()
      return [name, 0xff000000 + blue * 0x10000 + green * 0x100 + +red]
    }))
    // The rows of a canvas that hold at least so many dots of a colour.
    const rows = (canvas, colour, least) => {
      const { width, height } = canvas
      const copy = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d', { willReadFrequently: true })
      copy.drawImage(canvas, 0, 0)
      const dots = new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer) // alpha, blue, green, red
      return Array.from({ length: height }, (_, y) => y).filter((y) => {
        let n = 0
        for (let i = width * y; i < width * (y + 1); i++) if (dots[i] === colour) n++
        return n >= least
      })
    }
    const faults = []
    const want = async (what, ...names) => {
      await drawn()
      const [pane, axis] = [2, 3].map((nth) => place.querySelector(`tr:first-child td:nth-child(${nth}) canvas`))
      const all = colours()
      const tags = Object.keys(all).filter((name) => rows(axis, all[name], 20).length > 0)
      if (tags.join() !== names.join()) faults.push(`${what}: the tags are ${tags.join(', ')}, want ${names.join(', ')}`)
      for (const name of names.filter((name) => tags.includes(name))) {
        const tag = rows(axis, all[name], 20)
        const middle = (tag[0] + tag.at(-1)) / 2
        const lines = rows(pane, all[name], pane.width / 3)
        if (lines.length !== 1 || Math.abs(lines[0] - middle) > 2) faults.push(`${what}: the tag is at ${middle}, the line at ${lines.join(', ')}`)
      }
    }
    const price = { digits: 2, move: 1 }
    const rising = Array.from({ length: 300 }, (_, i) => kline(i, 100 + (i % 9), 101 + (i % 9)))
    chart.begin([...rising, kline(300, 107.5, 103.2)], price, false)
    await want('at the end', 'down')
    chart.scroll(-1.2)
    await want('scrolled back', 'down')
    chart.update(kline(300, 107.5, 105.4))
    await want('a new price', 'down')
    chart.update(kline(301, 105.4, 106.3, true))
    await want('trades are missing', 'amber')
    document.documentElement.style.colorScheme = 'dark'
    chart.paint()
    await want('in the dark', 'amber')
    document.documentElement.style.colorScheme = 'light dark'
    chart.paint()
    await want('and back', 'amber')
    chart.begin([], price, false)
    await want('without klines')
    const falling = rising.map(({ open, close }, i) => kline(i, close, open))
    chart.begin([...falling, kline(300, 102.3, 104.6)], price, false)
    chart.scroll(-1.2)
    await want('another series', 'up')
    place.remove()
    return faults
  })
}
