package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"klined/market"
)

// Checked is what Check has found.
type Checked struct {
	New        bool            // there is no store yet; it would be made
	Symbols    []market.Symbol // that the store knows, by SymbolID
	Free, Size int64           // of the file system, in bytes
	Disk       string          // StateOK, or that the disk is nearly full
}

// Check reports whether Open could open a store in a directory, and why not. It changes nothing, and leaves alone a store
// that another process holds.
func Check(dir string) (c Checked, err error) {
	if c, err = check(dir); err != nil {
		return c, fmt.Errorf("store %s: %w", dir, err)
	}
	return c, nil
}

func check(dir string) (c Checked, err error) {
	there, err := Writable(dir)
	if there == "" {
		return c, err
	}
	var full error
	c.Free, c.Size, full = room(there)
	c.Disk = roomState(c.Free, c.Size, full)
	if err != nil {
		return c, err
	}
	if c.New = there != dir; c.New {
		return c, nil
	}
	if err := notHeld(filepath.Join(dir, lockFile)); err != nil {
		return c, err
	}
	path := filepath.Join(dir, databaseFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		c.New = true
		return c, nil
	}
	if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
		return c, fmt.Errorf("cannot write %s: %w", path, err)
	}
	if c.Symbols, err = readSymbols(path); err != nil {
		return c, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return c, nil
}

// Writable is the directory itself, or that in which it would be made, and why nothing can be written there.
func Writable(dir string) (there string, err error) {
	if there, err = nearestDir(dir); err == nil {
		if err = unix.Access(there, unix.W_OK|unix.X_OK); err != nil {
			err = fmt.Errorf("cannot write in %s: %w", there, err)
		}
	}
	return there, err
}

// nearestDir is the directory itself, or that in which it would be made.
func nearestDir(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return "", fmt.Errorf("%s is no directory", dir)
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
		dir = filepath.Dir(dir)
	}
}

// notHeld refuses where another process holds the lock.
func notHeld(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return inUse(f)
	} else if err != nil {
		return fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return nil
}

// inUse is the error of a lock that another process holds.
func inUse(lock io.Reader) error {
	owner, _ := io.ReadAll(lock)
	return fmt.Errorf("in use by process %s", strings.TrimSpace(string(owner)))
}

// readSymbols are the symbols that the database knows; one that this program cannot bring up to date is refused.
func readSymbols(path string) ([]market.Symbol, error) {
	d, err := openDisk(path)
	if err != nil {
		return nil, err
	}
	defer d.db.Close()
	tx, err := d.begin(context.Background())
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	if version, err := versionOf(tx); err != nil || version == 0 {
		return nil, err
	}
	return loadSymbols(tx)
}
