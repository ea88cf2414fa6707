// Package promql_test holds dashboard and alerts to METRICS.md, with Prometheus's own parser. It is a module of its own, so that
// what Prometheus needs is not ours; TestMetrics in cmd/klined holds METRICS.md to what the program publishes and moves.
package promql_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	tableFile     = "../../METRICS.md"
	dashboardFile = "../../deploy/grafana/klined.json"
	rulesFile     = "../../deploy/prometheus/klined.rules.yml"
	rulesTest     = "../../deploy/prometheus/klined.rules_test.yml"
)

// metric is one that is published. A label without a list of values has nil.
type metric struct {
	kind   string
	labels map[string][]string
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// publishedMetrics are those of METRICS.md, of the process and of Go.
func publishedMetrics(t *testing.T) map[string]metric {
	t.Helper()
	all := map[string]metric{"up": {"gauge", map[string][]string{"job": nil}}} // the scraper's
	for _, row := range regexp.MustCompile("(?m)^\\| `(klined_\\w+)` \\| (\\w+) \\|([^|]*)\\|").FindAllStringSubmatch(read(t, tableFile), -1) {
		m := metric{row[2], make(map[string][]string)}
		for _, label := range regexp.MustCompile("`(\\w+)`(?:: ([\\w, ]+))?").FindAllStringSubmatch(row[3], -1) {
			m.labels[label[1]] = nil
			if label[2] != "" {
				m.labels[label[1]] = strings.Split(strings.TrimSpace(label[2]), ", ")
			}
		}
		all[row[1]] = m
	}
	if len(all) < 40 {
		t.Fatalf("%d metrics are read of METRICS.md", len(all))
	}
	usual := prometheus.NewRegistry()
	usual.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := usual.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		m := metric{strings.ToLower(f.GetType().String()), map[string][]string{"job": nil}}
		if m.kind == "summary" {
			m.labels["quantile"] = nil
		}
		all[f.GetName()] = m
	}
	return all
}

// checkExpr parses an expression and finds each metric, label and value that it uses. It returns the metrics, and the labels that
// they have.
func checkExpr(t *testing.T, where, expr string, published map[string]metric) (used []string, known map[string]bool) {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %s: %v", where, expr, err)
	}
	known = map[string]bool{"instance": true}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			used = append(used, checkSelector(t, where, n, published, known))
		case *parser.Call:
			if n.Func.Name == "label_replace" {
				checkLabelMade(t, where, n, published, known)
			}
		}
		return nil
	})
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range a.Grouping {
				if !known[label] {
					t.Errorf("%s: %s: nothing has label %s", where, expr, label)
				}
			}
		}
		return nil
	})
	return used, known
}

// checkLabelMade adds the label that a label_replace makes to those that are known; what it is made of must be a label of the metric.
func checkLabelMade(t *testing.T, where string, call *parser.Call, published map[string]metric, known map[string]bool) {
	t.Helper()
	of, isMetric := call.Args[0].(*parser.VectorSelector)
	to, isText := call.Args[1].(*parser.StringLiteral)
	from, isName := call.Args[3].(*parser.StringLiteral)
	if !isMetric || !isText || !isName {
		t.Errorf("%s: %s: want a metric, and labels that are written out", where, call)
		return
	}
	if _, has := published[of.Name].labels[from.Val]; !has {
		t.Errorf("%s: %s has no label %s", where, of.Name, from.Val)
	}
	known[to.Val] = true
}

// checkSelector finds the metric of a selector, whose name it returns, and adds its labels to those that are known.
func checkSelector(t *testing.T, where string, s *parser.VectorSelector, published map[string]metric, known map[string]bool) string {
	t.Helper()
	name, part := s.Name, ""
	row, ok := published[name]
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, has := strings.CutSuffix(name, suffix); has && published[base].kind == "histogram" {
			name, part, row, ok = base, suffix, published[base], true
		}
	}
	if !ok || (row.kind == "histogram") != (part != "") {
		t.Errorf("%s: nothing publishes %s", where, s.Name)
		return name
	}
	for label := range row.labels {
		known[label] = true
	}
	known["le"] = known["le"] || part == "_bucket"
	for _, m := range s.LabelMatchers {
		values, has := row.labels[m.Name]
		switch {
		case m.Name == "__name__" || m.Name == "instance":
		case !has:
			t.Errorf("%s: %s has no label %s", where, name, m.Name)
		case values != nil && !slices.ContainsFunc(values, m.Matches):
			t.Errorf("%s: %s: no %s", where, name, m)
		case values != nil && (m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp):
			for one := range strings.SplitSeq(m.Value, "|") {
				if !slices.Contains(values, one) {
					t.Errorf("%s: %s: label %s has no value %q", where, name, m.Name, one)
				}
			}
		}
	}
	return name
}

