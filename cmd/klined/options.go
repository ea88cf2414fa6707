package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"klined/binance"
	"klined/market"
)

// serveOptions are the flags of klined serve. Their texts are checked by parse.
type serveOptions struct {
	Listen     string
	Admin      string // empty: off
	Dir        string
	REST       string
	WS         string
	Archive    string
	Symbols    []string // nil: all
	Intervals  []market.Interval
	Source     market.Source
	Redundancy int
	Lanes      int
	Capacity   int           // symbols that live at once
	Grace      time.Duration // 0: learnt
	PushEvery  time.Duration
	Settle     bool
	Backfill   int // klines of each interval of the exchange's; 0: off
	RESTWeight int
	Forward    string                            // forwardOff, forwardPublic or forwardAll
	Retain     map[market.Interval]time.Duration // what is absent is kept for ever
	Window     int64                             // bytes of memory for the series that clients ask for; 0: off
	Proxy      proxyFlag
	Token      string // the file of the token asked of clients; empty: none is
	Record     string // the folder of tapes; "": nobody records
	RecordSize int64  // bytes of it
	LogLevel   slog.Level
	LogLevels  map[string]slog.Level // by target; of others LogLevel
	LogFormat  string

	texts struct{ symbols, intervals, source, grace, settle, retain, window, recordSize, level string }
	token string // what is in the file; never logged

	flags *pflag.FlagSet // that these are bound to, for who asks what is in force; nil in tests that bind none

	rotate time.Duration // how long a connection lives before it is replaced; 0: as long as the exchange allows. For tests
}

// What --forward passes on of what klined does not answer itself.
const (
	forwardOff    = "off"
	forwardPublic = "public"
	forwardAll    = "all"
)

// defaultPushEvery is how often the exchange itself pushes a busy kline.
const defaultPushEvery = 250 * time.Millisecond

// bind declares the flags with their defaults.
func (o *serveOptions) bind(f *pflag.FlagSet) {
	o.flags = f
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "serve on `HOST:PORT`")
	f.StringVar(&o.Admin, "admin", "", adminUsage)
	f.StringVar(&o.Dir, "dir", "klined-data", "keep the store in `DIR`")
	f.StringVar(&o.REST, "rest", binance.DefaultREST, "`URL` of the exchange's REST")
	f.StringVar(&o.WS, "ws", binance.DefaultWS, "`URL` of the exchange's streams")
	f.StringVar(&o.Archive, "archive", binance.DefaultArchive, "`URL` of the exchange's archive of files")
	f.Var(&o.Proxy, "proxy", proxyUsage)
	f.StringVar(&o.texts.symbols, "symbols", "all", "carry all perpetuals that trade, or those of `LIST`: BTCUSDT,ETHUSDT")
	f.StringVar(&o.texts.intervals, "intervals", intervalList(market.ExchangeIntervals()), "build the intervals of `LIST`; 1m always")
	f.StringVar(&o.texts.source, "source", "aggTrade", "build from `RECORDS`: aggTrade, or trade")
	f.IntVar(&o.Redundancy, "redundancy", 2, "carry each symbol's trades over `N` connections at once")
	f.IntVar(&o.Lanes, "lanes", 4, "share out the symbols over `N` lanes")
	f.IntVar(&o.Capacity, "capacity", defaultCapacity, "carry at most `N` symbols, those that are listed later among them; at most 1024 a lane")
	f.StringVar(&o.texts.grace, "grace", "auto", "close by the clock `TIME` after a boundary; auto learns it from how old trades come")
	f.DurationVar(&o.PushEvery, "push-every", defaultPushEvery, "`TIME` between pushes of a busy running kline")
	f.StringVar(&o.texts.settle, "settle", "on", "let the exchange's own minutes stand in for ours seconds after each close: `STATE` on, or off")
	f.IntVar(&o.Backfill, "backfill", 1500, "bring the last `N` klines of each of the exchange's intervals in the background; 0 is off")
	f.IntVar(&o.RESTWeight, "rest-weight", 1200, "use `N` of the exchange's 2400 request weight a minute")
	f.StringVar(&o.Forward, "forward", forwardPublic, "pass on to the exchange what is not answered here: `WHAT` off, public (what is not signed, within --rest-weight, without keys), or all (orders too, untouched; only with --listen on this machine, or with --token)")
	f.StringVar(&o.Token, "token", "", "ask clients for the token in `FILE`: as Authorization: Bearer, or as a password")
	f.StringVar(&o.texts.retain, "retain", "", "keep klines for so long: `LIST` 1m=60d,1h=52w,1d=forever. What is not named: below a minute 1d, 1m 30d, below an hour 90d, longer for ever")
	f.StringVar(&o.texts.window, "window", "256MiB", "keep the last 1500 klines of the series that clients ask for in `SIZE` of memory: 64MiB, 1GiB, 0 for none. The least recently asked leaves first")
	f.StringVar(&o.Record, "record", "", "write every frame from the exchange, as received, on tapes in `DIR`: for replay and sim --tape")
	f.StringVar(&o.texts.recordSize, "record-size", "10GiB", "keep `SIZE` of tapes: the oldest leaves first")
	f.StringVar(&o.texts.level, "log-level", "info", "log from `LEVEL` up: debug, info, warn, error; of single targets from their own: info,store=debug")
	f.StringVar(&o.LogFormat, "log-format", "text", "log as `FORMAT`: text, json")
}

