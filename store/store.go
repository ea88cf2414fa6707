// Package store keeps klines on disk; it is the only importer of the database.
package store

import (
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"klined/health"
	"klined/market"
)

const (
	databaseFile = "klines.sqlite"
	lockFile     = "lock"
)

// Options says what a Store keeps and where. The zero value of each field but Dir means its default.
type Options struct {
	Dir         string            // made if missing
	Intervals   []market.Interval // what is kept, 1m always (the exchange's fifteen); klines of others are ignored
	Source      market.Source     // of the rows written
	Metrics     *health.Metrics   // (its own)
	Watchdog    *health.Watchdog  // is told how the store is (nobody)
	Log         *slog.Logger      // (none)
	Window      int64             // bytes of memory for the series that clients ask for; none where 0
	CommitEvery time.Duration     // how long a kline may wait for company before it is committed (500 ms)

	Retain map[market.Interval]time.Duration // how long klines of an interval are kept; those of others for ever
}

// Store keeps klines of many series and knows which of them are complete. All methods may be called from any goroutine.
type Store struct {
	opts    Options                     // never change after Open, down to saving
	lock    *os.File                    // held while the store is open
	db      *sql.DB                     // one connection: the writer's, and SaveSymbols'
	alive   *health.Component           // the writer
	upserts map[market.Interval]upserts // on db; the writer's
	disk    *disk                       // Read's

	wake  chan struct{}   // capacity 1: something waits
	flush chan chan error // asks the writer for a commit and its outcome
	stop  chan struct{}   // closed by Close
	ended chan struct{}   // closed by the writer at its end
	close func() error    // once
	room  func(dir string) (free, size int64, err error)

	saving     sync.Mutex // held by SaveSymbols
	mu         sync.Mutex // guards what follows; never held during I/O
	closed     bool
	symbols    []market.Symbol
	complete   completeness
	pending    *outbox                 // to be written with the next commit
	inFlight   *outbox                 // being written, read-only; nil between commits
	window     *window                 // what clients ask for
	committing chan struct{}           // closed by the end of the next commit, and replaced
	maxRows    int                     // bound of pending and inFlight together
	cutRows    int                     // how many rows one step of a cut deletes
	logPages   int                     // what of the log is copied back at once
	differ     []differed              // to be written with the next commit; at most maxDiffer
	dropped    map[market.Series]spans // by a full outbox since the last commit: the disk may have older versions of them
	stats      stats
	notes      []func() // log lines that wait for unlock
}

// Open opens the store in a directory and locks it against other processes. Where the process before ended without
// Close, everything it had committed is there, and known to be complete as far as that.
func Open(opts Options) (*Store, error) {
	opts = opts.withDefaults()
	s := &Store{
		opts: opts, upserts: make(map[market.Interval]upserts), dropped: make(map[market.Series]spans),
		wake: make(chan struct{}, 1), flush: make(chan chan error), stop: make(chan struct{}), ended: make(chan struct{}),
		room: room, pending: newOutbox(), window: newWindow(opts.Window), committing: make(chan struct{}), maxRows: maxOutboxRows, cutRows: rowsPerCut, logPages: checkpointPages,
	}
	s.close = sync.OnceValue(s.shutDown)
	s.alive = opts.Watchdog.Component("store", health.Own)
	if err := s.open(); err != nil {
		s.release()
		return nil, fmt.Errorf("store %s: %w", opts.Dir, err)
	}
	go s.write()
	return s, nil
}

func (o Options) withDefaults() Options {
	if len(o.Intervals) == 0 {
		o.Intervals = market.ExchangeIntervals()
	}
	o.Intervals = append([]market.Interval{market.OneMinute}, o.Intervals...)
	slices.Sort(o.Intervals)
	o.Intervals = slices.Compact(o.Intervals)
	if o.Metrics == nil {
		o.Metrics = health.NewMetrics()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("target", "store")
	if o.Watchdog == nil {
		o.Watchdog = health.NewWatchdog(o.Log)
	}
	if o.CommitEvery == 0 {
		o.CommitEvery = 500 * time.Millisecond
	}
	return o
}

func (s *Store) open() (err error) {
	if err = os.MkdirAll(s.opts.Dir, 0o755); err != nil {
		return err
	}
	if s.lock, err = lockDir(s.opts.Dir); err != nil {
		return err
	}
	path := filepath.Join(s.opts.Dir, databaseFile)
	if err = s.openWriter(path); err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	if s.disk, err = openDisk(path); err == nil {
		err = s.disk.prepare(s.opts.Intervals)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

// dsn names a database file with pragmas, each as "name(value)".
func dsn(path, mode string, pragmas ...string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	return "file:" + u.EscapedPath() + "?mode=" + mode + "&_txlock=immediate&_pragma=" + strings.Join(pragmas, "&_pragma=")
}

func (s *Store) openWriter(path string) (err error) {
	// FULL: a commit that has returned survives power loss.
	s.db, err = sql.Open("sqlite", dsn(path, "rwc", "busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)",
		fmt.Sprintf("wal_autocheckpoint(%d)", checkpointMost), "cache_size(-16000)"))
	if err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err = prepareSchema(tx, s.opts.Intervals); err != nil {
		return err
	}
	retained, err := loadRetention(tx, s.opts.Retain)
	if err != nil {
		return err
	}
	if s.symbols, s.complete, err = load(tx, s.opts.Intervals); err != nil {
		return err
	}
	if err = s.complete.retain(tx, retained); err != nil {
		return err
	}
	if err = tx.Commit(); err != nil {
		return err
	}
	for _, iv := range s.opts.Intervals {
		if s.upserts[iv], err = prepareUpserts(s.db, iv, s.opts.Source); err != nil {
			return err
		}
	}
	return nil
}

// lockDir takes the directory's lock, which lasts until the file is closed or the process ends. The file holds the
// owner's process id.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		err = inUse(f)
	} else if err == nil {
		if err = f.Truncate(0); err == nil {
			_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Close commits what waits and ends the store; its error says what could not be stored. What is put from now on is
// not taken.
func (s *Store) Close() error { return s.close() }

func (s *Store) shutDown() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	stopWaiting := s.waitForDisk()
	close(s.stop)
	<-s.ended
	stopWaiting()
	s.release()
	s.mu.Lock()
	lost, err := s.pending.n, s.stats.writeErr
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store %s: %d klines not stored: %w", s.opts.Dir, lost, err)
	}
	return nil
}

// release closes what is open. The lock goes last.
func (s *Store) release() {
	if s.disk != nil {
		_ = s.disk.db.Close()
	}
	if s.db != nil {
		_ = s.db.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