// TestDashboard: every panel says what it shows, in which unit, of metrics that there are; and every metric is on one.
func TestDashboard(t *testing.T) {
	var board struct {
		Title         string
		SchemaVersion int
		Templating    struct{ List []struct{ Name, Type string } }
		Annotations   struct{ List []struct{ Expr string } }
		Panels        []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			FieldConfig              struct{ Defaults struct{ Unit string } }
			Targets                  []struct{ RefID, Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &board); err != nil {
		t.Fatal(err)
	}
	if v := board.Templating.List; len(v) != 2 || v[0].Name != "datasource" || v[0].Type != "datasource" || v[1].Name != "instance" {
		t.Errorf("variables %v, want the data source and the instance", v)
	}
	published, shown := publishedMetrics(t), make(map[string]bool)
	for _, a := range board.Annotations.List {
		checkExpr(t, "annotation", strings.ReplaceAll(a.Expr, "$instance", ".*"), published)
	}
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: want an id of its own, and a title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := cells[at]; other != "" || at[0] >= 24 {
					t.Fatalf("panel %q lies over %q, or beside the page", p.Title, other)
				}
				cells[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" || !strings.HasSuffix(p.Description, ".") || len(p.Targets) == 0 {
			t.Errorf("panel %q: want a unit, a description, something to show", p.Title)
		}
		for _, target := range p.Targets {
			if n := strings.Count(target.Expr, "{"); n == 0 || n != strings.Count(target.Expr, `instance=~"$instance"`) {
				t.Errorf("panel %q: %s: want each metric of $instance", p.Title, target.Expr)
			}
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
			used, known := checkExpr(t, "panel "+p.Title, expr, published)
			for _, name := range used {
				shown[name] = true
			}
			checkTemplate(t, "panel "+p.Title, regexp.MustCompile(`{{(\w+)}}`), target.LegendFormat, known)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(published)) {
		if strings.HasPrefix(name, "klined_") && !shown[name] {
			t.Errorf("%s is on no panel", name)
		}
	}
}

// checkTemplate finds the labels that a text names.
func checkTemplate(t *testing.T, where string, shape *regexp.Regexp, text string, known map[string]bool) {
	t.Helper()
	for _, label := range shape.FindAllStringSubmatch(text, -1) {
		if !known[label[1]] {
			t.Errorf("%s: %q: nothing has label %s", where, text, label[1])
		}
	}
}

// TestAlerts: each alert is of metrics that there are, waits, says how bad it is, what it is, and what to do.
func TestAlerts(t *testing.T) {
	rules, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	tests := read(t, rulesTest)
	published, names := publishedMetrics(t), make(map[string]bool)
	for _, r := range rules.Groups[0].Rules {
		_, known := checkExpr(t, r.Alert, r.Expr, published)
		checkTemplate(t, r.Alert, regexp.MustCompile(`\$labels\.(\w+)`), r.Annotations["summary"]+r.Annotations["description"], known)
		switch {
		case names[r.Alert] || !strings.HasPrefix(r.Alert, "Klined"):
			t.Errorf("alert %q: want a name of its own, Klined…", r.Alert)
		case time.Duration(r.For) < time.Minute:
			t.Errorf("%s: for %s: want a minute at least", r.Alert, r.For)
		case !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]):
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		case !strings.Contains(r.Annotations["summary"], "$labels.instance"):
			t.Errorf("%s: summary %q does not say where", r.Alert, r.Annotations["summary"])
		case len(r.Annotations["description"]) < 80 || !strings.HasSuffix(r.Annotations["description"], "."):
			t.Errorf("%s: description %q does not say what to do", r.Alert, r.Annotations["description"])
		case !strings.Contains(tests, `"`+r.Alert+`"`):
			t.Errorf("%s: the rules' own tests do not know it", r.Alert)
		}
		names[r.Alert] = true
	}
}

// TestAlertsFire plays the rules' own tests, where there is a promtool: healthy figures raise none, and bad ones each.
func TestAlertsFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool here (it comes with Prometheus; .ci/run fetches it): the alerts' own tests are not played")
	}
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", rulesTest}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
