package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"klined/binance"
	"klined/feed"
	"klined/market"
	"klined/sim"
)

// TestListerOdd: what is listed oddly is named and hurts nobody else. A symbol that is carried neither ends nor vanishes by it, but
// ends where the exchange says so.
func TestListerOdd(t *testing.T) {
	bubbled(t, func(t *testing.T, x *listed) {
		odd := func(name, contract, status string) binance.Odd {
			return binance.Odd{Listing: binance.Listing{Name: name, ContractType: contract, Status: status}, Why: errors.New("9 decimals")}
		}
		x.oddly = []binance.Odd{odd("BADUSDT", "PERPETUAL", "TRADING"), odd("row 7", "", ""), odd("DATED_270326", "CURRENT_QUARTER", "TRADING"), odd("OMGUSDT", "PERPETUAL", "SETTLING")}
		x.set("CUSDT", func(*binance.Listing) {})
		x.after(3*time.Minute+time.Second, 1, "add 2 CUSDT first=false", "listed")
		if why := x.fails(); why != "2 symbols are not carried, BADUSDT first: 9 decimals" || x.serves(3) {
			t.Error(why)
		}

		all := slices.Clone(x.exchange)
		x.exchange, x.oddly = slices.Delete(x.exchange, 1, 2), []binance.Odd{odd("BUSDT", "PERPETUAL", "TRADING")}
		x.after(30*time.Minute, 10)
		sym := x.symbols.Get(1)
		if c := x.contract(1); !c.carried || c.ended || sym.PriceDigits != 2 || sym.QtyDigits != 3 || x.fails() != "" {
			t.Errorf("%+v, %+v, %s", c, sym, x.fails())
		}
		if n := strings.Count(x.logged.String(), "go on with the digits they had"); n < 3 || n > 4 || !strings.Contains(x.logged.String(), "symbols=[BUSDT]") {
			t.Errorf("said %d times in half an hour: %s", n, &x.logged)
		}
		x.oddly[0].Status = "SETTLING"
		x.after(3*time.Minute+30*time.Second, 2, "end 1")
		x.exchange, x.oddly = slices.Concat(all, []binance.Listing{perpetualOf("BADUSDT")}), nil
		x.after(3*time.Minute, 1, "add 1 BUSDT first=false", "add 3 BADUSDT first=false", "listed")
	})
}

// oddly is the exchange's REST, but that exchangeInfo begins with BADUSDT, and writes its and other symbols' prices with 9 decimals.
type oddly struct {
	http.Handler
	other atomic.Value // a symbol's name
}

func (f *oddly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/exchangeInfo") {
		f.Handler.ServeHTTP(w, r)
		return
	}
	r.Header.Del("Accept-Encoding")
	rec := httptest.NewRecorder()
	f.Handler.ServeHTTP(rec, r)
	var list map[string]json.RawMessage
	var symbols []map[string]any
	if json.Unmarshal(rec.Body.Bytes(), &list) != nil || json.Unmarshal(list["symbols"], &symbols) != nil {
		http.Error(w, rec.Body.String(), http.StatusInternalServerError)
		return
	}
	bad := maps.Clone(symbols[0])
	bad["symbol"] = "BADUSDT"
	symbols = append([]map[string]any{bad}, symbols...)
	for _, row := range symbols {
		if row["symbol"] == "BADUSDT" || row["symbol"] == f.other.Load() {
			row["pricePrecision"] = 9
		}
	}
	list["symbols"], _ = json.Marshal(symbols)
	_ = json.NewEncoder(w).Encode(list)
}

// TestOddlyListed: a symbol that is written with more decimals than klined keeps stops neither a start nor what is listed after it,
// and one that is carried when that comes over it is carried on, over a restart too.
func TestOddlyListed(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:57:20Z")
		m := &fakeMarket{}
		m.launch(t, sim.Options{Symbols: 4, Rate: 6, Seed: 7, Start: start}, options(t, market.SourceAggTrade, market.OneMinute, 3*market.OneMinute))
		front := &oddly{Handler: m.x.Handler()}
		listener, err := m.net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		rest := &http.Server{Handler: front, ReadHeaderTimeout: time.Minute}
		stopped := background(func(ctx context.Context) error { return rest.Serve(listener) })
		defer func() { _ = rest.Close(); _ = stopped() }()
		m.options.REST = "http://" + listener.Addr().String()
		m.startServer()
		defer m.end()

		names, err := m.judge.symbols()
		if err != nil || len(names) != 5 || names[0] != "BADUSDT" {
			t.Fatal(names, err)
		}
		names = append(names[1:], late)
		whole := func(when string) {
			t.Helper()
			for _, name := range names {
				if st := m.stands(name); st.State != feed.Whole || st.Gaps > 0 {
					t.Errorf("%s: %s: %+v", when, name, st)
				}
			}
			if st := m.stands("BADUSDT"); st.Symbol != "" {
				t.Errorf("%s: %+v", when, st)
			}
			health, err := m.judge.get(m.judge.server, "/healthz", nil)
			if want := "BADUSDT is not carried: its prices and quantities are written with 9 and "; err != nil || !strings.Contains(string(health), want) {
				t.Errorf("%s: %s, %v", when, health, err)
			}
		}
		m.until(start.Add(90 * time.Second))
		m.fault(sim.Fault{Kind: sim.FaultList, Symbol: late})
		front.other.Store(names[1])
		m.until(start.Add(3*time.Minute + vanishedFor + listEvery))
		whole("after a listing")
		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		past := &pastMarket{t: t}
		past.with("--dir", m.options.Dir, "--rest", m.options.REST, "--intervals", "1m", "--from", "2027-01-05T09:00:00Z", "--to", "2027-01-05T09:10:00Z")
		var told strings.Builder
		if err := backfill(t.Context(), &past.o, m.options.REST, network{Dial: m.net.Dial}, io.Discard, &told); err != nil ||
			!strings.Contains(told.String(), "symbols=[BADUSDT]") || !strings.Contains(told.String(), "symbols=["+names[1]+"]") {
			t.Errorf("backfill: %v, %s", err, &told)
		}
		past.o.symbols = []string{"BADUSDT"}
		m.options.Symbols = []string{names[1], "BADUSDT"}
		for what, err := range map[string]error{
			"backfill": backfill(t.Context(), &past.o, m.options.REST, network{Dial: m.net.Dial}, io.Discard, io.Discard), "serve": m.tryServer(),
		} {
			if err == nil || !strings.Contains(err.Error(), "symbol BADUSDT: cannot be carried as the exchange lists it: its prices") {
				t.Errorf("%s of it alone: %v", what, err)
			}
		}

		m.options.Symbols = nil
		m.startServer()
		end := m.x.Now() + 2*market.Minute
		m.until(end.Add(10 * time.Second))
		whole("after a restart")
		m.exact(names, start, end)
	})
}
