package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"klined/health"
	"klined/market"
)

const (
	restTimeout  = 20 * time.Second
	maxBody      = 16 << 20       // of an answer, unpacked; exchangeInfo has 1.2 MB, a month of minutes 6
	longestBlock = 72 * time.Hour // the exchange bans for three days at most
)

// RESTOptions say where the exchange's REST is and what it may cost.
type RESTOptions struct {
	Base    string       // DefaultREST where empty; without a path
	HTTP    *http.Client // one of our own where nil
	Budget  *Budget      // one of the default size where nil
	Symbols *market.Symbols
	Source  market.Source // whose ids LatestID tells
	Clock   Clock         // this machine's where nil
	Metrics *health.Metrics
	Log     *slog.Logger
}

// REST asks the exchange. All of its methods may be called from any goroutine; they wait for their turn in the budget
// and, but for ClassClients, until the exchange takes requests again where it has refused them.
type REST struct {
	o      RESTOptions
	budget *Budget
	log    *slog.Logger
}

// NewREST makes a client; it asks nothing yet.
func NewREST(o RESTOptions) *REST {
	if o.Base == "" {
		o.Base = DefaultREST
	}
	o.Base = strings.TrimSuffix(o.Base, "/")
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	if o.Clock == nil {
		o.Clock = localClock{}
	}
	if o.Budget == nil {
		o.Budget = NewBudget(BudgetOptions{Clock: o.Clock, Metrics: o.Metrics})
	}
	return &REST{o: o, budget: o.Budget, log: logOrNone(o.Log, "life")}
}

// APIError is the exchange's refusal of one request.
type APIError struct {
	Status int    // HTTP's
	Code   int    // the exchange's, negative; 0 where it sent none
	Msg    string // the exchange's words
}

func (e *APIError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("status %d: %s", e.Status, e.Msg)
	}
	return fmt.Sprintf("status %d, code %d: %s", e.Status, e.Code, e.Msg)
}

// ErrTooOld is the refusal of what lies further back than the exchange reaches: 48 hours with AggTrades. The *APIError
// says so to errors.Is.
var ErrTooOld = errors.New("older than the exchange reaches back")

// codeTooOld: {"code":-4166,"msg":"Search window is restricted to recent 2 days only."}
const codeTooOld = -4166

// codeNotListed: {"code":-1121,"msg":"Invalid symbol."}
const codeNotListed = -1121

// Is reports whether e is a refusal that has a name here.
func (e *APIError) Is(target error) bool {
	return target == ErrTooOld && e.Code == codeTooOld || target == market.ErrNotListed && e.Code == codeNotListed
}

// Time is the exchange's time. It does not wait for its turn: the answer would be worth nothing to who measures it.
func (r *REST) Time(ctx context.Context) (market.Time, error) {
	if err := r.budget.take(1); err != nil {
		return 0, fmt.Errorf("GET %s: %w", pathTime, err)
	}
	body, _, err := r.once(ctx, pathTime, 1, nil)
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", pathTime, err)
	}
	var answer struct {
		ServerTime *int64 `json:"serverTime"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("GET %s: cannot read %s: %w", pathTime, shown(body), err)
	}
	if answer.ServerTime == nil || *answer.ServerTime <= 0 {
		return 0, fmt.Errorf("GET %s: no serverTime in %s", pathTime, shown(body))
	}
	return market.Time(*answer.ServerTime), nil
}

// get asks one question in its turn; again where the exchange refused it for its weight and the class may wait.
// It says when the exchange answered.
func (r *REST) get(ctx context.Context, class market.Class, endpoint string, weight int, query url.Values) (body []byte, answered market.Time, err error) {
	for {
		if err = r.budget.acquire(ctx, class, weight); err == nil {
			if body, answered, err = r.once(ctx, endpoint, weight, query); err == nil {
				return body, answered, nil
			}
		}
		var refusal *market.BudgetError
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		if !errors.As(err, &refusal) || class == market.ClassClients || ctx.Err() != nil {
			return nil, 0, fmt.Errorf("GET %s: %w", question(endpoint, query), err)
		}
	}
}

// question is what is asked, for errors.
func question(endpoint string, query url.Values) string {
	if len(query) == 0 {
		return endpoint
	}
	text, err := url.QueryUnescape(query.Encode())
	if err != nil {
		text = query.Encode()
	}
	return endpoint + "?" + text
}

// once sends one request, whose weight has been taken, and reads the answer. Where the exchange wants us to wait, the
// budget knows, and the error is a *market.BudgetError.
func (r *REST) once(ctx context.Context, endpoint string, weight int, query url.Values) (body []byte, answered market.Time, err error) {
	defer r.budget.end(weight)
	tooLate := fmt.Errorf("no answer within %s: %w", restTimeout, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, restTimeout, tooLate)
	defer cancel()
	address := r.o.Base + endpoint
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, err
	}
	asked := time.Now()
	answer, err := r.o.HTTP.Do(request)
	if err != nil {
		countRequest(r.o.Metrics, endpoint, "error")
		return nil, 0, transport(ctx, err)
	}
	defer answer.Body.Close()
	countRequest(r.o.Metrics, endpoint, strconv.Itoa(answer.StatusCode))
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	refusal := r.refused(answer, body)
	r.budget.said(usedWeight(answer, path.Base(endpoint)), weight, asked)
	r.log.Debug("asked the exchange", "path", endpoint, "symbol", query.Get("symbol"), "weight", weight, "status", answer.StatusCode,
		"bytes", len(body), "took", time.Since(asked).Round(time.Microsecond))
	switch {
	case refusal != nil:
		return nil, 0, refusal
	case err != nil:
		return nil, 0, fmt.Errorf("cannot read the answer: %w", transport(ctx, err))
	case len(body) > maxBody:
		return nil, 0, fmt.Errorf("an answer of more than %d bytes", maxBody)
	}
	return body, r.answeredAt(answer), nil
}

// usedWeight is what an endpoint's answer says this address has used in the minute; 0 where it does not say, or is not to be
// believed: that of prices and book tickers is not accurate (Binance's connectors).
func usedWeight(answer *http.Response, endpoint string) int {
	if endpoint == "price" || endpoint == "bookTicker" {
		return 0
	}
	used, err := strconv.Atoi(answer.Header.Get(usedWeightHeader))
	if err != nil {
		return 0
	}
	return max(0, used)
}

// transport is the cause of an error of net/http, without the address: who asks names it.
func transport(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// countRequest counts a request by how it ended: HTTP's status, or "error".
func countRequest(metrics *health.Metrics, endpoint, status string) {
	if metrics != nil {
		metrics.RESTRequests.WithLabelValues(path.Base(endpoint), status).Inc()
	}
}

// refused reads an answer that is not 200; nil where it is:
//
//	{"code":-1121,"msg":"Invalid symbol."}
func (r *REST) refused(answer *http.Response, body []byte) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	e := apiError(answer.StatusCode, body)
	if e.Status != http.StatusTooManyRequests && e.Status != http.StatusTeapot {
		return e
	}
	return r.obey(answer, e)
}

// apiError reads what the exchange says of a refusal.
func apiError(status int, body []byte) *APIError {
	e := &APIError{Status: status}
	var said struct {
		Code int    `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(body, &said) == nil && said.Msg != "" {
		e.Code, e.Msg = said.Code, said.Msg
	} else {
		e.Msg = http.StatusText(e.Status)
		if len(body) > 0 {
			e.Msg = saidInPage(body, e.Msg)
		}
	}
	return e
}

