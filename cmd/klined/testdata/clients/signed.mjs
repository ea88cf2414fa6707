// What needs a key, by the three clients for node, through klined with --forward all: see both.mjs.
import ccxt from 'ccxt'
import { USDMClient } from 'binance'
import { DerivativesTradingUsdsFutures } from '@binance/derivatives-trading-usds-futures'
import { both } from './both.mjs'

const placed = ({ updateTime, clientOrderId, ...order }) => order

await both(async ({ host, notes: { same } }) => {
  const rest = `http://${host}`
  const one = new ccxt.binanceusdm({
    apiKey: 'key', secret: 'secret', options: { fetchCurrencies: false, adjustForTimeDifference: true },
    urls: { api: { fapiPublic: `${rest}/fapi/v1`, fapiPrivate: `${rest}/fapi/v1`, fapiPrivateV2: `${rest}/fapi/v2`, fapiPrivateV3: `${rest}/fapi/v3` } },
  })
  same['ccxt, account'] = await one.fapiPrivateV3GetAccount()
  same['ccxt, order'] = placed((await one.createOrder('BTC/USDT:USDT', 'limit', 'buy', 0.01, 80000)).info)
  same['ccxt, its end'] = placed((await one.cancelOrder('1', 'BTC/USDT:USDT')).info)
  same['ccxt, listen key'] = await one.fapiPrivatePostListenKey()
  const order = { symbol: 'BTCUSDT', side: 'SELL', type: 'LIMIT', quantity: 0.02, price: 90000, timeInForce: 'GTC' }
  const two = new USDMClient({ api_key: 'key', api_secret: 'secret', baseUrl: rest })
  same['binance, account'] = await two.getAccountInformationV3()
  same['binance, order'] = placed(await two.submitNewOrder(order))
  same['binance, listen key'] = await two.getFuturesUserDataListenKey()
  const three = new DerivativesTradingUsdsFutures({ configurationRestAPI: { apiKey: 'key', apiSecret: 'secret', basePath: rest, retries: 0, timeout: 60_000 } }).restAPI
  same['official, order'] = placed(await (await three.newOrder(order)).data())
  same['official, listen key'] = await (await three.startUserDataStream()).data()
})
