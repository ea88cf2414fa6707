package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"klined/history"
	"klined/market"
	"klined/store"
)

const auditHelp = `Holds stored klines against the exchange's own, asked of its REST, and prints how many are equal, by interval and value, and
the first that differ. It runs beside a server on the same store. Exit status 1 when any differs.

absent: the store says that there is none, the exchange has one. extra: the other way round. doubted: the exchange's breaks its own
rules, or was another when it was read again: not compared. unsettled: ours, not settled yet: serve has the exchange's own take
the place of what it closed within two hours, and until then this is no difference. incomplete: the store does not call it complete: not compared,
nor asked for. unlisted: the exchange does not list their symbol any more, and gives none of it: not compared; these symbols are named, and
are no reason for status 1. What differs is read twice, half a minute apart.

--repair marks what differs as incomplete, so that it is fetched again: by serve within minutes, or by the next backfill.

Times are RFC 3339 (2026-09-01T12:00:00Z), dates (2026-09-01, from midnight UTC) or Unix milliseconds.`

// auditOptions are the flags of audit.
type auditOptions struct {
	pastOptions
	asJSON bool
	repair bool
}

// newAuditCommand is the command klined audit.
func newAuditCommand() *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "stored klines against the exchange's own",
		Long:  auditHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(); err != nil {
				return &usageError{err}
			}
			return audit(cmd.Context(), &o, network{}.through(&o.proxy), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.bind(cmd.Flags(), "audit")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&o.repair, "repair", false, "mark what differs as incomplete, so that it is fetched again")
	return cmd
}

// audit is klined audit.
func audit(ctx context.Context, o *auditOptions, n network, stdout, stderr io.Writer) error {
	st, err := store.OpenReader(o.dir)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	ids, err := o.stored(st)
	if err != nil {
		return err
	}
	p, err := openPast(ctx, &o.pastOptions, n, stderr)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.symbols.Restore(st.Symbols()); err != nil {
		return fmt.Errorf("%s: %w", o.dir, err)
	}
	asked, ranges, err := o.ranges(ids, p.clock.Now())
	if err != nil {
		return &usageError{err}
	}
	var done history.Progress
	shown := show(&done, stderr)
	audits, unlisted, failed := p.fetcher(nil, nil).Audit(ctx, st, ranges, &done)
	shown()
	r := o.report(asked, audits, p.symbols)
	for _, id := range unlisted {
		r.Unlisted = append(r.Unlisted, p.symbols.Get(id).Name)
	}
	if r.looked == 0 && len(unlisted) == 0 {
		fmt.Fprintf(stderr, "nothing to compare: the store %s calls none of these klines complete\n", o.dir)
	}
	if o.repair && ctx.Err() == nil {
		if err := o.mend(audits); err != nil {
			return err
		}
		r.Repaired = r.wrong
	}
	if o.asJSON {
		err = json.NewEncoder(stdout).Encode(r)
	} else {
		err = r.print(stdout)
	}
	if err == nil && r.wrong > 0 {
		err = fmt.Errorf("%d of %d klines differ from the exchange's", r.wrong, r.looked)
	}
	return errors.Join(err, failed)
}

// stored are the symbols to audit; those that are named must be in the store, and so must the intervals.
func (o *auditOptions) stored(st *store.Reader) (ids []market.SymbolID, err error) {
	var names []string
	for _, s := range st.Symbols() {
		names = append(names, s.Name)
		if o.symbols == nil || slices.Contains(o.symbols, s.Name) {
			ids = append(ids, s.ID)
		}
	}
	for _, name := range o.symbols {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("store %s has no symbol %q%s", o.dir, name, nearest(name, names))
		}
	}
	if o.texts.intervals == usualIntervals {
		o.intervals = slices.DeleteFunc(o.intervals, func(iv market.Interval) bool { return !slices.Contains(st.Intervals(), iv) })
	}
	for _, iv := range o.intervals {
		if !slices.Contains(st.Intervals(), iv) {
			return nil, fmt.Errorf("store %s has no interval %s, but %s", o.dir, iv, intervalList(st.Intervals()))
		}
	}
	return ids, nil
}

// mend has what differs fetched again, and what is extra deleted.
func (o *auditOptions) mend(audits []*history.Audit) error {
	var wrong, extra []market.Range
	for _, a := range audits {
		wrong, extra = appendRanges(wrong, a.Interval, a.Ranges), appendRanges(extra, a.Interval, a.Extras)
	}
	if len(wrong)+len(extra) == 0 {
		return nil
	}
	return store.Repair(o.dir, wrong, extra)
}

