// node freqtrade.mjs CONFIG: what freqtrade does with its configuration, by ccxt for node in place of Python's:
// exchange.ccxt_config over what it sets itself for trading_mode futures; then the markets, klines as it asks for them, and live.
import { readFileSync } from 'node:fs'
import ccxt from 'ccxt'

const { name, ccxt_config: given } = JSON.parse(readFileSync(process.argv[2])).exchange
const exchange = new ccxt.pro[name]({ ...given, options: { defaultType: 'swap', ...given.options } })
await exchange.loadHttpProxyAgent() // Python's has no need of it
const markets = Object.values(await exchange.loadMarkets(true))
console.log(markets.filter((m) => m.swap && m.linear && m.active).map((m) => m.symbol))
const since = (await exchange.fetchTime()) - 3 * 60_000
console.log(await exchange.fetchOHLCV('BTC/USDT:USDT', '1m', since, 1000))
for (;;) console.log(await exchange.watchOHLCV('BTC/USDT:USDT', '1m'))
