package tape

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Defaults of RecorderOptions.
const (
	defaultSize  = 10 << 30
	defaultQueue = 16 << 20 // some five seconds of 800 busy symbols, brought twice
)

const (
	flushEvery = time.Second      // what came before is on tape, whatever becomes of the process
	flushAt    = 1 << 20          // bytes that do not wait for that
	retryEvery = 10 * time.Second // after the disk has failed
	tellEvery  = 10 * time.Second // between two lines of log about what is left out
	lineRoom   = 64               // bytes that a line has at most besides its connection and its frame
)

// RecorderOptions say where tapes are kept, and who is told of them.
type RecorderOptions struct {
	Dir     string           // made where it is not there
	Size    int64            // bytes of all tapes in Dir; the oldest goes when there are more. 10 GiB where 0
	Queue   int              // bytes that may wait for the disk, beside as many that are being written; 16 MiB where 0
	Log     *slog.Logger     // slog's default where nil
	Wrote   func(bytes int)  // has gone to the disk; may be nil, as those below
	LeftOut func(frames int) // are not on tape
	State   func(err error)  // after each try to write, once a second at least: why it failed, nil where it did not
}

// Recorder writes frames on tape, as they are received. A tape is text, zstd of it on the disk: a line for each frame, with the time
// of receipt (Unix ns) and the name of the connection,
//
//	1721347021434994132 trades-0.1 {"e":"aggTrade",…}
//	1721347022001203885 # left out 12 frames                what found no room since the line before
//
// A line end or a zero byte within a frame, which only whitespace or garbage can be, becomes a space. Each second is a zstd frame of its own: after
// a kill all seconds but the last can be read. A file holds an hour at most, and an eighth of Size; its name is the UTC time of its
// beginning.
//
// Who adds frames never waits for the disk: what finds no room in the queue is left out, and counted. A disk that fails is tried
// again every 10 s; meanwhile everything is left out.
type Recorder struct {
	o RecorderOptions

	mu     sync.Mutex
	queue  []byte // lines; its memory is all there from the start
	frames int    // in queue
	lost   int    // that found no room since the last flush
	closed bool
	head   []byte // what stands before the frame in a line of headConn at headAt, as many do that one read has brought

	headAt   int64
	headConn string

	wake chan struct{} // holds one value while there is much to write
	quit chan struct{}
	done chan struct{}

	// The writer's own.
	spare  []byte // the queue's other memory
	packer *zstd.Encoder
	packed []byte
	reel   reel
	owed   int       // frames left out that no mark on a tape has told of
	untold int       // and no line of log
	cause  string    // of the last of these
	told   time.Time // when the last such line was written
	failed error     // why the last write failed, nil where it did not
	retry  time.Time // not before then
}

// NewRecorder begins a tape, so that a folder that cannot be written to shows at once.
func NewRecorder(o RecorderOptions) (*Recorder, error) {
	if o.Size == 0 {
		o.Size = defaultSize
	}
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Log = o.Log.With("target", "tape")
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	r := &Recorder{o: o, packer: packer, reel: reel{dir: o.Dir, size: o.Size},
		queue: make([]byte, 0, o.Queue+lineRoom), spare: make([]byte, 0, o.Queue+lineRoom),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	if err := r.reel.begin(time.Now()); err != nil {
		return nil, fmt.Errorf("cannot record: %w", err)
	}
	go r.run()
	return r, nil
}

// Add puts a frame that a connection has brought on the tape, where there is room for it. It keeps nothing of frame, allocates
// nothing and may be called from any goroutine.
func (r *Recorder) Add(conn string, at time.Time, frame []byte) {
	r.mu.Lock()
	if r.closed || len(r.queue)+len(conn)+len(frame)+lineRoom > r.o.Queue {
		r.lost++
		r.mu.Unlock()
		return
	}
	if ns := at.UnixNano(); ns != r.headAt || conn != r.headConn {
		r.head = append(append(append(strconv.AppendInt(r.head[:0], ns, 10), ' '), conn...), ' ')
		r.headAt, r.headConn = ns, conn
	}
	r.queue = append(append(r.queue, r.head...), frame...)
	blank(r.queue[len(r.queue)-len(frame):], '\n')
	blank(r.queue[len(r.queue)-len(frame):], 0)
	r.queue = append(r.queue, '\n')
	r.frames++
	much := len(r.queue) >= flushAt
	r.mu.Unlock()
	if much {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// blank puts spaces in the place of a byte.
func blank(text []byte, c byte) {
	for i := bytes.IndexByte(text, c); i >= 0; i = bytes.IndexByte(text, c) {
		text[i] = ' '
		text = text[i+1:]
	}
}

// Close writes what has come, and ends the tape. Frames that are added later are left out.
func (r *Recorder) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.quit)
	<-r.done
	return r.failed
}

// run is the writer.
func (r *Recorder) run() {
	defer close(r.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.wake:
			r.flush()
		case <-tick.C:
			r.flush()
		case <-r.quit:
			r.retry, r.told = time.Time{}, time.Time{} // a last try, and a last line
			r.flush()
			if err := r.reel.end(); r.failed == nil {
				r.failed = err
			}
			return
		}
	}
}

// flush writes what has come since the last one, and a mark of what was left out.
func (r *Recorder) flush() {
	r.mu.Lock()
	lines, frames, lost := r.queue, r.frames, r.lost
	r.queue, r.frames, r.lost = r.spare[:0], 0, 0
	r.mu.Unlock()
	r.spare = lines
	now := time.Now()
	if now.Before(r.retry) {
		r.leaveOut(lost+frames, r.failed.Error())
	} else {
		r.leaveOut(lost, tooSlow)
		r.report(now, r.write(now, lines), frames)
	}
	if r.o.State != nil {
		r.o.State(r.failed)
	}
	if r.untold > 0 && now.Sub(r.told) >= tellEvery {
		r.o.Log.Warn("frames are left out of the tape", "frames", r.untold, "cause", r.cause)
		r.told, r.untold = now, 0
	}
}

// tooSlow is why frames find no room in the queue.
const tooSlow = "the disk is slower than frames come"

// leaveOut counts frames that are on no tape.
func (r *Recorder) leaveOut(frames int, cause string) {
	if frames == 0 {
		return
	}
	r.owed += frames
	r.untold += frames
	r.cause = cause
	if r.o.LeftOut != nil {
		r.o.LeftOut(frames)
	}
}

// write puts lines on tape, and behind them what is owed.
func (r *Recorder) write(now time.Time, lines []byte) error {
	if r.owed > 0 {
		lines = append(strconv.AppendInt(lines, now.UnixNano(), 10), ' ')
		lines = append(strconv.AppendInt(append(lines, markBegin...), int64(r.owed), 10), markEnd...)
		lines = append(lines, '\n')
	}
	if len(lines) == 0 {
		return nil
	}
	r.packed = r.packer.EncodeAll(lines, r.packed[:0])
	if err := r.reel.write(now, r.packed); err != nil {
		return err
	}
	r.owed = 0
	if r.o.Wrote != nil {
		r.o.Wrote(len(r.packed))
	}
	return nil
}

// report takes note of how a write went: where it failed, its frames are left out.
func (r *Recorder) report(now time.Time, err error, frames int) {
	switch {
	case err != nil:
		r.leaveOut(frames, err.Error())
		r.retry = now.Add(retryEvery)
		if r.failed == nil {
			r.o.Log.Error("cannot record; frames are left out of the tape until the disk takes them again", "error", err, "again_every", retryEvery)
		}
	case r.failed != nil:
		r.o.Log.Info("recording again")
	}
	r.failed = err
}
