package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"klined/feed"
	"klined/health"
	"klined/store"
)

// TestShapes: what the own endpoints tell of one thing has the same keys, however it stands, so that scripts may rely on them.
func TestShapes(t *testing.T) {
	for _, c := range []struct {
		of   any
		keys string
	}{
		{health.ComponentState{}, "name ok reason silent_seconds vital"},
		{feed.ConnStatus{}, "frames id lag_max_ms lag_ms lane last_frame state streams up_since"},
		{readiness{}, "clock lanes_silent lanes_without_connection ready reasons store symbols"},
		{status{}, "backfill clock connections gaps grace rest_weight_used settled source store symbols trades uptime_seconds version"},
		{store.Status{}, "commit_ms disk dropped_rows file_bytes free_bytes holes last_commit last_refused lost_rows outbox_rows refused_rows rows state window_bytes window_series"},
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
		for _, key := range []string{"up_since", "last_frame", "last_commit"} {
			if value := fields[key]; value != nil {
				t.Errorf("%T: %s is %v, though it has not come", c.of, key, value)
			}
		}
	}
}