func appendRanges(dst []market.Range, iv market.Interval, of map[market.SymbolID][]market.Span) []market.Range {
	for _, symbol := range slices.Sorted(maps.Keys(of)) {
		for _, span := range of[symbol] {
			dst = append(dst, market.Range{Series: market.Series{Symbol: symbol, Interval: iv}, Span: span})
		}
	}
	return dst
}

// auditReport is what audit says; times are Unix ms.
type auditReport struct {
	From        market.Time       `json:"from"`
	To          market.Time       `json:"to"`
	Intervals   []auditInterval   `json:"intervals"`
	Differences []auditDifference `json:"differences"` // the first of each interval
	Unlisted    []string          `json:"unlisted"`    // symbols that the exchange does not list any more
	Repaired    int64             `json:"repaired"`

	wrong, looked int64
}

type auditInterval struct {
	Interval   string           `json:"interval"`
	Compared   int64            `json:"compared"`
	Equal      int64            `json:"equal"`
	Absent     int64            `json:"absent"`
	Extra      int64            `json:"extra"`
	Doubted    int64            `json:"doubted"`
	Unsettled  int64            `json:"unsettled"`
	Incomplete int64            `json:"incomplete"`
	Unlisted   int64            `json:"unlisted"`
	Differ     map[string]int64 `json:"differ"` // of those compared, by value
}

type auditDifference struct {
	Symbol   string               `json:"symbol"`
	Interval string               `json:"interval"`
	OpenTime market.Time          `json:"open_time"`
	Values   map[string]auditPair `json:"values,omitempty"` // that differ
	Absent   bool                 `json:"absent,omitempty"`
	Extra    bool                 `json:"extra,omitempty"`
}

type auditPair struct {
	Stored   string `json:"stored"`
	Official string `json:"official"`
}

// report puts audits of what was asked for into words.
func (o *auditOptions) report(asked market.Span, audits []*history.Audit, symbols *market.Symbols) *auditReport {
	r := &auditReport{From: asked.From, To: asked.To, Intervals: []auditInterval{}, Differences: []auditDifference{}, Unlisted: []string{}}
	for _, a := range audits {
		differ := make(map[string]int64)
		for i, name := range market.ValueNames {
			differ[name] = a.Differ[i]
		}
		r.Intervals = append(r.Intervals, auditInterval{a.Interval.String(), a.Compared, a.Equal, a.Absent, a.Extra, a.Doubted, a.Unsettled, a.Incomplete, a.Unlisted, differ})
		r.wrong += a.Wrong()
		r.looked += a.Compared + a.Absent + a.Extra
		for i := range a.First {
			d := &a.First[i]
			sym := symbols.Get(d.Symbol)
			one := auditDifference{Symbol: sym.Name, Interval: a.Interval.String(), OpenTime: d.Ours.OpenTime,
				Absent: d.Ours.State == market.StateAbsent, Extra: d.Official.State == market.StateAbsent}
			if !one.Absent && !one.Extra {
				one.Values = make(map[string]auditPair)
				eachDiffering(d, &sym, func(name, stored, official string) { one.Values[name] = auditPair{stored, official} })
			}
			r.Differences = append(r.Differences, one)
		}
	}
	return r
}

// print writes a table, and the first differences below it.
func (r *auditReport) print(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	var t io.Writer = columns
	fmt.Fprintf(t, "interval\tcompared\tequal\tabsent\textra\tdoubted\tunsettled\tincomplete\tunlisted\t%s\t\n", strings.Join(market.ValueNames[:], "\t"))
	for _, a := range r.Intervals {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t", a.Interval, a.Compared, a.Equal, a.Absent, a.Extra, a.Doubted, a.Unsettled, a.Incomplete, a.Unlisted)
		for _, name := range market.ValueNames {
			fmt.Fprintf(t, "%d\t", a.Differ[name])
		}
		fmt.Fprintln(t)
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	for _, d := range r.Differences {
		fmt.Fprintf(w, "%s %s %s:%s\n", d.Symbol, d.Interval, d.OpenTime, d.text())
	}
	if len(r.Unlisted) > 0 {
		fmt.Fprintf(w, "not compared, as the exchange does not list them any more: %s\n", strings.Join(r.Unlisted, ", "))
	}
	if r.Repaired > 0 {
		fmt.Fprintf(w, "%d klines are to be fetched again\n", r.Repaired)
	}
	return nil
}

// text says how a kline differs: " volume 1.000, the exchange's 2.000".
func (d *auditDifference) text() string {
	switch {
	case d.Absent:
		return " absent"
	case d.Extra:
		return " the exchange has none"
	}
	text := ""
	for _, name := range market.ValueNames {
		if v, differs := d.Values[name]; differs {
			text += fmt.Sprintf(" %s %s, the exchange's %s;", name, v.Stored, v.Official)
		}
	}
	return text[:max(0, len(text)-1)]
}
