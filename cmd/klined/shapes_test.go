package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"klined/feed"
	"klined/health"
)

// TestShapes: what the own endpoints tell of one thing has the same keys, however it stands, so that scripts may rely on them.
func TestShapes(t *testing.T) {
	for _, c := range []struct {
		of   any
		keys string
	}{
		{health.ComponentState{}, "name ok reason silent_seconds vital"},
		{feed.ConnStatus{}, "frames id lane state streams"},
		{gap{}, "first healed_at last seen_at state symbol"},
		{standing{}, "gaps last_close_at last_id last_trade_at reason state symbol"},
	} {
		text, err := json.Marshal(c.of)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for key := range fields {
			keys = append(keys, key)
		}
		if slices.Sort(keys); strings.Join(keys, " ") != c.keys {
			t.Errorf("%T: %s, want %s", c.of, strings.Join(keys, " "), c.keys)
		}
	}
}
