package market

// Range is the klines of a series that open within a span.
type Range struct {
	Series
	Span
}

// Said is how often REST has given the same values of an official kline.
type Said uint8

// How often REST may have said the same.
const (
	SaidOnce  Said = iota
	SaidAgain      // in two reads at least 30 s apart
	SaidLong       // for an hour, or it is folded from official klines
)

// Belief says what became of a kline that the exchange gives as its own.
type Belief uint8

// What may become of such a kline.
const (
	Doubted    Belief = iota // it may be wrong: it replaced nothing, and is to be read again
	Believed                 // it is in place of ours now
	OutOfReach               // the lane does not hand it on: it ended before the stream began, or is not kept in memory any more
)
