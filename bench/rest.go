package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"klined/fixed"
	"klined/market"
	"klined/serve"
)

// restRows is how many klines one request asks for.
const restRows = 1500

var klinesRow = subject{
	name: "rest_klines", unit: "µs, p50", what: "a request for 1,500 klines, on one kept connection, to its last byte",
	baseline: "the same rows through encoding/json, net/http",
	open: func(_ context.Context, o Options) (*pair, error) {
		s, err := startServer(serve.Options{Live: idle{}, Store: fullStore{}})
		if err != nil {
			return nil, err
		}
		plain := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(plainKlines)}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		go func() { _ = plain.Serve(l) }()
		query := fmt.Sprintf("/fapi/v1/klines?symbol=%s&interval=1m&limit=%d&startTime=%d&endTime=%d", symbolName(0), restRows, restFrom, restFrom+restRows*market.Minute-1)
		requests := o.scaled(300, 1)
		return &pair{
			value: func(ctx context.Context) (sample, error) {
				return answerDelay(ctx, requests, "http://"+s.address+query)
			},
			baseline: func(ctx context.Context) (sample, error) {
				return answerDelay(ctx, requests, "http://"+l.Addr().String())
			},
			close: func() {
				s.stop()
				_ = plain.Close()
			},
		}, nil
	},
}

// restFrom is when the first of the rows opens.
const restFrom = minute - 2000*market.Minute

// restKlines are klines as a busy symbol has them.
func restKlines() []market.Kline {
	rows := make([]market.Kline, restRows)
	for i := range rows {
		k := market.EmptyKline(restFrom+market.Time(i)*market.Minute, 83_084*fixed.One+fixed.Value(i)*fixed.One/10)
		k.High, k.Volume, k.TakerBuyVolume = k.High+fixed.One, (fixed.One * 13).Sum(), (fixed.One * 6).Sum()
		k.QuoteVolume, k.TakerBuyQuoteVolume = fixed.Mul(k.High, 13*fixed.One), fixed.Mul(k.Open, 6*fixed.One)
		k.TradeCount, k.FirstID, k.LastID, k.State = 1027, 8153633367, 8153634393, market.StateSettled
		rows[i] = k
	}
	return rows
}

// fullStore implements serve.Store with the rows of one series.
type fullStore struct{}

// Klines implements serve.Store.
func (fullStore) Klines(context.Context, []market.Kline, market.Series, market.Span) ([]market.Kline, []market.Span, error) {
	return restKlines(), nil, nil
}

// plainKlines answers the same rows as it is usually written.
func plainKlines(w http.ResponseWriter, _ *http.Request) {
	rows := restKlines()
	out := make([][]any, len(rows))
	for i := range rows {
		k := &rows[i]
		out[i] = []any{int64(k.OpenTime), k.Open.String(), k.High.String(), k.Low.String(), k.Close.String(), k.Volume.String(),
			int64(market.OneMinute.Next(k.OpenTime)) - 1, k.QuoteVolume.String(), k.TradeCount, k.TakerBuyVolume.String(), k.TakerBuyQuoteVolume.String(), "0"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// answerDelay asks one request after the other.
func answerDelay(ctx context.Context, requests int, url string) (sample, error) {
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	var delays []time.Duration
	for range requests {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return sample{}, err
		}
		began := time.Now()
		answer, err := client.Do(request)
		if err != nil {
			return sample{}, err
		}
		n, err := io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if err == nil && (answer.StatusCode != http.StatusOK || n < restRows*100) {
			err = fmt.Errorf("status %d, %d bytes", answer.StatusCode, n)
		}
		if err != nil {
			return sample{}, err
		}
		delays = append(delays, time.Since(began))
	}
	return ofDelays(delays), nil
}

// ofDelays is the median and the 99th of a hundred.
func ofDelays(delays []time.Duration) sample {
	slices.Sort(delays)
	return sample{value: micros(delays[len(delays)/2]), p99: micros(delays[len(delays)*99/100]), allocs: -1}
}
