// Uses the chart page as a person would, in Chromium: node page.mjs ADDRESS EXCHANGE CHROMIUM [FOLDER for screenshots]. Each line of
// stdout is a check that held, or "stop" or "start": what the server is to do. A line on stdin says that it has been started.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { lastPrice, prices } from './drawing.mjs'

const { chromium } = createRequire(process.env.KLINED_NODE_MODULES + '/')('playwright-core')
const [address, exchange, executablePath, folder] = process.argv.slice(2)
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

const browser = await chromium.launch({ executablePath, timeout: 180_000, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
// What may not happen, but while the server is being started again.
const faults = []
let restarting = false
const fault = (text) => restarting || faults.push(text)
const watch = (page) => {
  page.setDefaultTimeout(180_000) // until the first whole minute, on a very busy machine
  page.on('console', (m) => (m.type() === 'error' || m.type() === 'warning') && fault(`console: ${m.text()}`))
  page.on('pageerror', (error) => fault(`error: ${error.stack}`))
  page.on('response', (r) => r.status() >= 400 && fault(`${r.status()} ${r.url()}`))
  page.on('requestfailed', (r) => r.failure().errorText !== 'net::ERR_ABORTED' && fault(`${r.failure().errorText} ${r.url()}`)) // the page itself gives up what it does not need any more
  page.on('request', (r) => new URL(r.url()).host !== address.replace('http://', '') && fault(`asks elsewhere: ${r.url()}`))
  return page
}
const open = async () => watch(await (await browser.newContext({ viewport: { width: 1200, height: 800 }, colorScheme: 'light' })).newPage())
let page = await open()
const closePage = async () => { // without what it still asks, or that would fail
  await page.unrouteAll({ behavior: 'ignoreErrors' })
  await page.close()
}

const text = (id) => page.locator(`#${id}`).textContent()
const until = (what, condition, argument) => page.waitForFunction(condition, argument, { polling: 50 }).catch(async (error) => {
  throw new Error(`${what}: ${error.message}\n${await page.locator('header').innerText()}\n${await page.locator('#notice').innerText()}`)
})
const shot = async (name) => folder && page.screenshot({ path: `${folder}/${name}.png` })
const done = (what) => console.log(what)
function check(what, ok, ...seen) {
  if (!ok) throw new Error(`${what}: ${seen.join(', ')}`)
}

/** What the page says, at one moment, of the klines that it holds. */
const held = () => page.evaluate(() => {
  const [counts, since, closed] = ['loaded', 'since', 'closed'].map((id) => document.getElementById(id).textContent)
  const of = (state) => Number((counts.match(new RegExp(`([\\d,]+) ${state}`))?.[1] ?? '0').replaceAll(',', ''))
  return { all: of('settled') + of('closed') + of('open'), open: of('open'), since: since.replace(' · since ', ''), closed: closed.slice(0, 5) }
})

async function loads() {
  await page.goto(address)
  await until('klines are shown', () => /^\d+\.\d\d$/.test(document.getElementById('price').textContent) && document.getElementById('loaded').textContent.includes('1 open'))
  await until('live', () => document.getElementById('connection').dataset.state === 'live')
  const { all } = await held()
  check('a thousand klines', all >= 999 && all <= 1001, all)
  check('title', (await page.title()).endsWith('BTCUSDT · klined'), await page.title())
  done('loads')
}

async function searches() {
  await page.keyboard.press('/')
  check('all symbols', (await text('found')) === '800 symbols', await text('found'))
  await shot('picker')
  for (const [typed, want] of [['人生', '币安人生USDT'], ['币安', '币安人生USDT'], ['dOgE', 'DOGEUSDT'], ['ＥＴＨ', 'ETHUSDT'], ['nosuch', undefined],
    ['ETH/USDT', 'ETHUSDT'], ['eth-usdt', 'ETHUSDT'], ['ETH/USDT:USDT', 'ETHUSDT'], ['eth_usdt', 'ETHUSDT'], ['Binance:ETHUSDT.P', 'ETHUSDT'], ['人生/usdt:usdt', '币安人生USDT'], ['/', undefined]]) {
    await page.locator('#search').fill(typed)
    const chosen = await page.locator('#symbols [aria-selected=true]').textContent({ timeout: want ? 180_000 : 200 }).catch(() => undefined)
    check(`search ${typed}`, chosen === want, chosen)
  }
  const { height } = await page.locator('#picker').boundingBox()
  check('that nothing is found is said right below', height < 120, height)
  const listed = await page.request.post(`${exchange}/sim/faults`, { data: { kind: 'list', symbol: 'PAGEUSDT' } })
  check('a symbol is listed', listed.ok(), await listed.text())
  await page.locator('#search').fill('PAGEUSDT')
  await until('a symbol is found that the exchange lists while the picker is open', () => document.querySelector('#symbols [aria-selected=true]')?.textContent === 'PAGEUSDT')
  await page.locator('#search').fill('USDT')
  for (const key of ['ArrowDown', 'ArrowDown', 'ArrowUp']) await page.keyboard.press(key)
  check('arrows choose', (await page.locator('#symbols [aria-selected=true]').textContent()) === 'ETHUSDT')
  await page.keyboard.press('Escape')
  check('Escape leaves all as it was', (await text('symbol-name')) === 'BTCUSDT')
  await page.click('#symbol')
  await page.locator('#search').fill('人生')
  await page.keyboard.press('Enter')
  await until('the other symbol is shown', () => /^[01]\.\d{6}$/.test(document.getElementById('price').textContent))
  check('its name', (await text('symbol-name')) === '币安人生USDT', decodeURIComponent(page.url()))
  await page.goBack()
  await until('the way back leads to the symbol before', () => document.getElementById('symbol-name').textContent === 'BTCUSDT' && location.hash.startsWith('#BTCUSDT/'))
  await page.goto(`${address}/#BTCUSDT/1h`)
  done('searches')
}

async function switches() {
  await until('the address names the series', () => document.querySelector('#intervals [aria-current]').textContent === '1h' && Number(document.getElementById('price').textContent) > 1000)
  await until('hours', () => / [\d-]+ /.test(document.getElementById('since').textContent))
  await page.keyboard.press(']')
  await until('a longer interval', () => document.querySelector('#intervals [aria-current]').textContent === '2h')
  await page.goBack()
  await until('the way back leads to the interval before', () => document.querySelector('#intervals [aria-current]').textContent === '1h' && location.hash === '#BTCUSDT/1h')
  await page.goForward()
  await until('and forth', () => document.querySelector('#intervals [aria-current]').textContent === '2h')
  const steps = await page.evaluate(() => {
    const { now } = performance
    const at = now.call(performance)
    const before = history.length
    for (const [i, key] of ['[', ']', '[', ']', '['].entries()) {
      performance.now = () => at + 60_000 + (i === 4 ? 3000 : 100 * i)
      dispatchEvent(new KeyboardEvent('keydown', { key }))
    }
    delete performance.now
    return history.length - before
  })
  check('quick changes of the interval are one step back', steps === 2, steps)
  for (const key of '[]'.repeat(12)) await page.keyboard.press(key) // faster than a server takes messages
  await page.getByRole('button', { name: '1m', exact: true }).click()
  await until('minutes', () => document.getElementById('loaded').textContent.includes('1 open') && /\d\d:\d\d \w/.test(document.getElementById('closed').textContent))
  for (const [wanted, shown, says] of [
    ['NOPE/7m', 'BTCUSDT/1m', 'NOPE is not carried here. The interval 7m is not served here.'],
    ['ethusdt/1H', 'ETHUSDT/1h', ''],
    ['dogeusdt', 'DOGEUSDT/1h', ''],
    ['/1m', 'DOGEUSDT/1m', ''],
    ['NOPE', 'DOGEUSDT/1m', 'NOPE is not carried here.'],
    ['btcusdt/1m', 'BTCUSDT/1m', ''],
  ]) {
    await page.evaluate((hash) => (location.hash = hash), `#${wanted}`)
    await until(`${wanted} in the address`, ([shown, says]) => {
      const notice = document.getElementById('notice')
      return location.hash === `#${shown}` && shown.startsWith(`${document.getElementById('symbol-name').textContent}/`) && (notice.hidden ? '' : notice.innerText) === says
    }, [shown, says])
  }
  for (const [asked, shown, says] of [
    ['?symbol=ETH/USDT:USDT&interval=1h', 'ETHUSDT/1h', ''],
    ['?symbol=NOPEUSDT&interval=1m', 'BTCUSDT/1m', 'NOPEUSDT is not carried here.'],
  ]) {
    await page.goto(`${address}/${asked}`)
    await until(`${asked} becomes #${shown}`, ([shown, says]) => {
      const notice = document.getElementById('notice')
      return location.href === `${location.origin}/#${shown}` && document.title.includes(shown.split('/')[0]) && (notice.hidden ? '' : notice.innerText) === says
    }, [shown, says])
  }
  await until('minutes again', () => document.getElementById('loaded').textContent.includes('1 open'))
  done('switches symbol and interval')
}

async function earlier() {
  const before = await held()
  for (let i = 0; i < 40 && (await held()).all < before.all + 900; i++) await page.keyboard.press('PageUp', { delay: 30 })
  const after = await held()
  check('earlier klines', after.all >= before.all + 900 && after.since !== before.since, after.all, after.since)
  await until('a way back', () => !document.getElementById('latest').hidden)
  await page.click('#latest')
  await until('back', () => document.getElementById('latest').hidden)
  await page.mouse.move(500, 300)
  await until('the legend follows the crosshair', () => /settled/.test(document.getElementById('legend').textContent))
  await page.mouse.move(500, 20)
  done('loads earlier history')
}

async function status() {
  await page.keyboard.press('s')
  await until('rates', () => /\d/.test(document.querySelector('.tile .figure')?.textContent ?? ''))
  const panel = await page.locator('#status').innerText()
  for (const word of ['Trades a second', 'Frames a second', 'REST weight', 'trades-0.0', 'Gaps', 'Store', 'Equal to the exchange']) check('status', panel.includes(word), panel)
  check('no lane is a dash', !/null|undefined|NaN/.test(panel), panel)
  const shares = await page.evaluate(async () => {
    const { share } = await import(new URL('web/report.js', document.baseURI))
    return [0, 0.97297, 0.99996, 1, undefined].map(share).join(', ')
  })
  check('shares are rounded, but never to all', shares === '0.00 %, 97.30 %, 99.99 %, 100.00 %, –', shares)
  const changes = await page.evaluate(async () => {
    const { percent } = await import(new URL('web/dom.js', document.baseURI))
    return [100, 100.004, 99.996, 100.01, 99.99].map((to) => percent(100, to)).join(', ')
  })
  check('no change has no sign', changes === '0.00 %, 0.00 %, 0.00 %, +0.01 %, −0.01 %', changes)
  const why = await page.evaluate(async () => {
    const { sections } = await import(new URL('web/report.js', document.baseURI))
    const status = await (await fetch('klined/v1/status')).json()
    const tells = (source, equal, compared) => {
      status.source = source
      Object.assign(status.settled.at_once.start, { equal, compared })
      const made = sections([{ at: 0, status }], { symbols: [], gaps: [], differences: [] })
      return made.some((section) => section.textContent.includes('aggTrade merges fills'))
    }
    return [tells('aggTrade', 3, 4), tells('aggTrade', 4, 4), tells('aggTrade', 0, 0), tells('trade', 3, 4)].join(', ')
  })
  check('why minutes differ, where they do so by aggTrade', why === 'true, false, false, false', why)
  const ring = await page.locator('#status-body:focus').evaluate((body) => getComputedStyle(body).outlineStyle)
  check('no ring around all that is said', ring === 'none', ring)
  await shot('status')
  await page.keyboard.press('Escape')
  await page.keyboard.press('?')
  await page.getByRole('dialog', { name: 'Keys and words' }).waitFor()
  await page.keyboard.press('Escape')
  done('shows the status and the keys')
}

async function looks() {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const light = await ground()
  await page.emulateMedia({ colorScheme: 'dark' })
  const dark = await ground()
  check('the dark theme', dark !== light, dark)
  await shot('dark')
  await page.keyboard.press('t')
  check('the theme can be chosen', (await ground()) === light)
  await page.keyboard.press('t')
  check('and back', (await ground()) === dark)
  for (const scheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme: scheme })
    await page.setViewportSize({ width: 390, height: 844 })
    await until('it fits a phone', () => document.querySelector('#chart table').offsetWidth <= 390)
    check('nothing sticks out', await page.evaluate(() => document.documentElement.scrollWidth <= 390 && document.querySelector('header').scrollWidth <= 390))
    await shot(`phone-${scheme}`)
  }
  const touch = await page.context().newCDPSession(page)
  const sizes = () => page.evaluate(() => {
    const heights = [...document.querySelectorAll('header button')].map((button) => button.offsetHeight)
    return { header: document.querySelector('header').offsetHeight, least: Math.min(...heights) }
  })
  const { header } = await sizes()
  await touch.send('Emulation.setTouchEmulationEnabled', { enabled: true })
  await until('a touch screen', () => matchMedia('(pointer: coarse)').matches)
  const fingers = await sizes()
  check('room for fingers, in a header that is no higher', fingers.least >= 40 && fingers.header === header, JSON.stringify([header, fingers]))
  await shot('touch')
  await touch.detach()
  await until('a pointer again', () => !matchMedia('(pointer: coarse)').matches)
  await page.keyboard.press('s')
  await page.locator('.connections').waitFor()
  const wide = await page.evaluate(() => [...document.querySelectorAll('#status .table')].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.innerText))
  check('tables fit a phone', wide.length === 0, ...wide)
  await shot('phone-status')
  await page.keyboard.press('Escape')
  await page.setViewportSize({ width: 1200, height: 800 })
  await shot('light')
  done('both themes, and a phone')
}

