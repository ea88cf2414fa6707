// ccxt: see both.mjs.
import ccxt from 'ccxt'
import { both, contractRefusals, hear, hearFacts, hearOwn, minute, refusals, shape, shapes, windows, within } from './both.mjs'

const show = (e) => ({ class: e.constructor.name, message: e.message })

// connect is the recipe of README.
async function connect(host) {
  const exchange = new ccxt.pro.binanceusdm({
    urls: {
      api: {
        fapiPublic: `http://${host}/fapi/v1`, fapiPublicV2: `http://${host}/fapi/v2`,
        ws: { future: `ws://${host}/ws` },
      },
    },
  })
  await exchange.loadHttpProxyAgent()
  return exchange
}

await both(async ({ host, isKlined, now, clock, notes }) => {
  const exchange = await connect(host)
  const watching = watch(exchange, isKlined, notes)
  const { same, rows } = notes
  same.markets = await exchange.loadMarkets()
  same.ping = await exchange.fapiPublicGetPing()
  same.time = Math.abs((await exchange.fetchTime()) - clock()) < 30 * 1000
  same.weight = Number.isInteger(Number(exchange.last_response_headers['X-Mbx-Used-Weight-1m']))
  for (const [name, w] of Object.entries(windows(now))) {
    rows[name] = await exchange.fetchOHLCV('BTC/USDT:USDT', '1m', w.startTime, w.limit, w.endTime ? { until: w.endTime } : {})
    rows[`raw, ${name}`] = await exchange.fapiPublicGetKlines({ symbol: 'ETHUSDT', interval: '1m', ...w })
  }
  rows.paginate = await exchange.fetchOHLCV('BTC/USDT:USDT', '1m', now - 1100 * minute, 1100, { paginate: true })
  for (const timeframe of ['1h', '1d', '1w', '1M']) rows[timeframe] = await exchange.fetchOHLCV('SOL/USDT:USDT', timeframe, undefined, 99)
  for (const contractType of ['PERPETUAL', 'CURRENT_QUARTER']) {
    rows[`contract, ${contractType}`] = await exchange.fapiPublicGetContinuousKlines({ pair: 'BTCUSDT', contractType, interval: '1m', limit: 9 })
  }
  for (const [name, query] of Object.entries(contractRefusals)) {
    await notes.refused(name, show, () => exchange.fapiPublicGetContinuousKlines(query))
  }
  same.price = shape(await exchange.fapiPublicGetTickerPrice({ symbol: 'BTCUSDT' }))
  same.prices = (await exchange.fapiPublicV2GetTickerPrice()).map(shape)
  same.ticker = shapes((await exchange.fetchTicker('BTC/USDT:USDT')).info)
  const tickers = await exchange.fetchTickers() // which freqtrade makes its lists of pairs from
  same.quoteVolumes = Object.values(tickers).every(({ quoteVolume }) => quoteVolume > 0)
  for (const [name, of] of Object.entries({ tickers, bests: await exchange.fetchBidsAsks(), fundingRates: await exchange.fetchFundingRates() })) {
    same[name] = shapes(Object.values(of).map(({ info }) => info))
  }
  same.fundingHistory = await exchange.fetchFundingRateHistory('BTC/USDT:USDT', now - 30 * 60 * minute)
  rows.mark = await exchange.fetchMarkOHLCV('BTC/USDT:USDT', '1h', undefined, 9)
  same.book = (await exchange.fetchOrderBook('BTC/USDT:USDT', 5)).asks.length
  same.openInterest = Object.keys(await exchange.fetchOpenInterest('BTC/USDT:USDT'))
  same.fundingRate = Object.keys((await exchange.fetchFundingRate('BTC/USDT:USDT')).info)
  same.lastPrices = Object.keys(await exchange.fetchLastPrices())
  await notes.refused('aggTrades of last week', show, () => exchange.fetchTrades('BTC/USDT:USDT', now - 7 * 24 * 60 * minute, 100))
  same.trades = Object.keys((await exchange.fetchTrades('BTC/USDT:USDT', undefined, 1))[0].info)
  for (const [name, query] of Object.entries(refusals(now))) {
    await notes.refused(name, show, () => exchange.fapiPublicGetKlines(query))
  }
  await watching
})

// watch takes what the watching functions give, and returns once the klines of several symbols have come, or some time has passed.
// watchOHLCV shows rows, and not whether they are closed: one is when a later one has come.
async function watch(exchange, isKlined, notes) {
  const kline = ([t, o, h, l, c, v], x) => ({ t, o, h, l, c, v, x })
  const follow = async (timeframe, take) => {
    let newest
    for (;;) {
      for (const row of await exchange.watchOHLCV('BTC/USDT:USDT', timeframe)) {
        if (newest && row[0] < newest[0]) continue
        if (newest && row[0] > newest[0]) take(kline(newest, true))
        newest = row
        take(kline(row, false))
      }
    }
  }
  follow('1m', hear(notes, 'kline 1m')).catch(() => {}) // ends when the client does
  if (isKlined) follow('1s', hearOwn(notes, 'kline 1s')).catch(() => {})
  const several = new Set()
  const followSeveral = async () => {
    for (;;) {
      const came = await exchange.watchOHLCVForSymbols([['ETH/USDT:USDT', '1m'], ['XRP/USDT:USDT', '5m']])
      for (const [name, of] of Object.entries(came)) several.add(`${name} ${Object.keys(of)}`)
    }
  }
  followSeveral().catch(() => {})
  const trade = hearFacts(notes, 'trade', (t) => t.info.t)
  const trades = async () => {
    for (;;) for (const t of await exchange.watchTrades('BTC/USDT:USDT')) trade(t)
  }
  trades().catch(() => {})
  await within(minute, () => several.size > 1)
  notes.same['klines of several symbols'] = [...several].sort()
}
