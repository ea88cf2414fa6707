// Package health holds the counters for operators, and the watchdog that reads them.
package health

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics is every figure that klined publishes at /metrics, by the part that moves it. All of them may be moved from
// any goroutine. Make one per process (or per test) with NewMetrics.
type Metrics struct {
	Registry *prometheus.Registry

	// binance
	DecodeErrors   *prometheus.CounterVec // {reason}: frames dropped
	UnknownSymbols prometheus.Counter     // trades of symbols that are not listed here
	RESTRequests   *prometheus.CounterVec // {endpoint,status}: sent upstream
	RESTUsedWeight prometheus.Gauge       // as the exchange last said, this UTC minute
	RESTBudget     prometheus.Gauge       // what we may use of it a minute
	Forwarded      prometheus.Counter     // clients' requests passed on to the exchange

	// feed
	Frames           *prometheus.CounterVec // {conn}: received
	Trades           prometheus.Counter     // passed on in order
	DuplicateTrades  prometheus.Counter
	Gaps             prometheus.Counter     // runs of ids that did not come in time
	GapTrades        prometheus.Counter     // ids within them
	HealedTrades     prometheus.Counter     // ids of gaps that came after all
	BurntIDs         prometheus.Counter     // ids of gaps that were never given, as has shown since
	UnhealedTrades   prometheus.Counter     // ids of gaps that were let through
	LateTrades       prometheus.Counter     // came after their kline was closed
	LateSeconds      prometheus.Histogram   // how old those were
	Disbelieved      *prometheus.CounterVec // {reason}: well-formed trades that cannot be true
	Connections      *prometheus.GaugeVec   // {state}
	Reconnects       *prometheus.CounterVec // {reason}
	ConnectionLag    *prometheus.GaugeVec   // {conn}: seconds
	Symbols          *prometheus.GaugeVec   // {state}
	GraceSeconds     prometheus.Gauge
	LaneHold         prometheus.Histogram   // how long a lane's mutex was held
	CloseWaits       *prometheus.CounterVec // {result}: clients' reads that waited for a close: closed, late
	KlinesClosed     prometheus.Counter     // first closes
	KlinesRevised    *prometheus.CounterVec // {cause}: late, settle, heal
	KlinesSettled    *prometheus.CounterVec // {result}: equal, replaced
	SettleDifference *prometheus.CounterVec // {field}
	SettleDoubted    *prometheus.CounterVec // {reason}: early, rules, trades, unconfirmed

	// store
	StoreRows       prometheus.Counter
	StoreCommit     prometheus.Histogram
	StoreOutboxRows prometheus.Gauge

	// tape
	TapeBytes   prometheus.Counter // written
	TapeLeftOut prometheus.Counter // frames

	// serve
	Refused       *prometheus.CounterVec // {status}: clients' requests
	CloseDelay    prometheus.Histogram   // close pushed − boundary
	FrameToPush   prometheus.Histogram   // pushes that no push interval deferred
	WSClients     prometheus.Gauge
	WSSlowClients prometheus.Counter // closed because they did not read
	Unauthorized  prometheus.Counter // requests turned away for the token
	WSRefused     prometheus.Counter // connections beyond what all clients, or those of one address, may hold, and subscriptions beyond what all may
}