async function lives() {
  await page.keyboard.press('1')
  await until('seconds', () => document.querySelector('#intervals [aria-current]').textContent === '1s')
  for (let n = 0, seen = ''; n < 3; n++) {
    await until('a second closes', (before) => /^\d\d:\d\d:\d\d (closed|settled)$/.test(document.getElementById('closed').textContent) && document.getElementById('closed').textContent !== before, seen)
    seen = await text('closed')
  }
  await until('the lag is told', () => /\d ms/.test(document.getElementById('lag').textContent))
  await until('the countdown is told', () => /^open · \d\d:\d\d$/.test(document.getElementById('running').textContent))
  await shot('seconds')
  done('receives live klines')
}

/** A browser that keeps nothing, with a clock that is behind, and a server that closes whom it has let in and does not settle. */
async function withstands() {
  const usual = page
  page = await open()
  await page.addInitScript(() => {
    Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('nothing is kept', 'SecurityError') } })
    const { setTimeout, setInterval } = window
    const { now } = Date
    const { parse } = JSON
    JSON.parse = (text) => parse(text, (key, value) => (key === 'settles' ? false : value))
    Date.now = () => now() - 7_200_000
    window.pauses = []
    window.looks = 0
    window.seconds = () => { // when the last one closed, and how many are held
      const [h, m, s] = document.getElementById('closed').textContent.slice(0, 8).split(':').map(Number)
      const counts = document.getElementById('loaded').textContent.replaceAll(',', '').match(/\d+/g)
      return { last: 3600 * h + 60 * m + s, n: counts.reduce((sum, n) => sum + Number(n), 0) }
    }
    window.setTimeout = (f, ms) => (ms % 1 > 0 && window.pauses.push(ms), setTimeout(f, ms)) // those between two attempts are drawn
    window.setInterval = (f, ms) => (ms === 5000 ? setInterval(() => { window.looks++; f() }, 250) : setInterval(f, ms)) // looks for what is not pushed
  })
  let socket
  const coming = [] // what the next connections meet: "shut" at once, or "told" that they are subscribed and then shut
  await page.routeWebSocket(/stream/, (ws) => {
    socket = ws
    const meets = coming.shift()
    if (meets === 'shut') return ws.close()
    ws.connectToServer().onMessage((message) => {
      ws.send(message)
      if (meets === 'told' && 'result' in JSON.parse(message)) ws.close()
    })
  })
  await page.goto(`${address}/#BTCUSDT/1s`)
  await until('seconds', () => document.getElementById('connection').dataset.state === 'live' && /^\d\d:\d\d:\d\d closed/.test(document.getElementById('closed').textContent))
  const before = await page.evaluate(() => window.seconds())
  coming.push('shut', 'shut', 'shut', 'told')
  socket.close()
  await until('the pauses before the next connections', () => window.pauses.length > 4)
  const pauses = await page.evaluate(() => window.pauses)
  check('a server that closes whom it has let in is left alone for longer', pauses[4] > 2000, ...pauses)
  await until('what was missed', (last) => window.seconds().last > last + 3, before.last)
  const after = await page.evaluate(() => window.seconds())
  check('no hole, by a clock that is behind', after.n - before.n === after.last - before.last, JSON.stringify([before, after]))

  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const light = await ground()
  await page.keyboard.press('t')
  check('the theme is chosen without being kept', (await ground()) !== light)

  let asked = 0 // what has become of closed klines
  page.on('request', (r) => r.url().includes('startTime=') && asked++)
  await page.route('**/klined/v1/klines*', async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: (await response.text()).replaceAll('"settled"', '"closed"') })
  })
  await page.getByRole('button', { name: '1m', exact: true }).click()
  await until('minutes that are not settled', () => document.getElementById('connection').dataset.state === 'live' && /^[\d,]+ closed, 1 open$/.test(document.getElementById('loaded').textContent))
  await until('looks', (looks) => window.looks > looks + 3, await page.evaluate(() => window.looks))
  check('what does not settle is not asked for again', asked === 0, asked)
  await shot('withstands')
  await closePage()
  page = usual
  done('withstands a browser and a server that are not as they should be')
}

