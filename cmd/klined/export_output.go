package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mattn/go-isatty"

	"klined/store"
)

// write writes the series to where they are to go.
func (o *exportOptions) write(ctx context.Context, r *store.Reader, series []*stored, stdout io.Writer) error {
	folder, err := o.folder()
	if err != nil {
		return err
	}
	if folder {
		return o.writeFolder(ctx, r, series)
	}
	if o.format == "csv" && len(series) > 1 {
		return &usageError{fmt.Errorf("export: csv names no series, and there are %d: choose one with --symbols and --intervals, "+
			"write a folder with --out DIR/, or take another --format", len(series))}
	}
	if o.out != "" {
		return writeFile(filepath.Dir(o.out), filepath.Base(o.out), func(out io.Writer) error { return o.writeAll(ctx, r, series, out) })
	}
	if file, ok := stdout.(*os.File); ok && o.format == "parquet" && isatty.IsTerminal(file.Fd()) {
		return &usageError{errors.New("export: parquet is nothing for a terminal: name a file with --out")}
	}
	return o.writeAll(ctx, r, series, stdout)
}

// folder reports whether --out is one, and makes it.
func (o *exportOptions) folder() (bool, error) {
	if strings.HasSuffix(o.out, "/") || strings.HasSuffix(o.out, string(filepath.Separator)) {
		return true, os.MkdirAll(o.out, 0o755)
	}
	info, err := os.Stat(o.out)
	return err == nil && info.IsDir(), nil
}

// writeFolder writes each series into its own file.
func (o *exportOptions) writeFolder(ctx context.Context, r *store.Reader, series []*stored) error {
	for i, s := range series {
		err := writeFile(o.out, seriesFile(s.symbol, s.interval, o.format), func(out io.Writer) error {
			return o.writeAll(ctx, r, series[i:i+1], out)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeAll writes series into one file.
func (o *exportOptions) writeAll(ctx context.Context, r *store.Reader, series []*stored, out io.Writer) error {
	w := newKlineWriter(out, o.format)
	for _, s := range series {
		if err := s.copyTo(ctx, w, r); err != nil {
			return fmt.Errorf("cannot export %s %s: %w", s.symbol.Name, s.interval, err)
		}
	}
	return w.end()
}

// newKlineWriter is the writer of a format.
func newKlineWriter(out io.Writer, format string) klineWriter {
	if format == "parquet" {
		return newParquetRows(out)
	}
	return newKlineRows(out, format)
}