// parse turns the flags' texts into values, and refuses what cannot be.
func (o *serveOptions) parse() error {
	var err error
	if err = cmp.Or(checkHostPort("listen", o.Listen), checkAdmin(o.Admin)); err != nil {
		return err
	}
	if o.Intervals, err = parseIntervals(o.texts.intervals + "," + market.OneMinute.String()); err != nil {
		return fmt.Errorf("--intervals: %w", err)
	}
	if o.Retain, err = parseRetain(o.texts.retain, o.Intervals); err != nil {
		return err
	}
	o.texts.retain = retainList(o.Intervals, o.Retain)
	if o.Source, err = parseSource(o.texts.source); err != nil {
		return err
	}
	if o.Grace, err = parseGrace(o.texts.grace); err != nil {
		return err
	}
	if o.Settle = o.texts.settle == "on"; !o.Settle && o.texts.settle != "off" {
		return refused("settle", o.texts.settle)
	}
	if err := checkForward(o.Forward, o.Listen, o.Token != ""); err != nil {
		return err
	}
	if o.Token != "" {
		if o.token, err = readToken(o.Token); err != nil {
			return err
		}
	}
	if err := o.parseSizes(); err != nil {
		return err
	}
	if o.Symbols, err = parseSymbols(o.texts.symbols); err != nil {
		return err
	}
	if err := o.parseLevels(); err != nil {
		return err
	}
	if o.LogFormat != "text" && o.LogFormat != "json" {
		return refused("log-format", o.LogFormat)
	}
	if err := o.Proxy.check(); err != nil {
		return err
	}
	if err := errors.Join(checkREST(o.REST), checkURL("ws", o.WS, binance.DefaultWS, "ws wss"), checkArchive(o.Archive)); err != nil {
		return err
	}
	for _, n := range []struct {
		flag          string
		value, lo, hi int
	}{{"redundancy", o.Redundancy, 1, 4}, {"lanes", o.Lanes, 1, 64}, {"capacity", o.Capacity, 1, 64 * binance.MaxStreams}, {"rest-weight", o.RESTWeight, 20, 2400}, {"backfill", o.Backfill, 0, 1_000_000}} {
		if n.value < n.lo || n.value > n.hi {
			return fmt.Errorf("--%s %d: want %s", n.flag, n.value, takes[n.flag])
		}
	}
	if o.PushEvery < 10*time.Millisecond || o.PushEvery > time.Minute {
		return fmt.Errorf("--push-every %s: want %s", o.PushEvery, takes["push-every"])
	}
	return nil
}

// takes is what is allowed of the flags' values: errors say it, and klined help config.
var takes = map[string]string{
	"listen":      "HOST:PORT, like 127.0.0.1:8080",
	"admin":       "HOST:PORT of this machine, like 127.0.0.1:6060",
	"rest":        "an address like http://host:port or https://host",
	"ws":          "an address like ws://host:port or wss://host",
	"archive":     "an address like http://host:port or https://host",
	"source":      "aggTrade or trade",
	"redundancy":  "1 to 4",
	"lanes":       "1 to 64",
	"capacity":    "1 to 65536",
	"grace":       "auto, or a time from 10ms to 30s",
	"push-every":  "10ms to 1m",
	"settle":      "on or off",
	"backfill":    "0 to 1000000",
	"rest-weight": "20 to 2400",
	"forward":     "off, public or all",
	"proxy":       "socks5://HOST:PORT or http://HOST:PORT, USER:PASSWORD@ before HOST where asked for, an @ in it as %40",
	"window":      "0, or a size from 1MiB up, like 64MiB or 1GiB",
	"record-size": "a size from 64MiB up, like 10GiB",
	"log-level":   "debug, info, warn or error, and TARGET=LEVEL after commas",
	"log-format":  "text or json",
}

