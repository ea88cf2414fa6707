package main

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"klined/health"
	"klined/store"
)

// registerFigures adds the figures that are read when they are asked for: what was built, the components, and how the server stands.
// All parts are there.
func (s *server) registerFigures() {
	s.metrics.Built(version, commit())
	s.metrics.Watched(s.dog)
	s.metrics.Registry.MustRegister(standingFigures{s})
}

// commit is what this binary was built from; empty where that is not known.
func commit() string {
	from := builtFrom
	if info, ok := debug.ReadBuildInfo(); ok && from == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				from = s.Value
			}
		}
	}
	return from[:min(len(from), 12)]
}

// standingFigures are how a server stands, as metrics.
type standingFigures struct{ *server }

// reading is what the figures are read from, once for all of them.
type reading struct {
	*server
	store store.Status
}

// standingFigure is one of them.
type standingFigure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(reading) float64
}

func figureOf(name, help string, kind prometheus.ValueType, read func(reading) float64) standingFigure {
	return standingFigure{prometheus.NewDesc(name, help, nil, nil), kind, read}
}

var figures = []standingFigure{
	figureOf("klined_ready", "1 while /readyz says 200: clock, store and feed are up, and at least 99 % of the symbols are whole.", prometheus.GaugeValue,
		func(r reading) float64 { return health.Truth(r.ready().Ready) }),
	figureOf("klined_clock_offset_seconds", "The exchange's time less this machine's.", prometheus.GaugeValue,
		func(r reading) float64 { return r.clock.Offset().Seconds() }),
	figureOf("klined_clock_within_seconds", "How far the exchange's time, as it is known here, may have been off when it was last measured.", prometheus.GaugeValue,
		func(r reading) float64 { within, _ := r.clock.Synced(); return within.Seconds() }),
	figureOf("klined_clock_steps_total", "How often the exchange's time, as it is known here, stepped by more than 250 ms.", prometheus.CounterValue,
		func(r reading) float64 { return float64(r.clock.Steps()) }),
	figureOf("klined_store_dropped_rows_total", "Klines that left a full outbox unwritten; those of a minute and longer are asked for again.", prometheus.CounterValue,
		func(r reading) float64 { return float64(r.store.DroppedRows) }),
	figureOf("klined_store_file_bytes", "Size of the database and its log.", prometheus.GaugeValue,
		func(r reading) float64 { return float64(r.store.FileBytes) }),
	figureOf("klined_store_free_bytes", "Free room of the disk that the store is on.", prometheus.GaugeValue,
		func(r reading) float64 { return float64(r.store.FreeBytes) }),
	figureOf("klined_store_window_bytes", "Memory of the series that clients ask for (--window).", prometheus.GaugeValue,
		func(r reading) float64 { return float64(r.store.WindowBytes) }),
}

// Describe names the figures.
func (f standingFigures) Describe(ch chan<- *prometheus.Desc) {
	for i := range figures {
		ch <- figures[i].desc
	}
}

// Collect reads them.
func (f standingFigures) Collect(ch chan<- prometheus.Metric) {
	r := reading{f.server, f.server.store.Status()}
	for i := range figures {
		ch <- prometheus.MustNewConstMetric(figures[i].desc, figures[i].kind, figures[i].read(r))
	}
}
