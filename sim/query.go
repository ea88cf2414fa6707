package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"klined/market"
)

func refuse(code int, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: code, msg: fmt.Sprintf(format, args...)}
}

func missing(name string) *apiError {
	return refuse(-1102, "Mandatory parameter '%s' was not sent, was empty/null, or malformed.", name)
}

func notValid(name string) *apiError {
	return refuse(-1130, "Data sent for parameter '%s' is not valid.", name)
}

// notTrading refuses a symbol that has not had its first trade.
func notTrading() *apiError { return refuse(-1122, "Invalid symbol status.") }

// sentOnce refuses the first of some parameters that is sent more than once.
func sentOnce(q url.Values, names ...string) *apiError {
	for _, name := range names {
		if len(q[name]) > 1 {
			return refuse(-1101, "Duplicate values for parameter '%s'.", name)
		}
	}
	return nil
}

// symbolOf is the symbol that a parameter names, its ASCII letters in any case.
func (e *Exchange) symbolOf(q url.Values, name string) (*symbol, *apiError) {
	value := q.Get(name)
	if value == "" {
		return nil, missing(name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.byName[upper(value)]; s != nil && !s.gone {
		return s, nil
	}
	return nil, refuse(-1121, "Invalid symbol.")
}

// pairOf is the contract of a pair that is of a type and trades, or else one that is delisted; nil where there is none.
func (e *Exchange) pairOf(pair, contract string) (found *symbol) {
	pair = upper(pair)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.symbols {
		if !s.gone && s.pair == pair && s.contract == contract && (found == nil || s.status == statusTrading) {
			found = s
		}
	}
	return found
}

// number reads a parameter that is a whole number; ok is false where it was not sent.
func number(q url.Values, name string) (n int64, ok bool, bad *apiError) {
	value := q.Get(name)
	if value == "" {
		return 0, false, nil
	}
	if len(value) > 20 || strings.TrimLeft(value, "0123456789") != "" {
		return 0, false, refuse(-1100, "Illegal characters found in parameter '%s'; legal range is '^[0-9]{1,20}$'.", name)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, false, notValid(name)
	}
	return n, true, nil
}

// limitOf reads limit, which is from 1 to most.
func limitOf(q url.Values, usual, most int) (int, *apiError) {
	value := q.Get("limit")
	if value == "" {
		return usual, nil
	}
	n, err := strconv.ParseUint(value, 10, 31) // digits alone
	if err != nil || n < 1 || n > uint64(most) {
		return 0, notValid("limit")
	}
	return int(n), nil
}

// windowOf reads startTime, endTime and limit.
func windowOf(q url.Values, usual, most int) (w window, bad *apiError) {
	if w.limit, bad = limitOf(q, usual, most); bad != nil {
		return w, bad
	}
	start, started, bad := number(q, "startTime")
	if bad != nil {
		return w, bad
	}
	end, ended, bad := number(q, "endTime")
	if bad != nil {
		return w, bad
	}
	if started && ended && start > end {
		return w, refuse(-1023, "Start time is greater than end time.")
	}
	w.start, w.end = timeOf(start, started), timeOf(end, ended)
	return w, nil
}

// timeOf is a time that was sent; 0 is one that was not.
func timeOf(n int64, sent bool) market.Time {
	if !sent {
		return 0
	}
	return market.Time(min(max(n, 1), int64(maxStart)))
}

// upper is a name with its ASCII letters in upper case: all others are taken as they are.
func upper(name string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			return c + 'A' - 'a'
		}
		return c
	}, name)
}
