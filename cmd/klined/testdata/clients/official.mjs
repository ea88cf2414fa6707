// @binance/derivatives-trading-usds-futures: see both.mjs.
import { DerivativesTradingUsdsFutures } from '@binance/derivatives-trading-usds-futures'
import { both, contractRefusals, hear, hearFacts, hearOwn, hearSettled, refusals, settledBase, shape, windows } from './both.mjs'

const klinesTo = (take) => (e) => take(e.k)
const show = (e) => ({ class: e.constructor.name, code: e.code, message: e.message })

await both(async ({ host, isKlined, now, clock, notes }) => {
  const client = new DerivativesTradingUsdsFutures({
    configurationRestAPI: { basePath: `http://${host}`, retries: 0, timeout: 60_000 },
    configurationWebsocketStreams: { wsURL: `ws://${host}` },
  })
  const patient = new DerivativesTradingUsdsFutures({ configurationWebsocketStreams: { wsURL: `ws://${settledBase(host, isKlined)}` } })
  const rest = client.restAPI
  const data = async (call) => (await call).data()
  const { same, rows } = notes
  const streams = await client.websocketStreams.connect()
  streams.klineCandlestickStreams({ symbol: 'BTCUSDT', interval: '1m' }).on('message', klinesTo(hear(notes, 'kline 1m')))
  streams.klineCandlestickStreams({ symbol: 'ethusdt', interval: '1m', id: 7 }).on('message', klinesTo(hear(notes, 'kline 1m, a number as id')))
  streams
    .continuousContractKlineCandlestickStreams({ pair: 'btcusdt', contractType: 'perpetual', interval: '1m' })
    .on('message', klinesTo(hear(notes, 'continuousKline 1m')))
  streams.aggregateTradeStreams({ symbol: 'btcusdt' }).on('message', hearFacts(notes, 'aggTrade', (e) => e.a))
  streams.individualSymbolMiniTickerStream({ symbol: 'btcusdt' }).on('message', hearFacts(notes, 'miniTicker', (e) => e.E))
  streams.allMarketMiniTickersStream().on('message', hearFacts(notes, 'miniTickers', (all) => `${all[0].E} ${all[0].s}`))
  if (isKlined) streams.klineCandlestickStreams({ symbol: 'ethusdt', interval: '1s' }).on('message', klinesTo(hearOwn(notes, 'kline 1s')))
  ;(await patient.websocketStreams.connect())
    .klineCandlestickStreams({ symbol: 'btcusdt', interval: '1m' })
    .on('message', klinesTo(hearSettled(notes, 'kline 1m, final when settled', isKlined)))
  same.exchangeInfo = { ...(await data(rest.exchangeInformation())), serverTime: 0 }
  same.ping = await data(rest.testConnectivity())
  same.time = Math.abs((await data(rest.checkServerTime())).serverTime - clock()) < 30 * 1000
  same.weight = (await rest.testConnectivity()).rateLimits.map(({ count, ...limit }) => limit)
  const klines = (query) => data(rest.klineCandlestickData(query))
  for (const [name, w] of Object.entries(windows(now))) rows[name] = await klines({ symbol: 'BTCUSDT', interval: '1m', ...w })
  for (const interval of ['5m', '1h', '1d', '3d', '1w', '1M']) rows[interval] = await klines({ symbol: 'XRPUSDT', interval, limit: 99 })
  const contract = (query) => data(rest.continuousContractKlineCandlestickData(query))
  for (const contractType of ['PERPETUAL', 'CURRENT_QUARTER']) {
    rows[`contract, ${contractType}`] = await contract({ pair: 'ETHUSDT', contractType, interval: '1h', limit: 9 })
  }
  for (const [name, query] of Object.entries(contractRefusals)) await notes.refused(name, show, () => contract(query))
  same.price = shape(await data(rest.symbolPriceTicker({ symbol: 'XRPUSDT' })))
  same.prices = (await data(rest.symbolPriceTickerV2())).map(shape)
  for (const [name, query] of Object.entries(refusals(now))) await notes.refused(name, show, () => klines(query))
})
