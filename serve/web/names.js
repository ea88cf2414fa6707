// The forms in which people and programs write a symbol's name.

/** A name in capitals, without what only an input method adds. */
export const plain = (text) => text.normalize("NFKC").trim().toUpperCase();

/** A name without what other programs write around it and between its parts: of ETH/USDT:USDT (ccxt), BINANCE:ETHUSDT.P (TradingView),
 * eth-usdt and ETHUSDT the same, of BTC/USDT:USDT-261225 and BTCUSDT_261225 too. */
export const bare = (text) => plain(text)
  .replace(/^BINANCE[A-Z]*:/, "")
  .replace(/:[^-]*/, "") // the asset it is settled in
  .replace(/(.)(\.P|[-_. ]PERP)$/, "$1") // a perpetual
  .replace(/[^\p{L}\p{N}]/gu, "");
