package health

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// FromZero has the series of some label values be there before they move: the rate of one that appears at its first move
// would not see that. Who moves a figure names its values.
func FromZero[M any](of interface{ WithLabelValues(values ...string) M }, values ...string) {
	for _, value := range values {
		of.WithLabelValues(value)
	}
}

// Built publishes what this process was built from; commit is empty where that is not known.
func (m *Metrics) Built(version, commit string) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "klined_build_info", Help: "1, for the build that runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version(), "commit": commit}}, func() float64 { return 1 }))
}

// Watched publishes the standing of w's components, read when it is asked for.
func (m *Metrics) Watched(w *Watchdog) { m.Registry.MustRegister(componentsOf{w}) }

// componentsOf are a watchdog's components as metrics.
type componentsOf struct{ *Watchdog }

var componentDesc = prometheus.NewDesc("klined_component_ok",
	"1 while a component works, 0 while it fails or is silent; /healthz says why.", []string{"component"}, nil)

// Describe names the metric.
func (c componentsOf) Describe(ch chan<- *prometheus.Desc) { ch <- componentDesc }

// Collect tells each component's standing.
func (c componentsOf) Collect(ch chan<- prometheus.Metric) {
	_, components := c.State()
	for _, s := range components {
		ch <- prometheus.MustNewConstMetric(componentDesc, prometheus.GaugeValue, Truth(s.OK), s.Name)
	}
}

// Truth is how a metric says yes, 1, and no, 0.
func Truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Count is what a counter or a gauge stands at.
func Count(m prometheus.Metric) float64 {
	var is dto.Metric
	if err := m.Write(&is); err != nil {
		return 0 // it is one of ours: writing it does not fail
	}
	return is.GetCounter().GetValue() + is.GetGauge().GetValue()
}