// obey has everyone wait as long as a refusal says.
func (r *REST) obey(answer *http.Response, e *APIError) *market.BudgetError {
	now := r.answeredAt(answer)
	until := min(waitUntil(now, e, answer.Header.Get("Retry-After")), now.Add(longestBlock))
	reason := fmt.Sprintf("the exchange refuses requests (%v)", e)
	if r.budget.block(until.Sub(now), reason) {
		r.log.Warn("the exchange refuses requests", "status", e.Status, "code", e.Code, "msg", e.Msg, "until", until)
	}
	return &market.BudgetError{RetryAfter: until.Sub(now), Reason: reason}
}

// answeredAt is the exchange's time as it was when it answered: the answer's own, for ours may not be right yet.
func (r *REST) answeredAt(answer *http.Response) market.Time {
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		return market.TimeOf(date)
	}
	return r.o.Clock.Now()
}

// waitUntil is when a refusal ends: at the time it names, after the seconds of its Retry-After, or else with the UTC
// minute, to which the weight belongs.
func waitUntil(now market.Time, e *APIError, retryAfter string) market.Time {
	if until, ok := bannedUntil(e.Msg); ok && e.Status == http.StatusTeapot && until > now {
		return until
	}
	if wait := seconds(retryAfter); wait > 0 {
		return now.Add(wait)
	}
	return market.OneMinute.Next(now)
}

// seconds reads a Retry-After; 0 where it is none.
func seconds(retryAfter string) time.Duration {
	n, err := strconv.ParseInt(retryAfter, 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(max(0, n)) * time.Second
}

// bannedUntil finds the epoch ms in "Way too many requests; IP(1.2.3.4) banned until 1615183669840. Please …".
func bannedUntil(msg string) (market.Time, bool) {
	_, after, found := strings.Cut(msg, "banned until ")
	if !found {
		return 0, false
	}
	end := strings.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(after)
	}
	ms, err := strconv.ParseInt(after[:end], 10, 64)
	return market.Time(ms), err == nil
}

// pageTitle and pageTags find, in a page, its title and what is no text.
var (
	pageTitle = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	pageTags  = regexp.MustCompile(`(?s)<[^>]*>`)
)

// saidInPage is what a body that is not the exchange's JSON says, in a line: a page's title, or the beginning of its words;
// without any of them instead.
func saidInPage(body []byte, instead string) string {
	const looked = 4 << 10
	text := strings.ToValidUTF8(string(body[:min(len(body), looked)]), "")
	if title := pageTitle.FindStringSubmatch(text); title != nil {
		text = title[1]
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, pageTags.ReplaceAllString(text, " "))
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return instead
	}
	return strings.ToValidUTF8(text[:min(len(text), shownBytes)], "")
}

// shown is the beginning of a text, quoted, for errors.
func shown(body []byte) string { return strconv.Quote(string(body[:min(len(body), shownBytes)])) }
