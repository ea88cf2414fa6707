package binance

import (
	"fmt"
	"testing"

	"klined/market"
)

func TestSniffArchive(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker", "aggTrade header"},
		{"aggTradeId,Price,Quantity,First tradeId,Last tradeId,Timestamp,Was the buyer the maker", "aggTrade header"},
		{"id,price,qty,quote_qty,time,is_buyer_maker", "trade header"},
		{"id,price,qty,quoteQty,time,isBuyerMaker", "trade header"},
		{"trade Id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch", "trade header"},
		{"3449899747,78153.0,0.001,8078264332,8078264332,1789430400003,false", "aggTrade"},
		{"3449899747,78153.0,0.001,8078264332,8078264332,1789430400003000,False,True", "aggTrade"},
		{"307064552,18319.33,0.105,1923.52,1607472000428,0", "trade"},
		{"307064552,18319.33,0.105,1923.52,1607472000428000,False,True", "trade"},

		{"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore", "none"},
		{"1607471940000,18314.00,18328.63,18313.13,18319.32,143.513,1607471999999,2629533.95113,730,75.578,1384821.22451,0", "none"},
		{"id,price,qty,quote_qty,time", "none"},
		{"id,cost,qty,quote_qty,time,is_buyer_maker", "none"},
		{"agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time", "none"},
		{`{"e":"aggTrade","E":1,"a":2,"s":"A","p":"1","q":"2"}`, "none"},
		{`1721347021434 {"e":"markPriceUpdate","E":1,"s":"A","p":"1","P":"1","i":"1","r":"0","T":2}`, "none"},
		{`1721347021.434: {"u":1,"s":"A","b":"1","B":"2","a":"3","A":"4"}`, "none"},
		{"1,,3,4,5,6", "none"},
		{",,,,,", "none"},
		{"", "none"},
	} {
		a, header := SniffArchive([]byte(c.line))
		got := "none"
		if a != nil {
			got = a.Source.String()
		}
		if header {
			got += " header"
		}
		if got != c.want {
			t.Errorf("%q is %s, want %s", c.line, got, c.want)
		}
	}
}

func TestArchiveRow(t *testing.T) {
	agg, _ := SniffArchive([]byte("1,1,1,1,1,5,true"))
	trade, _ := SniffArchive([]byte("1,1,1,1,1,true"))
	for _, c := range []struct {
		a         *ArchiveTrades
		row, want string
	}{
		{agg, "3449899748,78152.9,0.148,8078264333,8078264336,1789430400006,true", "{3449899748 8078264333 8078264336 78152.9 0.148 2026-09-15T00:00:00.006Z 0 false} <nil>"},
		{agg, "1,2.50,0,3,3,1577836860000123,False", "{1 3 3 2.5 0 2020-01-01T00:01:00.000Z 0 true} <nil>"},
		{trade, "307064552,18319.33,0.105,1923.52,1607472000428,0", "{307064552 307064552 307064552 18319.33 0.105 2020-12-09T00:00:00.428Z 0 true} <nil>"},
		{trade, "1,0,0,0,5,1", "{1 1 1 0 0 1970-01-01T00:00:00.005Z 0 false} <nil>"},
		{trade, "-1,1,1,1,5,1", `id "-1": invalid syntax`},
		{trade, "9223372036854775808,1,1,1,5,1", `id "9223372036854775808": value out of range`},
		{trade, "1,92233720369,1,1,5,1", `price "92233720369": number beyond the bound`},
		{trade, "1,9.31E-6,1.0E7,93.1,5,1", "{1 1 1 0.00000931 10000000 1970-01-01T00:00:00.005Z 0 false} <nil>"},
		{trade, "1,1,1e-9,1,5,1", `quantity "1e-9": more decimals than can be kept`},
		{trade, "1,1,1e2.5,1,5,1", `quantity "1e2.5": not a decimal number`},
		{trade, "1,1,1,1,5.5,1", `time "5.5": invalid syntax`},
		{trade, "1,1,1,1,5,yes", `is_buyer_maker "yes": want true or false`},
		{trade, "1,0,1,1,5,1", market.ErrPrice.Error()},
		{trade, "1,1,1,1,5,1,true", `wrong number of columns, want 6: "1,1,1,1,5,1,true"`},
		{agg, "5,1,1,9,8,5,1", market.ErrIDs.Error()},
		{agg, "5,1,1,8,x,5,1", `last id "x": invalid syntax`},
	} {
		var tr market.Trade
		err := c.a.Row([]byte(c.row), &tr)
		got := fmt.Sprint(tr, " ", err)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.row, got, c.want)
		}
	}
	if agg.PriceDigits != 2 || agg.QtyDigits != 3 || trade.PriceDigits != 8 || trade.QtyDigits != 3 {
		t.Errorf("digits: %+v, %+v", agg, trade)
	}
}

