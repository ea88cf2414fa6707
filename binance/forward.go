package binance

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"klined/market"
)

// Bounds of what is passed on.
const (
	forwardTimeout = 30 * time.Second // from the request to the answer's end
	maxRequest     = 4 << 20          // bytes of a request's body; the exchange's batches of orders have some kilobytes
	maxForwards    = 256              // questions that wait or are under way at once
)

// Forwarder passes requests of others on to the exchange, and its answers back. It neither keeps nor logs what they
// carry. It may be used from any goroutine.
type Forwarder struct {
	rest    *REST    // whose budget pays, and who reads the exchange's refusals
	usd     *url.URL // where /fapi and /futures/data are
	coin    *url.URL // where /dapi is
	allowed *allowances
	passing chan struct{} // holds one for each question
}

// Forwarder makes a forwarder to where r asks. Its error is an address that is none.
func (r *REST) Forwarder() (*Forwarder, error) {
	usd, err := url.Parse(r.o.Base)
	if err != nil {
		return nil, fmt.Errorf("cannot forward to %q: %w", r.o.Base, err)
	}
	return &Forwarder{rest: r, usd: usd, coin: coinHost(usd), allowed: newAllowances(r.budget.share()),
		passing: make(chan struct{}, maxForwards)}, nil
}

// coinHost is where /dapi is served: the exchange has a host of its own for it (COIN-M Futures, "General Info"), others
// serve it with the rest.
func coinHost(usd *url.URL) *url.URL {
	name, rest, _ := strings.Cut(usd.Host, ".")
	before, ok := strings.CutSuffix(name, "fapi")
	if !ok || !strings.HasPrefix(rest, "binance.") {
		return usd
	}
	coin := *usd
	coin.Host = before + "dapi." + rest
	return &coin
}

// Weight is what the exchange counts for a request, as far as it is known here.
func (f *Forwarder) Weight(r *http.Request, private bool) int { return costOfAny(r, private).weight }

// costOfAny is what is charged for a request. Of the many endpoints that need a key most weigh little; what the exchange says
// is used then counts.
func costOfAny(r *http.Request, private bool) cost {
	c := costOf(r.URL.Path, r.URL.Query())
	if private && c.name == otherName {
		c.weight = 1
	}
	return c
}

// Pass sends r on and copies the answer to w: a private one untouched and whatever the budget says, any other as the question
// that anybody may ask, without a key and within the budget. Where it returns an error it has written nothing: a
// *market.BudgetError where the exchange may not be asked now, a *market.TooHeavyError where it never may, an *http.MaxBytesError where the body is too long,
// market.ErrOutcomeUnknown where the request may have been carried out. r's path must be one that the exchange could have.
func (f *Forwarder) Pass(w http.ResponseWriter, r *http.Request, private bool) error {
	c, budget := costOfAny(r, private), f.rest.budget
	if private {
		budget.count(c.weight)
	} else {
		select {
		case f.passing <- struct{}{}:
			defer func() { <-f.passing }()
		default:
			return &market.BudgetError{RetryAfter: time.Second, Reason: "too many requests wait for the exchange"}
		}
		if err := budget.acquire(r.Context(), market.ClassClients, c.weight); err != nil {
			return err
		}
		if err := f.allowed.take(c.allowance); err != nil {
			budget.end(c.weight)
			return err
		}
	}
	return f.send(w, r, &passage{f: f, w: w, private: private, cost: c})
}

// send passes r on; it has been paid for.
func (f *Forwarder) send(w http.ResponseWriter, r *http.Request, p *passage) error {
	ctx, cancel := context.WithTimeout(r.Context(), forwardTimeout)
	defer cancel()
	if f.rest.o.Metrics != nil {
		f.rest.o.Metrics.Forwarded.Inc()
	}
	p.asked = time.Now()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { p.connected.Store(true) }})
	out := r.WithContext(ctx)
	if r.Body != nil {
		out.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	}
	proxy := httputil.ReverseProxy{
		Rewrite: p.rewrite, ModifyResponse: p.answered, ErrorHandler: p.failed, Transport: f.rest.o.HTTP.Transport,
		ErrorLog: slog.NewLogLogger(f.rest.log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, out)
	return p.err
}
