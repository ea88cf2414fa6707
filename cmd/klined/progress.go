package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"klined/history"
)

// How often progress is shown: as lines, or as a bar.
const (
	lineEvery = 5 * time.Second
	barEvery  = 200 * time.Millisecond
)

// show shows how a backfill goes until the function it returns is called: a bar on a terminal, else lines.
func show(p *history.Progress, w io.Writer) (stop func()) {
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		return showBar(p, w)
	}
	return every(lineEvery, lines(p, w))
}

// every calls f at a pace until stop is called, and once more then.
func every(pace time.Duration, f func()) (stop func()) {
	tick, over, ended := time.NewTicker(pace), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				f()
			}
		}
	}()
	return func() { close(over); <-ended; f() }
}

// lines writes a line of progress with each call, unless nothing has changed:
//
//	44640 of 180000 klines (24 %), 8928 a second, 15s left
func lines(p *history.Progress, w io.Writer) func() {
	began, last := time.Now(), int64(-1)
	return func() {
		done, total := p.Done.Load(), p.Total.Load()
		if total == 0 || done == last {
			return
		}
		last = done
		rate := float64(done) / time.Since(began).Seconds()
		line := fmt.Sprintf("%d of %d klines (%d %%), %.0f a second", done, total, 100*done/total, rate)
		if rate > 0 && done < total {
			line += ", " + time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second).String() + " left"
		}
		fmt.Fprintln(w, line)
	}
}

// showBar draws a bar.
func showBar(p *history.Progress, w io.Writer) (stop func()) {
	bars := mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
	bar := bars.AddBar(0,
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d klines")),
		mpb.AppendDecorators(decor.Percentage(), decor.AverageSpeed(0, "  %.0f a second"), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 10})))
	end := every(barEvery, func() {
		bar.SetTotal(p.Total.Load(), false)
		bar.SetCurrent(p.Done.Load())
	})
	return func() {
		end()
		bar.Abort(false) // it stays as it is
		bars.Wait()
	}
}