// TestWithoutExponent: floats as Java, Python, Go and C write them.
func TestWithoutExponent(t *testing.T) {
	for _, c := range []struct{ number, want string }{
		{"1.0E-5", "0.00001"}, {"9.31E-6", "0.00000931"}, {"1e-05", "0.00001"}, {"1.5e-7", "0.00000015"}, {"0.0E0", "0"}, {"0e-8", "0"},
		{"1.0E7", "10000000"}, {"1.2345678E7", "12345678"}, {"1.23456789E7", "12345678.9"}, {"1e+16", "10000000000000000"}, {"12.5e0", "12.5"},
		{"120E-1", "12"}, {"10e-3", "0.01"}, {"1e31", ""}, {"1e-31", ""},
		{"1", ""}, {"e5", ""}, {".5e1", ""}, {"5.e1", ""}, {"1e", ""}, {"1e5.5", ""}, {"1e5e5", ""}, {"1e 5", ""}, {"", ""},
	} {
		if got := string(withoutExponent([]byte(c.number))); got != c.want {
			t.Errorf("%s is %q, want %q", c.number, got, c.want)
		}
	}
}

func TestArchiveRowAllocates(t *testing.T) {
	a, _ := SniffArchive([]byte("1,1,1,1,1,5,true"))
	row := []byte("3449899748,78152.9,0.148,8078264333,8078264336,1789430400006,true")
	var tr market.Trade
	if n := testing.AllocsPerRun(1000, func() { _ = a.Row(row, &tr) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

func TestWrittenDigits(t *testing.T) {
	for _, c := range []struct {
		frame      string
		price, qty int
	}{
		{`{"e":"aggTrade","s":"A","p":"83091.70","q":"0.100","nq":"0.1"}`, 2, 3},
		{`{"stream":"a@trade","data":{"p" : "5","q": "10"}}`, 0, 0},
		{`{"q":"1.5","p":"2.25"}`, 2, 1},
		{`{"p":1.5}`, 0, 0},
		{`{"p":"1.5`, 0, 0},
		{`{"p"`, 0, 0},
	} {
		if price, qty := WrittenDigits([]byte(c.frame)); price != c.price || qty != c.qty {
			t.Errorf("%s: %d and %d", c.frame, price, qty)
		}
	}
}

// FuzzArchive: whatever the lines are, a row that is taken can be summed.
func FuzzArchive(f *testing.F) {
	f.Add([]byte("1,1,1,1,1,5,true"), []byte("3449899748,78152.9,0.148,8078264333,8078264336,1789430400006,true"))
	f.Add([]byte("id,price,qty,quote_qty,time,is_buyer_maker"), []byte("1,0,0,0,5,1"))
	f.Fuzz(func(t *testing.T, first, row []byte) {
		a, _ := SniffArchive(first)
		if a == nil {
			return
		}
		var tr market.Trade
		if err := a.Row(row, &tr); err == nil && (tr.Check() != nil || tr.LastID < tr.FirstID) {
			t.Fatalf("%q is %+v", row, tr)
		}
	})
}

// BenchmarkArchiveRow carries one row of today's aggTrades.
func BenchmarkArchiveRow(b *testing.B) {
	a, _ := SniffArchive([]byte("1,1,1,1,1,5,true"))
	row := []byte("3449899748,78152.9,0.148,8078264333,8078264336,1789430400006,true")
	var tr market.Trade
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Row(row, &tr); err != nil {
			b.Fatal(err)
		}
	}
}