/** A symbol that is not in the page's list: first as one that is listed since, then as one that has ended. */
async function unlisted() {
  const usual = page
  page = await open()
  await page.addInitScript(() => {
    const { parse } = JSON
    JSON.parse = (text) => parse(text, (key, value) => (key === 'symbols' && Array.isArray(value) ? value.filter(([name]) => name !== 'ETHUSDT') : value))
    const { setTimeout } = window
    window.setTimeout = (f, ms) => setTimeout(f, ms === 2000 ? 200 : ms) // reads of the status
  })
  await page.goto(`${address}/#ETHUSDT/1m`)
  await until('the symbol is shown', () => document.getElementById('symbol-name').textContent === 'ETHUSDT' && /\d settled/.test(document.getElementById('loaded').textContent))
  check('one that is listed since is not said to have ended', await page.locator('#ended').isHidden())
  await page.keyboard.press('s')
  await page.locator('.tile').first().waitFor()
  let asked = 0
  await page.route('**/udf/symbol_info', async (route) => { // without it; a list that fails is asked for again
    if (asked++ < 1) return route.fulfill({ json: { s: 'error', errmsg: 'busy' } })
    const all = await (await route.fetch()).json()
    const kept = all.symbol.map((name, i) => i).filter((i) => all.symbol[i] !== 'ETHUSDT')
    return route.fulfill({ json: Object.fromEntries(Object.entries(all).map(([key, list]) => [key, Array.isArray(list) ? kept.map((i) => list[i]) : list])) })
  })
  await page.route('**/klined/v1/status', async (route) => {
    const status = await (await route.fetch()).json()
    status.symbols.ended = (status.symbols.ended ?? 0) + 1
    return route.fulfill({ json: status })
  })
  await until('one that has ended is said to have', () => !document.getElementById('ended').hidden)
  check('the list is asked for until it is here', asked === 2, asked)
  await page.keyboard.press('Escape')
  await page.goto(`${address}/#BTCUSDT/1m`)
  await until('one that has not', () => document.getElementById('symbol-name').textContent === 'BTCUSDT' && document.getElementById('ended').hidden)
  await page.goto(`${address}/#ETHUSDT/1m`)
  await until('one that has ended is found by its address', () => document.getElementById('symbol-name').textContent === 'ETHUSDT' && !document.getElementById('ended').hidden)
  await closePage()
  page = usual
  done('shows a symbol that is in no list')
}

