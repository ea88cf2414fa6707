package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"

	"klined/binance"
	"klined/market"
	"klined/tape"
)

// shownRows is how many unreadable rows of a file are shown one by one.
const shownRows = 5

// replayInput takes the trades out of files and into books.
type replayInput struct {
	o       replayOptions
	stderr  io.Writer
	base    market.Interval
	books   map[bookKey]*book
	others  map[string]bool // symbols that --symbol leaves out
	symbols market.Symbols
	batch   market.Batch
}

func newReplayInput(o replayOptions, stderr io.Writer) *replayInput {
	return &replayInput{o: o, stderr: stderr, base: baseOf(o.intervals),
		books: make(map[bookKey]*book), others: make(map[string]bool)}
}

// report writes one line to stderr.
func (in *replayInput) report(format string, args ...any) {
	_, _ = fmt.Fprintf(in.stderr, format+"\n", args...)
}

// book is the one for a symbol's trades of a source; nil where --symbol leaves it out.
func (in *replayInput) book(symbol string, source market.Source) *book {
	if in.o.symbol != "" && symbol != in.o.symbol {
		in.others[symbol] = true
		return nil
	}
	key := bookKey{symbol, source}
	b := in.books[key]
	if b == nil {
		b = newBook(key, in.base)
		in.books[key] = b
	}
	return b
}

// readFile takes the trades of one file, as far as it can be read.
func (in *replayInput) readFile(ctx context.Context, name string) error {
	f, err := openInput(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines, err := tape.NewLines(name, f)
	if err != nil {
		return err
	}
	return in.readLines(ctx, name, lines)
}

// readLines tells by the first line what a file holds.
func (in *replayInput) readLines(ctx context.Context, name string, lines *tape.Lines) error {
	first, err := firstLine(lines)
	if err == io.EOF {
		return fmt.Errorf("%s: empty", name)
	}
	if err != nil {
		return err
	}
	if archive, header := binance.SniffArchive(first); archive != nil {
		if !header {
			lines.Back()
		}
		return in.readArchive(ctx, name, lines, archive)
	}
	shown := fmt.Sprintf("%.80q", first)
	lines.Back()
	n, err := in.readTape(ctx, name, tape.NewReader(lines))
	if n == 0 && err == nil {
		return fmt.Errorf("%s: neither archive CSV of trades nor lines of frames; it begins with %s", name, shown)
	}
	return err
}

// firstLine is the first line that is not empty.
func firstLine(lines *tape.Lines) ([]byte, error) {
	for {
		line, err := lines.Next()
		if err == tape.ErrLong {
			continue
		}
		if err != nil || len(line) > 0 {
			return line, err
		}
	}
}

// readArchive takes the rows of an archive file.
func (in *replayInput) readArchive(ctx context.Context, name string, lines *tape.Lines, a *binance.ArchiveTrades) error {
	symbol, err := in.archiveSymbol(name)
	if err != nil {
		return err
	}
	b := in.book(symbol, a.Source)
	bad := badRows{in: in, name: name}
	defer bad.total()
	defer func() { b.written(a.PriceDigits, a.QtyDigits) }()
	var t market.Trade
	for ctx.Err() == nil {
		line, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil && len(line) == 0 {
			continue
		}
		if err == nil {
			if err = a.Row(line, &t); err != nil && !lines.Whole() {
				return lines.Truncated()
			}
		} else if !errors.Is(err, tape.ErrLong) {
			return err
		}
		switch {
		case err == nil:
			b.take(&t)
		case !a.IsHeader(line): // files that were joined have one each
			bad.add(lines.Number(), err)
		}
	}
	return ctx.Err()
}

// archiveName is how the archive names its files of trades.
var archiveName = regexp.MustCompile(`^([^a-z]+)-(?:aggTrades|trades)-\d{4}-\d{2}`)

// archiveSymbol is the symbol of an archive file: what --symbol says, or what its name says.
func (in *replayInput) archiveSymbol(name string) (string, error) {
	named := ""
	if m := archiveName.FindStringSubmatch(filepath.Base(name)); m != nil {
		named = m[1]
	}
	switch {
	case in.o.symbol != "" && named != "" && named != in.o.symbol:
		return "", fmt.Errorf("%s: is of %s by its name, where --symbol says %s", name, named, in.o.symbol)
	case in.o.symbol == "" && named == "":
		return "", fmt.Errorf("%s: archive CSV names no symbol: add --symbol", name)
	}
	return cmp.Or(in.o.symbol, named), nil
}

// readTape takes the trades among the frames of a tape, and says how many frames there were.
func (in *replayInput) readTape(ctx context.Context, name string, r *tape.Reader) (frames int64, err error) {
	bad := badRows{in: in, name: name}
	defer bad.total()
	decoders := in.decoders()
	for ctx.Err() == nil {
		frame, err := r.Next()
		if err != nil {
			if n := r.Skipped(); n > 0 && frames > 0 {
				in.report("%s: %s without a frame skipped", name, counted(n, "line"))
			}
			if n := r.LeftOut(); n > 0 {
				in.report("%s: %s left out when it was recorded", name, counted(n, "frame"))
			}
			if err == io.EOF {
				err = nil
			}
			return frames, err
		}
		frames++
		if err := in.frame(decoders, frame.Data); err != nil {
			bad.add(frame.Line, err)
		}
	}
	return frames, ctx.Err()
}

// decoders are one for each source, by Source. A symbol is registered when its first frame comes.
func (in *replayInput) decoders() [2]*binance.Decoder {
	var d [2]*binance.Decoder
	for _, source := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
		d[source] = binance.NewDecoder(&in.symbols, source, nil, nil)
		d[source].OnUnknown = func(name []byte) { in.symbols.Put(market.Symbol{Name: string(name)}) }
	}
	return d
}

