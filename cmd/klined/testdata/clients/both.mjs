// What the scripts of this folder share. Each is run as: node CLIENT.mjs EXCHANGE KLINED (host:port of both); it plays one
// scenario with its client against both at once and prints what each gave, for a Go test to compare:
// {"exchange": GIVEN, "klined": GIVEN}, GIVEN as in Notes.

export const minute = 60_000

// Notes is what a scenario finds. Each kind is compared in a way of its own.
export class Notes {
  same = {} // by name: what must be the same, key for key
  rows = {} // by name: klines by open time, the first value of each; the running one may differ
  live = {} // by name: {since: when the kline opened that came first, running: how many updates of running klines came, closed: the closed ones, values by key}
  facts = {} // by name: [id, event] of each event that is the exchange's own, passed on
  own = {} // by name, of klined alone: the open times of klines of 1s that closed, an interval that the exchange has not

  // refused notes what call is refused with, as show makes it of the error.
  async refused(name, show, call) {
    try {
      this.same[name] = { answered: await call() }
    } catch (e) {
      this.same[name] = { refused: show(e) }
    }
  }
}

// hear notes the klines of one stream, {x, t, …}. take them by the function it gives.
export function hear(notes, name) {
  const heard = (notes.live[name] = { running: 0, closed: [] })
  return (k) => {
    heard.since ??= k.t
    k.x ? heard.closed.push(k) : heard.running++
  }
}

// settledBase is the base address of streams, without its scheme, from which klined's klines are final when they are settled.
export const settledBase = (host, isKlined) => (isKlined ? `${host}/final=settled` : host)

// hearSettled is hear from there: what klined closes otherwise has not come.
export function hearSettled(notes, name, isKlined) {
  const take = hear(notes, name)
  return (k) => (!isKlined || !k.x || k.st === 'settled') && take(k)
}

// hearOwn is hear for klines of 1s.
export function hearOwn(notes, name) {
  const opens = (notes.own[name] = [])
  return (k) => k.x && opens.push(k.t)
}

// hearFacts notes events by id(event); a name that begins with a trade's has ids without holes.
export function hearFacts(notes, name, id) {
  const facts = (notes.facts[name] = [])
  return (event) => facts.push([id(event), event])
}

// both plays scenario({host, isKlined, now, clock, notes}) against the exchange and against klined, and waits until all streams have brought
// what is compared, for a few minutes at most. now is the exchange's time at the beginning, clock() what it is.
export async function both(scenario) {
  const [exchange, klined] = process.argv.slice(2)
  const { serverTime: now } = await (await fetch(`http://${exchange}/fapi/v1/time`)).json()
  const began = performance.now()
  const clock = () => now + performance.now() - began
  const play = async (host) => {
    const notes = new Notes()
    await scenario({ host, isKlined: host === klined, now, clock, notes })
    return notes
  }
  const [a, b] = await Promise.all([play(exchange), play(klined)])
  await within(3 * minute, () => have(a, b))
  await new Promise((done) => setTimeout(done, 3000)) // in which a kline might close once more
  const live = [a, b].flatMap((notes) => Object.values(notes.live))
  const first = firstOf(live)
  for (const heard of live) heard.closed = heard.closed.filter((k) => k.t === first)
  process.stdout.write(JSON.stringify({ exchange: a, klined: b }) + '\n', () => process.exit(0)) // clients keep sockets and timers
}

// firstOf is when the first kline opened that all of the streams brought: whoever heard it run, or an earlier one, hears it close.
const firstOf = (live) => Math.max(...live.map(({ since }) => since ?? 0))

// have says whether all streams have brought what is compared: that kline's close, an event that both were given, two seconds.
function have(a, b) {
  const live = [a, b].flatMap((notes) => Object.values(notes.live))
  const first = firstOf(live)
  const both = (name) => b.facts[name].some(([id]) => a.facts[name].some(([of]) => of === id))
  return live.every(({ running, closed }) => running > 0 && closed.some((k) => k.t === first)) && Object.keys(a.facts).every(both) &&
    Object.values(b.own).every((opens) => opens.length > 1)
}

