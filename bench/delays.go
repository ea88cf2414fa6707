package bench

import (
	"errors"
	"maps"
	"slices"

	dto "github.com/prometheus/client_model/go"

	"klined/health"
)

// delays reads what a server has measured of its pushes between begin and end.
type delays struct {
	metrics *health.Metrics
	before  map[float64]uint64
}

func newDelays() *delays { return &delays{metrics: health.NewMetrics()} }

// counts are how many delays are at most so long, s.
func (d *delays) counts() (map[float64]uint64, error) {
	var m dto.Metric
	if err := d.metrics.FrameToPush.Write(&m); err != nil {
		return nil, err
	}
	counts := make(map[float64]uint64)
	for _, b := range m.GetHistogram().GetBucket() {
		counts[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	return counts, nil
}

func (d *delays) begin() (err error) {
	d.before, err = d.counts()
	return err
}

// end is the median and the 99th of a hundred, in µs, each within its bucket by interpolation.
func (d *delays) end() (sample, error) {
	after, err := d.counts()
	if err != nil {
		return sample{}, err
	}
	bounds := slices.Sorted(maps.Keys(after))
	n := after[bounds[len(bounds)-1]] - d.before[bounds[len(bounds)-1]]
	if n == 0 {
		return sample{}, errors.New("nothing was measured")
	}
	quantile := func(q float64) float64 {
		want, below, from := q*float64(n), 0.0, 0.0
		for _, bound := range bounds {
			if upTo := float64(after[bound] - d.before[bound]); upTo >= want {
				return 1e6 * (from + (bound-from)*(want-below)/max(upTo-below, 1))
			} else {
				below, from = upTo, bound
			}
		}
		return 1e6 * from
	}
	return sample{value: quantile(0.5), p99: quantile(0.99), allocs: -1}, nil
}
