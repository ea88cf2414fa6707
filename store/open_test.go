package store

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"klined/market"
)

// TestOpenRefuses: each directory that cannot be a store, and the one line that says so. Check knows it before.
func TestOpenRefuses(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string // DIR stands for the directory
	}{
		{"a file where the directory should be", func(t *testing.T, dir string) { writeFile(t, dir, "") }, "store DIR: mkdir DIR: not a directory"},
		{"locked", func(t *testing.T, dir string) { openTest(t, dir) }, fmt.Sprintf("store DIR: in use by process %d", os.Getpid())},
		{"not a database", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, databaseFile), strings.Repeat("no database ", 100))
		}, "store DIR: cannot open DIR/klines.sqlite: file is not a database (26)"},
		{"a newer schema", func(t *testing.T, dir string) { execOn(t, dir, "PRAGMA user_version = 7") },
			"store DIR: cannot open DIR/klines.sqlite: schema version 7 is newer than this program's 4"},
		{"another program's", func(t *testing.T, dir string) { execOn(t, dir, "CREATE TABLE cats (name)") },
			"store DIR: cannot open DIR/klines.sqlite: a database of another program: it has 1 tables and no schema version"},
		{"a lock that cannot be made", func(t *testing.T, dir string) { mkdir(t, filepath.Join(dir, lockFile)) },
			"store DIR: open DIR/lock: is a directory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			c.prepare(t, dir)
			if found, err := Check(dir); err == nil || !strings.HasPrefix(err.Error(), "store "+dir+": ") {
				t.Errorf("Check: %+v, %v", found, err)
			}
			s, err := Open(Options{Dir: dir})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if want := strings.ReplaceAll(c.want, "DIR", dir); err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func mkdir(t *testing.T, dir string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	mkdir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func execOn(t *testing.T, dir, query string) {
	mkdir(t, dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

func TestOpenMakesTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a ?%&=#", "币 data")
	s := openTest(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal("the second Close:", err)
	}
	for _, name := range []string{databaseFile, lockFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	openTest(t, dir) // the lock is free again
}

func TestSaveSymbols(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir) // 0, 1, 2
	symbol := func(id int, name string, price, qty int) market.Symbol {
		return market.Symbol{ID: market.SymbolID(id), Name: name, PriceDigits: price, QtyDigits: qty}
	}
	refused := []struct {
		symbol market.Symbol
		want   string
	}{
		{symbol(4, "NEWUSDT", 2, 3), "symbol NEWUSDT has id 4 where 3 is next"},
		{symbol(-1, "NEWUSDT", 2, 3), "symbol NEWUSDT has id -1 where 3 is next"},
		{symbol(1, "NEWUSDT", 2, 3), "symbol NEWUSDT has the id of 币1USDT, 1"},
		{symbol(3, "币1USDT", 2, 3), "symbol 币1USDT has id 1 already, not 3"},
		{symbol(3, "NEWUSDT", 9, 3), "symbol NEWUSDT has 9 and 3 digits, want 0 to 8"},
		{symbol(3, "NEWUSDT", 2, -1), "symbol NEWUSDT has 2 and -1 digits, want 0 to 8"},
	}
	for _, c := range refused {
		err := s.SaveSymbols([]market.Symbol{symbol(0, "币0USDT", 5, 1), c.symbol})
		if err == nil || !strings.HasSuffix(err.Error(), ": cannot save symbols: "+c.want) {
			t.Errorf("%v: %v, want …%s", c.symbol, err, c.want)
		}
		same(t, "symbols after a refusal", s.Symbols(), testSymbols(3))
	}
	if err := s.SaveSymbols([]market.Symbol{symbol(3, "NEWUSDT", 4, 0), symbol(0, "币0USDT", 5, 1)}); err != nil {
		t.Fatal(err)
	}
	want := append(testSymbols(3), symbol(3, "NEWUSDT", 4, 0))
	want[0] = symbol(0, "币0USDT", 5, 1)
	same(t, "symbols", s.Symbols(), want)

	crashed := crash(t, s)
	s, err := Open(Options{Dir: crashed})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	same(t, "symbols after a crash", s.Symbols(), want)
}
