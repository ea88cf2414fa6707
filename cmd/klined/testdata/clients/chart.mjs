// Runs what README shows for Lightweight Charts, in a page of another origin, in Chromium: node chart.mjs FILE KLINED CHROMIUM LIBRARY.
// History is klined's, and each connection's first push; behind that come pushes that it seldom has.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { chromium } from 'playwright-core'

const [file, klined, executablePath, library] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath, timeout: 120_000, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
const end = async (status, why) => {
  console.log(why)
  await browser.close()
  process.exit(status)
}
const page = await browser.newPage()
page.setDefaultTimeout(120_000)
page.on('pageerror', (error) => end(1, error.stack))
const shown = (what, condition, argument) => page.waitForFunction(condition, argument, { polling: 50 }).catch(() => end(1, `not shown: ${what}`))

let pushed
const first = new Promise((resolve) => (pushed = resolve))
await page.routeWebSocket(`ws://${klined}/**`, (route) => {
  let real = true
  route.connectToServer().onMessage((message) => {
    if (real) route.send(message)
    real = false // those behind it would change what comes in between
    pushed({ close: () => route.close({ code: 1001 }), ...JSON.parse(message), push: (k) => route.send(JSON.stringify({ k })) })
  })
})
let answer
const held = new Promise((resolve) => (answer = resolve))
await page.route('**/fapi/v1/klines?*', async (route) => {
  await held
  await route.continue()
})
const html = `<!doctype html><meta charset="utf-8"><div id="chart" style="height: 300px"></div><script>${readFileSync(library, 'utf8')}</script><script>
const { createChart, CandlestickSeries } = LightweightCharts
const series = createChart('chart').addSeries(CandlestickSeries)
${readFileSync(file, 'utf8')}</script>`
const server = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end(html))
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
await page.goto(`http://127.0.0.1:${server.address().port}`)

const { k, push, close } = await first
push({ ...k, t: k.t + 600_000, c: '1.5' })
answer()
await shown('the history, and what came before it was there', () => series.data().length > 1 && series.data().at(-1).close === 1.5)
push({ ...k, t: k.t - 60_000, c: '2.5', x: true })
await shown('an older kline that is whole at last', (time) => series.data().find((bar) => bar.time === time).close === 2.5, k.t / 1000 - 60)
close()
await shown('the history again, after a stop', (time) => series.data().find((bar) => bar.time === time).close > 2.5, k.t / 1000 - 60)
await end(0, 'the chart is right')