// refused is the error of a text that is not what a flag takes.
func refused(flag, text string) error {
	return fmt.Errorf("--%s %q: want %s", flag, text, takes[flag])
}

// checkHostPort refuses what is no address to listen on.
func checkHostPort(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return refused(flag, addr)
	}
	return nil
}

// checkForward refuses what is no mode of --forward. Requests with keys are passed on for who is on this machine, or has the token.
func checkForward(mode, listen string, token bool) error {
	switch mode {
	case forwardOff, forwardPublic:
		return nil
	case forwardAll:
	default:
		return refused("forward", mode)
	}
	if !token && !isLoopback(listen) {
		return fmt.Errorf("--forward %s with --listen %s: requests with keys are passed on only where --listen is a loopback address, like 127.0.0.1:8080, or with --token", mode, listen)
	}
	return nil
}

// checkURL refuses an address without one of the schemes or without a host, and one that is known to be something else than usual.
func checkURL(flag, text, usual, schemes string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !slices.Contains(strings.Fields(schemes), u.Scheme) {
		return refused(flag, text)
	}
	if err := binance.CheckAddress(usual, text); err != nil {
		return fmt.Errorf("--%s %q: %w", flag, text, err)
	}
	return nil
}

func checkREST(text string) error {
	return checkURL("rest", text, binance.DefaultREST, "http https")
}

func checkArchive(text string) error {
	return checkURL("archive", text, binance.DefaultArchive, "http https")
}

// parseSource reads the name of a source.
func parseSource(name string) (market.Source, error) {
	for _, s := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, refused("source", name)
}

// parseGrace reads a time, or auto, which is 0.
func parseGrace(text string) (time.Duration, error) {
	if text == "auto" {
		return 0, nil
	}
	grace, err := time.ParseDuration(text)
	if err != nil || grace < 10*time.Millisecond || grace > 30*time.Second {
		return 0, refused("grace", text)
	}
	return grace, nil
}

// parseSizes reads what memory and disk may be taken.
func (o *serveOptions) parseSizes() (err error) {
	if o.Window, err = parseSize("window", o.texts.window, leastWindow, true); err != nil {
		return err
	}
	o.RecordSize, err = parseSize("record-size", o.texts.recordSize, leastRecord, false)
	return err
}

// leastWindow holds a few series: what is less than one could keep nothing.
const leastWindow = 1 << 20

// parseSize reads a flag's size, of so much at least; and 0 where none is a choice.
func parseSize(flag, text string, least uint64, none bool) (int64, error) {
	size, err := humanize.ParseBytes(text)
	if err != nil || size < least && !(none && size == 0) || size > math.MaxInt64/2 {
		return 0, refused(flag, text)
	}
	return int64(size), nil
}

// parseSymbols reads a comma list of names; of all there are, it is nil.
func parseSymbols(list string) ([]string, error) {
	if list == "all" {
		return nil, nil
	}
	names := strings.FieldsFunc(strings.ToUpper(list), func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 {
		return nil, fmt.Errorf("--symbols %q names no symbol", list)
	}
	return names, nil
}

// parseIntervals reads a comma list, sorts it and drops what is named twice.
func parseIntervals(list string) ([]market.Interval, error) {
	var ivs []market.Interval
	for name := range strings.SplitSeq(list, ",") {
		iv, err := market.ParseInterval(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		ivs = append(ivs, iv)
	}
	slices.Sort(ivs)
	return slices.Compact(ivs), nil
}

// intervalList is the comma list of intervals.
func intervalList(ivs []market.Interval) string {
	names := make([]string, len(ivs))
	for i, iv := range ivs {
		names[i] = iv.String()
	}
	return strings.Join(names, ",")
}