// NewMetrics makes the figures and registers them, with those of the Go runtime and the process.
func NewMetrics() *Metrics {
	r := maker{prometheus.NewRegistry()}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Metrics{
		Registry: r.Registry,

		DecodeErrors:   r.counters("klined_decode_errors_total", "Frames, and rows of tickers, that could not be decoded and were dropped.", "reason"),
		UnknownSymbols: r.counter("klined_unknown_symbol_total", "Trades of symbols that are not known here, dropped."),
		RESTRequests:   r.counters("klined_rest_requests_total", "Requests sent to the exchange, by HTTP's status or error where none came.", "endpoint", "status"),
		RESTUsedWeight: r.gauge("klined_rest_used_weight", "Request weight used in the UTC minute of the last answer, as the exchange said in it."),
		RESTBudget:     r.gauge("klined_rest_weight_budget", "Request weight that may be used a minute (--rest-weight)."),
		Forwarded:      r.counter("klined_forwarded_requests_total", "Requests of clients passed on to the exchange."),

		Frames:           r.counters("klined_frames_total", "Frames received from the exchange.", "conn"),
		Trades:           r.counter("klined_trades_total", "Trades applied to the klines, in order."),
		DuplicateTrades:  r.counter("klined_duplicate_trades_total", "Trades that had been seen already, dropped."),
		Gaps:             r.counter("klined_gaps_total", "Runs of trade ids that did not come in time."),
		GapTrades:        r.counter("klined_gap_trades_total", "Trade ids found missing."),
		HealedTrades:     r.counter("klined_healed_trades_total", "Missing trades that came after all, over a connection or from REST."),
		BurntIDs:         r.counter("klined_burnt_ids_total", "Missing ids that the exchange never gave, as has shown since; with --source trade."),
		UnhealedTrades:   r.counter("klined_unhealed_trades_total", "Missing trade ids that were let through: the klines they belong to are marked gap."),
		LateTrades:       r.counter("klined_late_trades_total", "Trades that came after their kline was closed."),
		LateSeconds:      r.histogram("klined_late_trade_seconds", "How old trades were that came after their kline was closed.", 0.05, 16),
		Disbelieved:      r.counters("klined_disbelieved_trades_total", "Well-formed trades that cannot be true, dropped.", "reason"),
		Connections:      r.gauges("klined_connections", "Connections to the exchange.", "state"),
		ConnectionLag:    r.gauges("klined_connection_lag_seconds", "How old trades are when a connection brings them, over the last seconds.", "conn"),
		Reconnects:       r.counters("klined_reconnects_total", "Connections that ended, or could not be dialled, and were dialled again.", "reason"),
		Symbols:          r.gauges("klined_symbols", "Symbols that are carried, or were, by their standing.", "state"),
		GraceSeconds:     r.gauge("klined_grace_seconds", "How long after its boundary the clock closes a kline."),
		LaneHold:         r.histogram("klined_lane_hold_seconds", "How long a lane's mutex was held.", 1e-6, 16),
		CloseWaits:       r.counters("klined_close_waits_total", "Reads of clients that came between a boundary and its close, by whether it came in time.", "result"),
		KlinesClosed:     r.counter("klined_klines_closed_total", "Klines closed for the first time."),
		KlinesRevised:    r.counters("klined_klines_revised_total", "Closed klines that changed, by what changed them.", "cause"),
		KlinesSettled:    r.counters("klined_klines_settled_total", "Closed minutes of ours that the exchange's own settled: equal to them, or replaced by them.", "result"),
		SettleDifference: r.counters("klined_settle_difference_total", "Values in which closed minutes differed from the exchange's own.", "field"),
		SettleDoubted:    r.counters("klined_settle_doubted_total", "The exchange's own klines that were not believed.", "reason"),

		StoreRows:       r.counter("klined_store_rows_total", "Rows written to the store."),
		StoreCommit:     r.histogram("klined_store_commit_seconds", "Time from the begin of a commit until it is durable.", 1e-3, 14),
		StoreOutboxRows: r.gauge("klined_store_outbox_rows", "Klines that wait to be committed."),

		TapeBytes:   r.counter("klined_tape_bytes_total", "Bytes of tape written."),
		TapeLeftOut: r.counter("klined_tape_left_out_total", "Frames that are on no tape, because the disk was too slow or failed."),

		Refused:       r.counters("klined_refused_total", "Requests of clients that klined refused itself, by HTTP's status.", "status"),
		CloseDelay:    r.histogram("klined_close_delay_seconds", "Time from a kline's boundary until its close had been written to the first client that takes it.", 1e-3, 16),
		FrameToPush:   r.histogram("klined_frame_to_push_seconds", "Time from a frame's receipt until the kline it changed was pushed; deferred pushes left out.", 2e-5, 16),
		WSClients:     r.gauge("klined_ws_clients", "WebSocket clients that are connected."),
		WSSlowClients: r.counter("klined_ws_slow_clients_total", "Clients closed because they did not read."),
		Unauthorized:  r.counter("klined_unauthorized_total", "Requests turned away because they did not show the token."),
		WSRefused:     r.counter("klined_ws_refused_total", "WebSocket connections refused because all clients together, or one address, held too many, and subscriptions because all clients did."),
	}
}

// maker makes figures and registers them.
type maker struct{ *prometheus.Registry }

func (r maker) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	r.MustRegister(c)
	return c
}

func (r maker) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.MustRegister(c)
	return c
}

func (r maker) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	r.MustRegister(g)
	return g
}

func (r maker) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	r.MustRegister(g)
	return g
}

// histogram has n buckets, the first up to from, each twice as wide as the one before.
func (r maker) histogram(name, help string, from float64, n int) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(from, 2, n)})
	r.MustRegister(h)
	return h
}
