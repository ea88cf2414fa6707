package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// holdBack is how long a frame waits for the next one of its connection to change places with.
const holdBack = 50 * time.Millisecond

// heldFrame is a frame that the connection's next one is to overtake.
type heldFrame struct {
	frame  []byte
	copies int
	until  time.Time
}

// hits reports whether f is about a connection; the caller holds e.mu.
func (e *Exchange) hits(f *Fault, c *conn) bool {
	return f.reaches(c) && (f.Stream == "" && f.Symbol == "" || slices.ContainsFunc(c.names, func(name string) bool {
		return f.touches(name, e.streams.subject(name))
	}))
}

// reaches reports whether f may be about a connection, whatever it hears.
func (f *Fault) reaches(c *conn) bool {
	return (f.Conn == 0 || f.Conn == c.num) && strings.Contains(c.path, f.Path)
}

// touches reports whether f is about a stream of that name, which is of a symbol or, where that is nil, of all or of
// none. The witness of all symbols stays honest where one of them suffers, unless it is asked for by name.
func (f *Fault) touches(name string, of *symbol) bool {
	if !strings.Contains(name, f.Stream) {
		return false
	}
	if f.Symbol == "" || of != nil && of.name == f.Symbol {
		return true
	}
	return name == allMiniName && f.Stream != ""
}

// send queues a frame of a stream for a connection, as far as the faults in force let it. The frame is valid until send
// returns.
func (e *Exchange) send(c *conn, st *stream, frame []byte) {
	copies, late := e.fate(c, st)
	switch {
	case copies == 0:
		return
	case late && c.held == nil:
		c.held = &heldFrame{slices.Clone(frame), copies, time.Now().Add(holdBack)}
		e.holding = append(e.holding, c)
		return
	}
	for range copies {
		c.data(frame)
	}
	e.release(c)
}

// fate is how often a frame goes out to a connection, and whether after the next one.
func (e *Exchange) fate(c *conn, st *stream) (copies int, late bool) {
	copies = 1
	for _, t := range e.inForce() {
		if !t.reaches(c) || !t.touches(st.name, st.of) {
			continue
		}
		chosen := rand.Float64()*100 < t.Percent
		switch {
		case t.Kind == FaultSilence, t.Kind == FaultDrop && chosen:
			return 0, false
		case t.Kind == FaultDuplicate && chosen:
			copies++
		case t.Kind == FaultReorder && chosen:
			late = true
		}
	}
	return copies, late
}

// release queues the frame that is held back from a connection, if there is one.
func (e *Exchange) release(c *conn) {
	if c.held == nil {
		return
	}
	for range c.held.copies {
		c.data(c.held.frame)
	}
	c.held = nil
	e.holding = slices.DeleteFunc(e.holding, func(h *conn) bool { return h == c })
}

// releaseDue queues the frames that no other has overtaken in time; releaseAll, all that are held back.
func (e *Exchange) releaseDue() {
	for len(e.holding) > 0 && !time.Now().Before(e.holding[0].held.until) {
		e.release(e.holding[0])
	}
}

func (e *Exchange) releaseAll() {
	for len(e.holding) > 0 {
		e.release(e.holding[0])
	}
}