/** What is drawn, and cannot be read on the page. */
async function draws() {
  const faults = [...await prices(page), ...await lastPrice(page)]
  check('what is drawn', faults.length === 0, ...faults.slice(0, 5))
  done('draws prices in their digits and steps, and the last one where it is')
}

/** A page that stays open for hours: seconds come and come, and the oldest leave. */
async function lasts() {
  const usual = page
  page = await open()
  await page.route('**/klined/v1/klines*limit=1000', async (route) => {
    const response = await route.fetch()
    const rows = await response.json()
    const [first] = rows
    const before = Array.from({ length: 12_500 }, (_, i) => [first[0] - 1000 * (12_500 - i), ...first.slice(1, 6), first[0] - 1000 * (12_500 - i) + 999, ...first.slice(7)])
    await route.fulfill({ response, json: [...before, ...rows] })
  })
  await page.goto(`${address}/#BTCUSDT/1s`)
  await until('as many as are kept', () => {
    const n = document.getElementById('loaded').textContent.match(/([\d,]+) closed/)?.[1].replaceAll(',', '')
    return n >= 7999 && n < 9000
  })
  await closePage()
  page = usual
  done('keeps so many klines and no more')
}

async function survives() {
  await page.getByRole('button', { name: '1m', exact: true }).click()
  await until('minutes', () => document.getElementById('loaded').textContent.includes('1 open') && /^\d\d:\d\d \w/.test(document.getElementById('closed').textContent))
  restarting = true
  console.log('stop')
  await until('the last figures stay', () => {
    if (document.getElementById('connection').dataset.state !== 'offline') return false
    const body = document.getElementById('status-body')
    body.replaceChildren() // as if it were opened for the first time
    document.getElementById('status-button').click()
    return body.hasAttribute('data-stale') && body.querySelector('.tile') !== null
  })
  await page.keyboard.press('Escape')
  const again = page.waitForRequest((r) => r.url().includes('limit=200') && !r.url().includes('startTime'), { timeout: 600_000 })
  console.log('start')
  await lines.next()
  await until('live again', () => document.getElementById('connection').dataset.state === 'live')
  await again // what has become of the klines shown
  await until('loaded again', () => document.getElementById('notice').hidden && !document.getElementById('chart').hasAttribute('data-loading'))
  restarting = false
  const at = (clock) => Number(clock.slice(-5, -3)) * 60 + Number(clock.slice(-2))
  const { all, open, since, closed } = await held()
  const span = (at(closed) - at(since) + 1440) % 1440
  check('no hole', all - open === span + 1, `${all} klines, ${open} open, since ${since}, the last closed ${closed}`)
  check('it does not settle', (await (await page.request.get(address)).text()).includes('"settles":false'))
  await until('it goes on', (before) => document.getElementById('legend').textContent !== before, await text('legend'))
  done('survives a restart of the server')
}

try {
  for (const part of [loads, searches, switches, earlier, status, looks, lives, withstands, unlisted, draws, lasts, survives]) await part()
  check('no faults', faults.length === 0, ...faults)
  done('no errors')
} catch (error) {
  console.error(error.stack, ...faults.map((f) => `\n${f}`))
  await shot('failed')
  process.exitCode = 1
}
await browser.close()
process.exit()
