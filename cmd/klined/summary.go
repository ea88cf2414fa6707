package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"klined/feed"
	"klined/health"
)

// How often the log, and the service manager, are told how things are.
const (
	summaryEvery = time.Minute
	readyEvery   = time.Second // a change of readiness is told sooner
)

// summary is what is told. Its counts are those of the last summaryEvery.
type summary struct {
	server *server
	before counts
	at     time.Time
	ready  readiness
}

// counts are figures that only rise.
type counts struct{ trades, closed, gaps, missing, healed, burnt, slow float64 }

func (s *server) counts() counts {
	m := s.metrics
	return counts{trades: health.Count(m.Trades), closed: health.Count(m.KlinesClosed), gaps: health.Count(m.Gaps),
		missing: health.Count(m.GapTrades), healed: health.Count(m.HealedTrades), burnt: health.Count(m.BurntIDs), slow: health.Count(m.WSSlowClients)}
}

// summarise tells until ctx ends.
func (s *server) summarise(ctx context.Context) {
	sum := &summary{server: s, before: s.counts(), at: time.Now(), ready: s.ready()}
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			sum.look()
			if now.Sub(sum.at) >= summaryEvery {
				sum.tell(now)
			}
		}
	}
}

// look tells when the server becomes ready, and when it is not any more.
func (sum *summary) look() {
	was := sum.ready.Ready
	sum.ready = sum.server.ready()
	switch {
	case sum.ready.Ready && !was:
		sum.server.log.Info("ready", "symbols", sum.ready.Symbols[feed.Whole])
		sum.server.manager.tell("STATUS=ready")
	case was && !sum.ready.Ready:
		why := strings.Join(sum.ready.Reasons, "; ")
		sum.server.log.Warn("not ready", "reason", why)
		sum.server.manager.tell("STATUS=not ready: " + why)
	}
}

// tell logs one line of how the last minute was, in the order of the data, for whoever reads along. Of the ids that were missing some
// came (healed), and some were never given (burnt: with --source trade there are such all day long, and nothing is amiss):
//
//	level=INFO msg="last minute" target=life ready=true trades_per_s=8012 lag_p50=45ms lag_p99=210ms gaps=2 missing=120
//	healed=120 burnt=0 closed=12000 whole=798/800 behind=0 connections=10/10 clients=12 slow=0 weight=230/1200 store_waits=1204
//	commit=12ms memory=412MB goroutines=130
func (sum *summary) tell(now time.Time) {
	s, is := sum.server, sum.server.counts()
	was, seconds := sum.before, now.Sub(sum.at).Seconds()
	sum.before, sum.at = is, now
	st, disk := s.feed.Status(), s.store.Status()
	up := 0
	for _, c := range st.Connections {
		if c.State == "up" {
			up++
		}
	}
	living := st.Symbols[feed.Waiting] + st.Symbols[feed.Whole] + st.Symbols[feed.Behind]
	whole, rate := fmt.Sprintf("%d/%d", st.Symbols[feed.Whole], living), (is.trades-was.trades)/seconds
	p50, p99, _ := s.feed.Ages()
	clients, memory := int(health.Count(s.metrics.WSClients)), humanize.Bytes(memory())
	s.log.Info("last minute", "ready", sum.ready.Ready, "trades_per_s", int(rate+0.5), "lag_p50", p50, "lag_p99", p99,
		"gaps", int(is.gaps-was.gaps), "missing", int(is.missing-was.missing), "healed", int(is.healed-was.healed), "burnt", int(is.burnt-was.burnt),
		"closed", int(is.closed-was.closed), "whole", whole, "behind", st.Symbols[feed.Behind],
		"connections", fmt.Sprintf("%d/%d", up, len(st.Connections)), "clients", clients, "slow", int(is.slow-was.slow),
		"weight", fmt.Sprintf("%d/%d", s.budget.Used(), s.o.RESTWeight), "store_waits", disk.OutboxRows,
		"commit", time.Duration(disk.CommitMillis*1e6).Round(time.Millisecond), "memory", strings.ReplaceAll(memory, " ", ""), "goroutines", runtime.NumGoroutine())
	state := "ready"
	if !sum.ready.Ready {
		state = "not ready: " + strings.Join(sum.ready.Reasons, "; ")
	}
	s.manager.tell(fmt.Sprintf("STATUS=%s; %s symbols whole, %.0f trades/s, lag %s (99 %%: %s), %d of %d connections up, %d clients, %s of memory",
		state, whole, rate, p50, p99, up, len(st.Connections), clients, memory))
}

// memory is what the Go runtime has of the system's.
func memory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
