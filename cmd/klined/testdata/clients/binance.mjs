// The npm package `binance`: see both.mjs.
import { DefaultLogger, USDMClient, WebsocketClient } from 'binance'
import { both, contractRefusals, hear, hearFacts, hearOwn, hearSettled, refusals, settledBase, shape, windows } from './both.mjs'

const show = (e) => ({ code: e.code, message: e.message, body: e.body })

await both(async ({ host, isKlined, now, clock, notes }) => {
  const client = new USDMClient({ baseUrl: `http://${host}` })
  const { same, rows } = notes
  subscribe(host, { 'btcusdt@kline_1m': hear(notes, 'kline 1m'), '1000pepeusdt@kline_1m': hear(notes, 'kline 1m of a name with digits') })
  subscribe(settledBase(host, isKlined), { 'btcusdt@kline_1m': hearSettled(notes, 'kline 1m, final when settled', isKlined) })
  listen(host, ['btcusdt@aggTrade'], 'usdmMarket', hearFacts(notes, 'aggTrade', (e) => e.a))
  listen(host, ['ethusdt@trade'], 'usdmPublic', hearFacts(notes, 'trade', (e) => e.t))
  listen(host, ['btcusdt@miniTicker'], 'usdmMarket', hearFacts(notes, 'miniTicker', (e) => e.E))
  listen(host, ['btcusdt@markPrice@1s'], 'usdmMarket', hearFacts(notes, 'markPrice', (e) => e.E))
  listen(host, ['ethusdt@bookTicker'], 'usdmPublic', hearFacts(notes, 'bookTicker', (e) => e.u))
  if (isKlined) subscribe(host, { 'btcusdt@kline_1s': hearOwn(notes, 'kline 1s') })
  same.exchangeInfo = { ...(await client.getExchangeInfo()), serverTime: 0 }
  same.ping = await client.testConnectivity()
  same.time = Math.abs((await client.getServerTime()) - clock()) < 30 * 1000
  same.weight = Object.keys(client.getRateLimitStates())
  for (const [name, w] of Object.entries(windows(now))) {
    rows[name] = await client.getKlines({ symbol: 'BTCUSDT', interval: '1m', ...w })
  }
  for (const interval of ['3m', '1h', '1d', '3d', '1w', '1M']) rows[interval] = await client.getKlines({ symbol: 'XRPUSDT', interval, limit: 99 })
  rows['lower case'] = await client.getKlines({ symbol: 'xrpusdt', interval: '1m', limit: 9 })
  for (const contractType of ['PERPETUAL', 'NEXT_QUARTER']) {
    rows[`contract, ${contractType}`] = await client.getContinuousContractKlines({ pair: 'BTCUSDT', contractType, interval: '5m', limit: 9 })
  }
  for (const [name, query] of Object.entries(contractRefusals)) await notes.refused(name, show, () => client.getContinuousContractKlines(query))
  same.price = shape(await client.getSymbolPriceTicker({ symbol: 'XRPUSDT' }))
  same.prices = (await client.getSymbolPriceTickerV2()).map(shape)
  same.aggTrades = Object.keys((await client.getAggregateTrades({ symbol: 'BTCUSDT', limit: 1 }))[0])
  for (const [name, query] of Object.entries(refusals(now))) await notes.refused(name, show, () => client.getKlines(query))
})

// subscribe hears streams of klines, each by a function of its own.
function subscribe(host, streams) {
  listen(host, Object.keys(streams), 'usdmMarket', (e) => streams[`${e.s.toLowerCase()}@kline_${e.k.i}`](e.k))
}

// listen hears streams over a connection of its own.
function listen(host, streams, path, take) {
  const silent = { ...DefaultLogger, trace() {}, info() {}, error() {} }
  const client = new WebsocketClient({ wsUrl: `ws://${host}` }, silent)
  client.on('message', (e) => e.e && take(e))
  client.subscribe(streams, path)
}
