package store

import (
	"path/filepath"
	"testing"

	"klined/market"
)

// TestCheck: what can be opened, or made, is found as it is. What cannot is in TestOpenRefuses.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    Checked
	}{
		{"nothing", func(*testing.T, string) {}, Checked{New: true}},
		{"an empty directory", func(t *testing.T, dir string) { mkdir(t, dir) }, Checked{New: true}},
		{"an empty database", func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, databaseFile), "") }, Checked{}},
		{"a store", func(t *testing.T, dir string) {
			s := openTest(t, dir, market.OneMinute)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}, Checked{Symbols: make([]market.Symbol, 3)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			c.prepare(t, dir)
			got, err := Check(dir)
			if err != nil || got.Size == 0 || got.Free == 0 {
				t.Errorf("%+v, %v", got, err)
			}
			if len(got.Symbols) != len(c.want.Symbols) || got.New != c.want.New {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
