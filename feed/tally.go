package feed

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"klined/market"
)

// The day that a tally looks back over, in steps.
const (
	tallyStep  = 5 * time.Minute
	tallySteps = int64(24 * time.Hour / tallyStep)
)

// tally counts comparisons of klines with the venue's own, and in which values they differed: since the start, and of the
// last day step by step. It may be used from any goroutine.
type tally struct {
	mu    sync.Mutex
	all   count
	steps [tallySteps]count // by the step's number
}

// count is what was compared within a step.
type count struct {
	step            int64
	compared, equal uint64
	differs         [len(market.ValueNames)]uint64
}

// Compared is how klines compared with the venue's own within some time.
type Compared struct {
	Compared uint64             `json:"compared"`
	Equal    uint64             `json:"equal"`  // in all nine values
	Shares   map[string]float64 `json:"shares"` // of those compared, equal in this value
}

// add counts a comparison; values are those that differed.
func (t *tally) add(values uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	step := time.Now().UnixNano() / int64(tallyStep)
	now := &t.steps[step%tallySteps]
	if now.step != step {
		*now = count{step: step}
	}
	now.add(values)
	t.all.add(values)
}

func (c *count) add(values uint16) {
	c.compared++
	if values == 0 {
		c.equal++
	}
	for i := range c.differs {
		c.differs[i] += uint64(values >> i & 1)
	}
}

// within is what was compared in the last hour, the last day and since the start.
func (t *tally) within() map[string]Compared {
	t.mu.Lock()
	defer t.mu.Unlock()
	step := time.Now().UnixNano() / int64(tallyStep)
	return map[string]Compared{
		"hour": t.since(step - int64(time.Hour/tallyStep)), "day": t.since(step - tallySteps), "start": t.all.shares()}
}

// since sums the steps after one.
func (t *tally) since(step int64) Compared {
	var sum count
	for i := range t.steps {
		if c := &t.steps[i]; c.step > step {
			sum.compared, sum.equal = sum.compared+c.compared, sum.equal+c.equal
			for v := range c.differs {
				sum.differs[v] += c.differs[v]
			}
		}
	}
	return sum.shares()
}

func (c *count) shares() Compared {
	s := Compared{Compared: c.compared, Equal: c.equal, Shares: make(map[string]float64)}
	for i, name := range market.ValueNames {
		if s.Compared > 0 {
			s.Shares[name] = 1 - float64(c.differs[i])/float64(c.compared)
		}
	}
	return s
}

// settleShares are the shares as metrics: read when they are asked for.
type settleShares struct{ f *Feed }

var settleShareDesc = prometheus.NewDesc("klined_settle_share",
	"Share of compared klines that were equal to the exchange's own in a value, or in all: at once, or when settled ones were read again.",
	[]string{"when", "within", "field"}, nil)

func (c settleShares) Describe(ch chan<- *prometheus.Desc) { ch <- settleShareDesc }

func (c settleShares) Collect(ch chan<- prometheus.Metric) {
	settled := c.f.settled()
	for when, of := range map[string]map[string]Compared{"at_once": settled.AtOnce, "checked": settled.Checked} {
		for within, s := range of {
			if s.Compared == 0 {
				continue
			}
			ch <- prometheus.MustNewConstMetric(settleShareDesc, prometheus.GaugeValue, float64(s.Equal)/float64(s.Compared), when, within, "all")
			for field, share := range s.Shares {
				ch <- prometheus.MustNewConstMetric(settleShareDesc, prometheus.GaugeValue, share, when, within, field)
			}
		}
	}
}