// frame takes the trade of a frame, where it is one.
func (in *replayInput) frame(decoders [2]*binance.Decoder, frame []byte) error {
	for source, d := range decoders {
		in.batch.Reset()
		kind, err := d.Frame(frame, &in.batch)
		if err != nil {
			return err
		}
		if kind == binance.KindOther {
			continue
		}
		for i := range in.batch.Trades {
			t := &in.batch.Trades[i]
			if b := in.book(in.symbols.Get(t.SymbolID).Name, market.Source(source)); b != nil {
				b.written(binance.WrittenDigits(frame))
				b.take(t)
			}
		}
		return nil
	}
	return nil
}

// chosen are the books to write, by symbol. Where a symbol has both its aggTrades and its trades, one is left out.
func (in *replayInput) chosen() []*book {
	var books []*book
	for key, b := range in.books {
		if b.trades == 0 {
			continue
		}
		other := in.books[bookKey{key.symbol, 1 - key.source}]
		if other != nil && other.trades > 0 && !b.before(other) {
			more := ""
			if n := b.fills() - other.fills(); n > 0 {
				more = fmt.Sprintf(", which are %d fewer than these stand for", n)
			}
			in.report("%s: %s left out, for the input holds its %ss%s", key.symbol, counted(b.trades, key.source.String()), other.source, more)
			continue
		}
		books = append(books, b)
	}
	slices.SortFunc(books, func(a, b *book) int { return cmp.Compare(a.symbol, b.symbol) })
	return books
}

// nothing says that there is no trade to sum.
func (in *replayInput) nothing() error {
	if len(in.others) == 0 {
		return errors.New("no trades in the input")
	}
	var books []*book
	for symbol := range in.others {
		books = append(books, &book{bookKey: bookKey{symbol: symbol}})
	}
	slices.SortFunc(books, func(a, b *book) int { return cmp.Compare(a.symbol, b.symbol) })
	return fmt.Errorf("no trades of %s in the input; it holds %s", in.o.symbol, someNames(books))
}

// digits gives each book the digits of its symbol from --exchange-info; without it they stay those that were written.
func (in *replayInput) digits(ctx context.Context, books []*book) error {
	if in.o.exchangeInfo == "" {
		return nil
	}
	body, err := readText(ctx, in.o.exchangeInfo)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	info, err := binance.ParseExchangeInfo(body)
	if err != nil {
		return fmt.Errorf("%s: %w", in.o.exchangeInfo, err)
	}
	for _, b := range books {
		i := slices.IndexFunc(info.Listings, func(l binance.Listing) bool { return l.Name == b.symbol })
		if i < 0 {
			why := "not in " + in.o.exchangeInfo
			if oddity := info.Oddity(b.symbol); oddity != nil {
				why = fmt.Sprintf("odd in %s (%v)", in.o.exchangeInfo, oddity)
			}
			in.report("%s: %s; written with the digits of the input", b.symbol, why)
			continue
		}
		b.priceDigits, b.qtyDigits = info.Listings[i].PriceDigits, info.Listings[i].QtyDigits
	}
	return nil
}

// readText reads a file whole, plain or packed.
func readText(ctx context.Context, name string) (text []byte, err error) {
	f, err := openInput(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	lines, err := tape.NewLines(name, f)
	for err == nil {
		var line []byte
		if line, err = lines.Next(); err == nil {
			text = append(append(text, line...), '\n')
		}
	}
	if err == io.EOF {
		err = nil
	}
	return text, err
}

// badRows counts the rows of a file that could not be read, and shows the first.
type badRows struct {
	in   *replayInput
	name string
	n    int64
}

func (r *badRows) add(line int64, err error) {
	if r.n++; r.n <= shownRows {
		r.in.report("%s: line %d: %v", r.name, line, err)
	}
}

func (r *badRows) total() {
	if r.n > 0 {
		r.in.report("%s: %s dropped", r.name, counted(r.n, "unreadable row"))
	}
}
