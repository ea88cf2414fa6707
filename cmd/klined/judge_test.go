package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"klined/feed"
	"klined/fixed"
	"klined/market"
	"klined/store"
)

// judge compares what a server says with the truth of the simulated exchange behind it.
type judge struct {
	server, exchange string // http://host:port
	network          network
	client           *http.Client
}

func newJudge(server, exchange string, n network) *judge {
	return &judge{server: server, exchange: exchange, network: n, client: n.client()}
}

// get answers the body of a GET, which must succeed.
func (j *judge) get(base, path string, q url.Values) ([]byte, error) {
	resp, err := j.client.Get(base + path + "?" + q.Encode())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s?%s: %s: %s", path, q.Encode(), resp.Status, body)
	}
	return body, err
}

// symbols are those that the server carries: the exchange's perpetuals that trade.
func (j *judge) symbols() ([]string, error) {
	body, err := j.get(j.server, "/fapi/v1/exchangeInfo", nil)
	if err != nil {
		return nil, err
	}
	var info struct {
		Symbols []struct{ Symbol, ContractType, Status string }
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range info.Symbols {
		if strings.HasSuffix(s.ContractType, "PERPETUAL") && (s.Status == "TRADING" || s.Status == "PENDING_TRADING") {
			names = append(names, s.Symbol)
		}
	}
	return names, nil
}

// own reads what the server says of itself at a path.
func (j *judge) own(path string, v any) error {
	body, err := j.get(j.server, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// wrong is a symbol that is not whole, or of which a kline of the last minutes carries the mark, and why; empty where
// there is none.
func (j *judge) wrong(symbols []string) (string, error) {
	var all []standing
	if err := j.own("/klined/v1/symbols", &all); err != nil {
		return "", err
	}
	for _, s := range all {
		if !slices.Contains(symbols, s.Symbol) {
			continue
		}
		resp, err := j.client.Get(fmt.Sprintf("%s/fapi/v1/klines?symbol=%s&interval=1m&limit=20", j.server, s.Symbol))
		if err != nil {
			return "", err
		}
		resp.Body.Close()
		if state := resp.Header.Get("X-Klined-State"); s.State != feed.Whole || s.Gaps > 0 || !strings.Contains(state, "gap=0") {
			return fmt.Sprintf("%s is %s, %s: %s", s.Symbol, s.State, state, s.Reason), nil
		}
	}
	return "", nil
}

// row is one kline as REST gives it: its open time, and the nine values behind it as they were written.
type row struct {
	open                    market.Time
	o, h, l, c              string
	volume, quote           string
	count                   string
	takerVolume, takerQuote string
}

// values are the nine, as text.
func (r row) values() string {
	return strings.Join([]string{r.o, r.h, r.l, r.c, r.volume, r.quote, r.count, r.takerVolume, r.takerQuote}, " ")
}

// rows reads the klines of [from, to) that a source gives: the server's, or the truth.
func (j *judge) rows(base, path, symbol string, iv market.Interval, from, to market.Time) ([]row, error) {
	q := url.Values{"symbol": {symbol}, "interval": {iv.String()}, "limit": {"1500"},
		"startTime": {fmt.Sprint(int64(from))}, "endTime": {fmt.Sprint(int64(to - 1))}}
	body, err := j.get(base, path, q)
	if err != nil {
		return nil, err
	}
	return parseRows(body)
}

func parseRows(body []byte) ([]row, error) {
	text := string(bytes.TrimSpace(body))
	inner, begun := strings.CutPrefix(text, "[[")
	inner, ended := strings.CutSuffix(inner, "]]")
	switch {
	case text == "[]":
		return nil, nil
	case !begun || !ended || !json.Valid(body):
		return nil, fmt.Errorf("no klines: %s", body)
	}
	rows := make([]row, 0, strings.Count(inner, "],[")+1)
	for kline := range strings.SplitSeq(inner, "],[") {
		f := strings.Split(kline, ",")
		if len(f) != 12 {
			return nil, fmt.Errorf("a kline of %d values: %s", len(f), kline)
		}
		open, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return nil, err
		}
		value := func(n int) string { return strings.Trim(f[n], `"`) }
		rows = append(rows, row{market.Time(open), value(1), value(2), value(3), value(4), value(5), value(7), value(8), value(9), value(10)})
	}
	return rows, nil
}

func (j *judge) ours(symbol string, iv market.Interval, from, to market.Time) ([]row, error) {
	return j.rows(j.server, "/fapi/v1/klines", symbol, iv, from, to)
}

func (j *judge) truth(symbol string, iv market.Interval, from, to market.Time) ([]row, error) {
	return j.rows(j.exchange, "/sim/truth", symbol, iv, from, to)
}

// verdict counts what was compared.
type verdict struct {
	klines     int
	equal      int
	explained  int      // different, and shown to be what a straddling aggTrade or burnt ids make of it
	wrong      []string // different for no such reason; the first ones
	wrongCount int
}

func (v *verdict) String() string {
	return fmt.Sprintf("%d klines: %d equal, %d explained, %d wrong", v.klines, v.equal, v.explained, v.wrongCount)
}

func (v *verdict) blame(format string, args ...any) {
	if v.wrongCount++; len(v.wrong) < 10 {
		v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
	}
}

// series is the klines of a symbol, by its name.
type series struct {
	symbol string
	iv     market.Interval
}

// closes are all series of symbols and intervals, each with the open times of its klines that closed within [from, to]; one
// that was running at from is among them.
func closes(symbols []string, ivs []market.Interval, from, to market.Time) iter.Seq2[series, market.Span] {
	return func(yield func(series, market.Span) bool) {
		for _, symbol := range symbols {
			for _, iv := range ivs {
				span := market.Span{From: iv.Open(from), To: iv.Open(to)}
				if iv < market.OneMinute {
					span.From = iv.Ceil(from)
				}
				if !span.Empty() && !yield(series{symbol, iv}, span) {
					return
				}
			}
		}
	}
}

// compare judges every kline of every symbol and interval that closed within [from, to]. With explain, a difference must be
// exactly what aggTrades make of it.
func (j *judge) compare(symbols []string, ivs []market.Interval, from, to market.Time, explain bool) (*verdict, error) {
	v := &verdict{}
	for s, span := range closes(symbols, ivs, from, to) {
		if err := j.compareSeries(v, s.symbol, s.iv, span, from, explain); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (j *judge) compareSeries(v *verdict, symbol string, iv market.Interval, span market.Span, first market.Time, explain bool) error {
	ours, err := j.ours(symbol, iv, span.From, span.To)
	if err != nil {
		return err
	}
	truth, err := j.truth(symbol, iv, span.From, span.To)
	if err != nil {
		return err
	}
	if len(ours) != len(truth) {
		v.blame("%s %s %s…%s: %d klines, want %d", symbol, iv, span.From, span.To, len(ours), len(truth))
	}
	var d *deviations
	for i := range min(len(ours), len(truth)) {
		v.klines++
		if ours[i] == truth[i] {
			v.equal++
			continue
		}
		if explain && d == nil {
			if d, err = j.deviations(symbol, iv, first-market.Minute, span.To); err != nil {
				return err
			}
		}
		if explain && d.explain(iv, first, ours[i], truth[i]) {
			v.explained++
			continue
		}
		v.blame("%s %s %s:\n  ours  %s\n  truth %s", symbol, iv, truth[i].open, ours[i].values(), truth[i].values())
	}
	return nil
}

// each judges every kline that closed within [from, to] by what another source has of it.
func (j *judge) each(symbols []string, ivs []market.Interval, from, to market.Time, have func(string, market.Interval, row) (row, bool)) (*verdict, error) {
	v := &verdict{}
	for s, span := range closes(symbols, ivs, from, to) {
		truth, err := j.truth(s.symbol, s.iv, span.From, span.To)
		if err != nil {
			return nil, err
		}
		for _, t := range truth {
			v.klines++
			switch got, ok := have(s.symbol, s.iv, t); {
			case !ok:
				v.blame("%s %s %s is not there", s.symbol, s.iv, t.open)
			case got != t:
				v.blame("%s %s %s:\n  ours  %s\n  truth %s", s.symbol, s.iv, t.open, got.values(), t.values())
			default:
				v.equal++
			}
		}
	}
	return v, nil
}

// stored judges the klines in the store of a server that has stopped. Where the server was restarted, the store may lack
// klines of around that time, if it knows that it does.
func (j *judge) stored(o serveOptions, symbols []string, from, to market.Time, restarted bool) (*verdict, error) {
	st, err := store.Open(store.Options{Dir: o.Dir, Intervals: o.Intervals, Source: o.Source})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	byName := map[string]market.Symbol{}
	for _, s := range st.Symbols() {
		byName[s.Name] = s
	}
	var failed error
	v, err := j.each(symbols, o.Intervals, from, to, func(name string, iv market.Interval, truth row) (row, bool) {
		symbol := byName[name]
		span := market.Span{From: truth.open, To: iv.Next(truth.open)}
		rows, missing, readErr := st.Read(context.Background(), market.Series{Symbol: symbol.ID, Interval: iv}, span)
		failed = errors.Join(failed, readErr)
		switch {
		case len(rows) == 1 && (!rows[0].Gap || !restarted):
			return rowOf(&rows[0], symbol), true
		case len(missing) == 1 && restarted:
			return truth, true
		}
		return row{}, false
	})
	return v, errors.Join(err, failed)
}

// rowOf is a kline as REST writes it.
func rowOf(k *market.Kline, s market.Symbol) row {
	price := func(v fixed.Value) string { return string(v.Append(nil, s.PriceDigits)) }
	qty := func(v fixed.Sum) string { return string(v.Append(nil, s.QtyDigits)) }
	quote := func(v fixed.Sum) string { return string(v.Append(nil, s.PriceDigits+s.QtyDigits)) }
	return row{k.OpenTime, price(k.Open), price(k.High), price(k.Low), price(k.Close), qty(k.Volume), quote(k.QuoteVolume),
		fmt.Sprint(k.TradeCount), qty(k.TakerBuyVolume), quote(k.TakerBuyQuoteVolume)}
}
