package sim

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// dayWire is an element of the answer for 24 hours.
type dayWire struct {
	Symbol             string
	OpenTime           market.Time
	CloseTime          market.Time
	OpenPrice          string
	HighPrice          string
	LowPrice           string
	LastPrice          string
	LastQty            string
	PriceChange        string
	PriceChangePercent string
	WeightedAvgPrice   string
	Volume             string
	QuoteVolume        string
	FirstID            int64
	LastID             int64
	Count              int64
}

// TestDayTicker: the 24 hours of every symbol are those of its own klines, to the digit, whether their trades are drawn or
// happened; one asked for alone is the one in the list, and the list has what trades.
func TestDayTicker(t *testing.T) {
	for live, rate := range map[time.Duration]float64{95 * time.Second: 40, 25 * time.Hour: 1} {
		t.Run(live.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newExchange(t, Options{Symbols: 3, Rate: rate, Seed: 3})
				time.Sleep(live)
				var rows []dayWire
				read(t, e, "/fapi/v1/ticker/24hr", &rows)
				if len(rows) != 7 { // with the quarterly contracts
					t.Fatalf("%d symbols trade", len(rows))
				}
				for _, row := range rows {
					var one dayWire
					read(t, e, "/fapi/v1/ticker/24hr?symbol="+strings.ToLower(row.Symbol), &one)
					same(t, row.Symbol+" alone", one, row)
					truth, err := e.Truth(row.Symbol, "1m", row.OpenTime, row.CloseTime)
					if err != nil {
						t.Fatal(err)
					}
					checkDay(t, &row, truth, e.Now())
				}
			})
		})
	}
}

// read asks an exchange that nobody runs.
func read(t *testing.T, e *Exchange, path string, into any) {
	t.Helper()
	rec := httptest.NewRecorder()
	e.Handler().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	if err := json.Unmarshal(rec.Body.Bytes(), into); rec.Code != http.StatusOK || err != nil {
		t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
}

// checkDay holds 24 hours against the minutes of that time.
func checkDay(t *testing.T, day *dayWire, truth []byte, now market.Time) {
	t.Helper()
	var minutes [][]any
	if err := json.Unmarshal(truth, &minutes); err != nil {
		t.Fatal(err)
	}
	var first, last, volume, quote = "", "", new(big.Rat), new(big.Rat)
	high, low, count := new(big.Rat), new(big.Rat), int64(0)
	for _, m := range minutes {
		if m[8].(float64) == 0 {
			continue
		}
		if last = m[4].(string); first == "" {
			first = m[1].(string)
			low = number10(m[3])
		}
		if h := number10(m[2]); h.Cmp(high) > 0 {
			high = h
		}
		if l := number10(m[3]); l.Cmp(low) < 0 {
			low = l
		}
		volume.Add(volume, number10(m[5]))
		quote.Add(quote, number10(m[7]))
		count += int64(m[8].(float64))
	}
	digits := len(last) - 1 - strings.Index(last, ".")
	change := new(big.Rat).Sub(number10(last), number10(first))
	share := new(big.Rat).Quo(new(big.Rat).Mul(change, big.NewRat(100, 1)), number10(first))
	got := *day
	got.Symbol, got.LastQty, got.CloseTime, got.FirstID, got.LastID = "", "", 0, 0, 0
	same(t, day.Symbol, got, dayWire{
		OpenTime: now - now%market.Minute - market.Day, OpenPrice: first, LastPrice: last,
		HighPrice: high.FloatString(digits), LowPrice: low.FloatString(digits), PriceChange: change.FloatString(digits),
		PriceChangePercent: share.FloatString(3), WeightedAvgPrice: new(big.Rat).Quo(quote, volume).FloatString(digits),
		Volume: got.Volume, QuoteVolume: quote.FloatString(digits), Count: count,
	})
	if number10(day.Volume).Cmp(volume) != 0 {
		t.Errorf("%s: volume %s, want %s", day.Symbol, day.Volume, volume.FloatString(8))
	}
	if ids := day.LastID - day.FirstID + 1; day.FirstID < 1 || ids < count || number10(day.LastQty).Sign() <= 0 || day.CloseTime > now {
		t.Errorf("%+v: %d ids", *day, ids)
	}
}

func number10(text any) *big.Rat {
	n, _ := new(big.Rat).SetString(text.(string))
	return n
}

// TestTickersAgree: what is told of a moment in several ways is the same.
func TestTickersAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExchange(t, Options{Symbols: 6, Rate: 1, Seed: 3})
		time.Sleep(9 * time.Hour)
		var best []struct {
			Symbol                             string
			BidPrice, BidQty, AskPrice, AskQty string
			Time                               market.Time
			LastUpdateID                       int64
		}
		read(t, e, "/fapi/v1/ticker/bookTicker", &best)
		for _, b := range best {
			var book struct {
				LastUpdateID int64
				Bids, Asks   [][2]string
			}
			var latest struct{ Price string }
			read(t, e, "/fapi/v1/depth?limit=5&symbol="+b.Symbol, &book)
			read(t, e, "/fapi/v1/ticker/price?symbol="+b.Symbol, &latest)
			same(t, b.Symbol, fmt.Sprint(book.LastUpdateID, book.Bids[0], book.Asks[0]), fmt.Sprint(b.LastUpdateID, [2]string{b.BidPrice, b.BidQty}, [2]string{b.AskPrice, b.AskQty}))
			if b.BidPrice == b.AskPrice || latest.Price != b.BidPrice && latest.Price != b.AskPrice {
				t.Errorf("%+v at a price of %s", b, latest.Price)
			}
		}
		var marks, bounds []struct{ Symbol, MarkPrice string }
		read(t, e, "/fapi/v1/premiumIndex", &marks)
		read(t, e, "/fapi/v1/fundingInfo", &bounds)
		same(t, "of all symbols, of those that trade, of perpetuals", fmt.Sprint(len(marks), len(best), len(bounds)), "13 10 9")

		var paid []struct {
			FundingTime market.Time
			MarkPrice   string
		}
		var mark, klines [][]any
		read(t, e, "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=3", &paid)
		read(t, e, fmt.Sprintf("/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=8h&startTime=%d", paid[0].FundingTime), &mark)
		read(t, e, fmt.Sprintf("/fapi/v1/klines?symbol=BTCUSDT&interval=8h&startTime=%d", paid[0].FundingTime), &klines)
		same(t, "how many", fmt.Sprint(len(paid), len(mark), len(klines)), "3 3 3")
		for i, p := range paid {
			same(t, "paid at", int64(mark[i][0].(float64)), int64(p.FundingTime))
			same(t, "the price then", mark[i][1].(string), p.MarkPrice)
			same(t, "and of the market", mark[i][1].(string), klines[i][1].(string)+"000000")
		}
	})
}