// within waits until ok, for so many milliseconds at most.
export async function within(most, ok) {
  for (const end = Date.now() + most; !ok() && Date.now() < end; ) await new Promise((done) => setTimeout(done, 50))
}

// windows are combinations of startTime, endTime and limit, by name, as the exchange calls them; a client that calls them
// otherwise translates.
export function windows(now) {
  const this_ = now - (now % minute)
  return {
    'nothing': {},
    'limit 1': { limit: 1 },
    'limit 1500': { limit: 1500 },
    'startTime': { startTime: this_ - 700 * minute },
    'startTime within a minute': { startTime: this_ - 7 * minute - 1, limit: 3 },
    'startTime and limit 1500': { startTime: this_ - 2000 * minute, limit: 1500 },
    'the beginning': { startTime: 1, limit: 5 },
    'endTime': { endTime: this_ - 10 * minute, limit: 20 },
    'endTime alone': { endTime: this_ - 10 * minute },
    'endTime in the future': { endTime: this_ + 10 * minute, limit: 5 },
    'before the beginning': { startTime: 1, endTime: 1000, limit: 5 },
    'one moment': { startTime: this_ - 10 * minute, endTime: this_ - 10 * minute, limit: 5 },
    'between two moments': { startTime: this_ - 10 * minute + 1, endTime: this_ - 9 * minute - 1, limit: 5 },
    'both': { startTime: this_ - 30 * minute, endTime: this_ - 10 * minute },
    'both, more than the limit': { startTime: this_ - 90 * minute, endTime: this_ - 10 * minute, limit: 7 },
    'the future': { startTime: this_ + 10 * minute },
  }
}

// shape is a price as what does not change from one moment to the next.
export const shape = ({ price, time, ...rest }) => ({ ...rest, digits: price.split('.')[1].length, time: typeof time })

// shapes are the answers for one symbol or for several as what does not change: each figure as how many decimals it has, and what is
// no text as its type. What several give is sorted, by symbol.
export function shapes(answer) {
  const decimals = (value) => (/^-?[\d.]+$/.test(value) ? (value.split('.')[1] ?? '').length : value)
  const one = (of) => Object.fromEntries(Object.entries(of).map(([key, value]) => [key, typeof value === 'string' ? decimals(value) : typeof value]))
  return Array.isArray(answer) ? answer.map(one).sort((a, b) => (a.symbol < b.symbol ? -1 : 1)) : one(answer)
}

// contractRefusals are queries of continuous klines that the exchange refuses, by name.
export const contractRefusals = {
  'no contract type': { pair: 'BTCUSDT', interval: '1m' },
  'no such contract type': { pair: 'BTCUSDT', contractType: 'FOREVER', interval: '1m' },
  'no such pair': { pair: 'NOPEUSDT', contractType: 'PERPETUAL', interval: '1m' },
  'no such interval of a contract': { pair: 'BTCUSDT', contractType: 'PERPETUAL', interval: '7m' },
  'limit of a contract': { pair: 'BTCUSDT', contractType: 'PERPETUAL', interval: '1m', limit: 1501 },
}

// refusals are queries of klines that the exchange refuses, by name.
export function refusals(now) {
  const btc = { symbol: 'BTCUSDT', interval: '1m' }
  return {
    'no symbol': { interval: '1m' },
    'no such symbol': { symbol: 'NOPEUSDT', interval: '1m' },
    'no interval': { symbol: 'BTCUSDT' },
    'no such interval': { symbol: 'BTCUSDT', interval: '7m' },
    'limit 1501': { ...btc, limit: 1501 },
    'limit 0': { ...btc, limit: 0 },
    'limit in words': { ...btc, limit: 'many' },
    'startTime in words': { ...btc, startTime: 'now' },
    'startTime after endTime': { ...btc, startTime: now, endTime: now - minute },
  }
}
