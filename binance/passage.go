package binance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"klined/market"
)

// codeTooMany is the refusal for weight: {"code":-1003,"msg":"Too many requests; …"}. (-1015 is that of too many orders.)
const codeTooMany = -1003

// maxRefusal is how much of a refusal is read for what it says.
const maxRefusal = 64 << 10

// passage is one request on its way to the exchange and back.
type passage struct {
	f         *Forwarder
	w         http.ResponseWriter
	private   bool // it goes as it came, whatever it carries
	cost      cost
	asked     time.Time
	connected atomic.Bool // the exchange may have read something of it
	err       error       // why there is no answer
}

// What is passed on of a question, and of its answer together with all that begins with X-MBX-.
var (
	sentHeaders     = []string{"Accept", "Accept-Encoding", "User-Agent"}
	answeredHeaders = []string{"Content-Type", "Content-Encoding", "Content-Length", "Date", "Last-Modified", "Retry-After", "Vary"}
)

// unsentHeaders stay behind whatever is passed on. An upgrade: nothing below these paths changes its protocol. What has net/http
// send a request again whose answer was lost: it may be an order. Cookies: a browser gives us those of all that is served
// on this machine. Authorization: it is between the client and klined, or what stands before it; the exchange has keys instead.
var unsentHeaders = []string{"Connection", "Upgrade", "Idempotency-Key", "X-Idempotency-Key", "Cookie", "Authorization"}

// usedWeightHeader is the address's weight of the running minute.
const usedWeightHeader = "X-Mbx-Used-Weight-1m"

// rewrite turns the client's request into ours: to the exchange's address, the query byte for byte.
func (p *passage) rewrite(r *httputil.ProxyRequest) {
	to := p.f.usd
	if strings.HasPrefix(r.In.URL.Path, coinPrefix) {
		to = p.f.coin
	}
	address := *r.In.URL
	address.Scheme, address.Host, address.User = to.Scheme, to.Host, nil
	address.Path, address.RawPath = to.Path+r.In.URL.Path, ""
	r.Out.URL, r.Out.Host = &address, to.Host
	if p.private {
		for _, name := range unsentHeaders {
			r.Out.Header.Del(name)
		}
		return
	}
	only(r.Out.Header, sentHeaders, "")
	r.Out.Body, r.Out.ContentLength = http.NoBody, 0
	if r.In.Header.Get("User-Agent") == "" {
		r.Out.Header["User-Agent"] = nil // none, as it came
	}
}

// answered takes in what an answer says of the weight, and keeps of it what the client gets.
func (p *passage) answered(answer *http.Response) error {
	rest := p.f.rest
	countForwarded(rest.o.Metrics, p.cost.name, strconv.Itoa(answer.StatusCode))
	refused, err := p.refusal(answer)
	rest.budget.said(usedWeight(answer, p.cost.name), p.cost.weight, p.asked)
	p.paid()
	// Who reads slowly is not waited for longer than the exchange.
	_ = http.NewResponseController(p.w).SetWriteDeadline(p.asked.Add(forwardTimeout))
	if err != nil {
		return err
	}
	if p.private {
		p.w.Header().Del(usedWeightHeader) // who sends orders must know how close the exchange itself is to refusing them
	}
	p.w.Header().Del("Date") // its own says when it was given
	for name := range p.w.Header() {
		answer.Header.Del(name) // ours stays
	}
	answer.Header.Del("Access-Control-Allow-Origin") // it is ours to say who may read this
	answer.Header.Del("Set-Cookie")
	if p.private {
		return nil
	}
	if refused != nil {
		return refused // this address is refused, not the client
	}
	only(answer.Header, answeredHeaders, "X-Mbx-")
	answer.Body = &bounded{answer.Body, maxBody}
	return nil
}

// refusal reads a refusal, has those know whom it concerns, and leaves the answer as it was: the weight is this address's, and
// so are the requests of some endpoints; orders are counted by account, which is the client's own business.
func (p *passage) refusal(answer *http.Response) (refused, err error) {
	if s := answer.StatusCode; s != http.StatusTooManyRequests && s != http.StatusTeapot {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	if err != nil {
		return nil, err
	}
	e := apiError(answer.StatusCode, body)
	switch {
	case p.cost.allowance != allowanceNone && e.Status != http.StatusTeapot:
		refused = p.f.allowed.exhaust(p.cost.allowance, seconds(answer.Header.Get("Retry-After")))
	case e.Status == http.StatusTeapot || e.Code == codeTooMany || e.Code == 0:
		refused = p.f.rest.obey(answer, e)
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), answer.Body), answer.Body}
	return refused, nil
}

// paid ends the weight of the request, once: its minute is known when the exchange has answered, however long the client reads.
func (p *passage) paid() {
	p.f.rest.budget.end(p.cost.weight)
	p.cost.weight = 0
}

// failed keeps why there is no answer; a request that never reached the exchange is known not to have been carried out.
func (p *passage) failed(_ http.ResponseWriter, r *http.Request, err error) {
	p.paid()
	var refused *market.BudgetError
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
		p.err = refused
		return
	case errors.As(err, &tooLong): // the exchange has not seen its end
		p.err = tooLong
		return
	}
	countForwarded(p.f.rest.o.Metrics, p.cost.name, "error")
	p.err = fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, transport(r.Context(), err))
	if p.private && p.connected.Load() {
		p.err = fmt.Errorf("%w: %w", market.ErrOutcomeUnknown, p.err)
	}
}

// only leaves the named headers, and with a prefix all that begin with it.
func only(h http.Header, names []string, prefix string) {
	for name := range h {
		keep := prefix != "" && strings.HasPrefix(name, prefix)
		for _, n := range names {
			keep = keep || n == name
		}
		if !keep {
			delete(h, name)
		}
	}
}

// bounded is a body that fails where it is longer than left.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", int64(maxBody))
	}
	return n, err
}
