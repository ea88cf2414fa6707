package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"klined/market"
)

const (
	hours  = time.Hour
	days   = 24 * hours
	weeks  = 7 * days
	ages   = 36500 * days // more than any exchange has existed for
	always = time.Duration(0)
)

// retentions is how long klines are kept, by the shortest interval that the rule holds for; always is for ever. Less than
// the least would leave clients and a restart without what they ask for first: a start takes 99 minutes, 48 hours and 62
// days from the store.
var retentions = []struct {
	from            market.Interval
	standard, least time.Duration
}{
	{market.OneDay, always, 90 * days},
	{market.OneHour, always, 3 * days},
	{market.OneMinute + 1, 90 * days, days},
	{market.OneMinute, 30 * days, days},
	{0, days, hours},
}

// parseRetain reads a comma list of INTERVAL=TIME, for the intervals that are built. What it does not name is kept as
// usual; what is kept for ever is not in the answer.
func parseRetain(list string, intervals []market.Interval) (map[market.Interval]time.Duration, error) {
	named := make(map[market.Interval]time.Duration)
	for entry := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		iv, d, err := parseRetention(entry)
		if err == nil && !slices.Contains(intervals, iv) {
			err = fmt.Errorf("%s is not among --intervals", iv)
		}
		if _, twice := named[iv]; err == nil && twice {
			err = fmt.Errorf("%s is named twice", iv)
		}
		if err != nil {
			return nil, fmt.Errorf("--retain %q: %w", entry, err)
		}
		named[iv] = d
	}
	retain := make(map[market.Interval]time.Duration)
	for _, iv := range intervals {
		d, ok := named[iv]
		if !ok {
			d, _ = retention(iv)
		}
		if d != always {
			retain[iv] = d
		}
	}
	return retain, nil
}

// retention is how long klines of iv are kept usually, and at least.
func retention(iv market.Interval) (standard, least time.Duration) {
	for _, r := range retentions {
		if iv >= r.from {
			return r.standard, r.least
		}
	}
	return always, always
}

// parseRetention reads one entry.
func parseRetention(entry string) (market.Interval, time.Duration, error) {
	name, text, ok := strings.Cut(entry, "=")
	if !ok {
		return 0, 0, fmt.Errorf("want INTERVAL=TIME, as in 1m=30d")
	}
	iv, err := market.ParseInterval(name)
	if err != nil || text == "forever" {
		return iv, always, err
	}
	unit := map[string]time.Duration{"h": hours, "d": days, "w": weeks}[text[max(len(text)-1, 0):]]
	n, err := strconv.ParseInt(text[:max(len(text)-1, 0)], 10, 32)
	if unit == 0 || err != nil || n <= 0 || n > int64(ages/unit) {
		return 0, 0, fmt.Errorf("want a time like 12h, 30d or 8w, or forever")
	}
	d := time.Duration(n) * unit
	if _, least := retention(iv); d < least {
		return 0, 0, fmt.Errorf("klines of %s must be kept for %s at least", iv, retainText(least))
	}
	return iv, d, nil
}

// retainText is a time as parseRetention reads it.
func retainText(d time.Duration) string {
	switch {
	case d == always:
		return "forever"
	case d%days == 0:
		return strconv.Itoa(int(d/days)) + "d"
	}
	return strconv.Itoa(int(d/hours)) + "h"
}

// retainList is how long each of the intervals is kept, as parseRetain reads it.
func retainList(intervals []market.Interval, retain map[market.Interval]time.Duration) string {
	entries := make([]string, len(intervals))
	for i, iv := range intervals {
		entries[i] = iv.String() + "=" + retainText(retain[iv])
	}
	return strings.Join(entries, ",")
}
