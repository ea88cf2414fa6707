package binance

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"klined/fixed"
	"klined/market"
)

// zipWith is a zip file of files, each its name and what is in it.
func zipWith(t testing.TB, files ...string) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for i := 0; i < len(files); i += 2 {
		f, err := z.Create(files[i])
		if err == nil {
			_, err = io.WriteString(f, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// TestZipBombs: whatever a file of the archive claims, or inflates to, is refused for little memory.
func TestZipBombs(t *testing.T) {
	bomb := zipWith(t, "a.csv", strings.Repeat("0", 3*maxBody))
	lying := bytes.Clone(bomb) // of a size that would fit
	for _, signature := range []struct {
		text string
		at   int
	}{{"PK\x01\x02", 24}, {"PK\x07\x08", 12}} {
		i := bytes.LastIndex(lying, []byte(signature.text)) + signature.at
		copy(lying[i:], []byte{5, 0, 0, 0})
	}
	var many bytes.Buffer
	z := zip.NewWriter(&many)
	for i := range 50_000 {
		if _, err := z.CreateRaw(&zip.FileHeader{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	stored := wrongSumZip(t, "0,1")
	for _, c := range []struct {
		name   string
		packed []byte
		want   string
	}{
		{"48 MiB of the same", bomb, "more than 16777216 bytes"},
		{"that says it is 5 bytes", lying, "zip: not a valid zip file"},
		{"50,000 files", many.Bytes(), "50000 files in it, want one"},
		{"none", zipWith(t), "0 files in it, want one"},
		{"another sum", stored, "zip: checksum error"},
		{"cut", bomb[:len(bomb)/2], "zip: not a valid zip file"},
		{"no zip", []byte("<html>"), "zip: not a valid zip file"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		text, err := unzip(c.packed)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d bytes, %v, want %q", c.name, len(text), err, c.want)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 6*maxBody {
			t.Errorf("%s takes %d MiB", c.name, used>>20)
		}
	}
	nested, err := unzip(zipWith(t, "a.zip", string(bomb)))
	if err != nil || !bytes.Equal(nested, bomb) {
		t.Errorf("a zip within a zip is what is in it, and no more: %v", err)
	}
	rows, faults := archiveKlines(nested, market.OneMinute, market.Span{From: 0, To: market.OneMinute.Next(0)})
	if len(rows) != 0 || faults.unreadable == 0 {
		t.Errorf("%d klines of what is none, %+v", len(rows), faults)
	}
}

// wrongSumZip is a zip file of one that is stored, with a sum that is not its own.
func wrongSumZip(t *testing.T, text string) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	f, err := z.CreateRaw(&zip.FileHeader{Name: "a.csv", CRC32: crc32.ChecksumIEEE([]byte(text)) + 1, CompressedSize64: uint64(len(text)), UncompressedSize64: uint64(len(text))})
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// FuzzUnzip: what comes out of a file is what another reader finds in it, and no more than fits.
func FuzzUnzip(f *testing.F) {
	f.Add(zipWith(f, "a.csv", "open_time,open\n1,2\n"))
	f.Add(zipWith(f, "a.csv", strings.Repeat("1789430400006,78152.9\n", 400)))
	f.Add(zipWith(f, "a", "", "b", ""))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, packed []byte) {
		text, err := unzip(packed)
		if err != nil {
			return
		}
		z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
		if err != nil || len(z.File) != 1 || uint64(len(text)) != z.File[0].UncompressedSize64 || crc32.ChecksumIEEE(text) != z.File[0].CRC32 && z.File[0].CRC32 != 0 {
			t.Errorf("%x: %d bytes: %v", packed, len(text), err)
		}
		rows, _ := archiveKlines(text, market.OneMinute, market.Span{From: 0, To: market.Time(time.Now().UnixMilli())})
		for i := range rows {
			if i > 0 && rows[i].OpenTime <= rows[i-1].OpenTime || rows[i].OpenTime != market.OneMinute.Open(rows[i].OpenTime) {
				t.Errorf("%x: klines out of order", packed)
			}
		}
	})
}

// FuzzInfo: what is taken of the exchange's symbols has a name, and digits that a number can be written with.
func FuzzInfo(f *testing.F) {
	f.Add([]byte(`{"timezone":"UTC","symbols":[{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL","onboardDate":1567965300000,"status":"TRADING","pricePrecision":2,"quantityPrecision":3}]}`))
	f.Add([]byte(`{"symbols":[{"symbol":"A","pricePrecision":1000000000}]}`))
	f.Add([]byte(`{"symbol":"A","quantityPrecision":-1}`))
	f.Add([]byte(`{"symbols":[{}]}`))
	f.Add([]byte(`{"symbols":[{"symbol":"A"},{"symbol":"B","pricePrecision":9},{"symbol":"C","status":7},null,8]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		info, err := ParseExchangeInfo(body)
		if err != nil {
			return
		}
		if len(info.Listings) == 0 || !json.Valid(body) {
			t.Errorf("%q: %d symbols", body, len(info.Listings))
		}
		for _, l := range info.Listings {
			if !isSymbolName(l.Name) || l.PriceDigits < 0 || l.PriceDigits > fixed.Digits || l.QtyDigits < 0 || l.QtyDigits > fixed.Digits {
				t.Errorf("%q: %+v", body, l)
			}
		}
		for _, o := range info.Odd {
			if o.Why == nil || o.Name == "" || len(o.Name) > maxSymbolName || o.PriceDigits != 0 || o.QtyDigits != 0 {
				t.Errorf("%q: %+v", body, o)
			}
		}
	})
}

// FuzzAnswer: only the answer to what was asked, without an error in it, has streams acknowledged.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"result":null,"id":1}`, `{"error":{"code":4,"msg":"Too many subscriptions"},"id":1}`, `{"id":2}`, `{"result":[],"id":"1"}`, `{"id":-1}`,
		`{"id":1,"error":{}}`, `{"ID":1}`, `[]`, `null`, `{"id":1,"id":7}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newSubscriptions()
		if err := s.begin([]string{"btcusdt@aggTrade"}, false); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		s.next(now)
		err := s.answer(text)
		ready, overdue := s.state(now)
		var said struct {
			ID    uint64
			Error json.RawMessage
		}
		bad := json.Unmarshal(text, &said)
		if ready != (err == nil && bad == nil && said.ID == 1) || overdue != nil || err == nil && len(said.Error) > 0 && string(said.Error) != "null" {
			t.Errorf("%q: ready %v, %v", text, ready, err)
		}
		if err == nil && !json.Valid(text) {
			t.Errorf("%q is taken", text)
		}
	})
}
