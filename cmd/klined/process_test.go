//go:build e2e || soak

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patient is the grace of servers whose pushes are judged: on a busy machine the exchange, too, is later than any grace
// that is learnt, and how early klines close is not what is judged.
const patient = "2s"

// built is where the program under test is.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "klined-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built = dir
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// binary is the program under test: built once, as users get it.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "klined")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// ours has klined run without the variables that tests are told by: it refuses those that it does not know.
func ours(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, envPrefix) })
	return cmd
}

// process is a running klined. Its output is searched for an address.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	mu   sync.Mutex
	addr chan string
	done chan struct{}
	err  error
}

// launch starts klined with args and waits until a line matches address; its first group is the address.
func launch(t *testing.T, address string, args ...string) (*process, string) {
	t.Helper()
	return launchIn(t, nil, address, args...)
}

// launchIn is launch with variables beside the environment's own.
func launchIn(t *testing.T, env []string, address string, args ...string) (*process, string) {
	t.Helper()
	p := begin(t, env, address, args...)
	select {
	case addr := <-p.addr:
		return p, addr
	case <-p.done:
		t.Fatalf("klined %s: %v\n%s", strings.Join(args, " "), p.err, p.output())
	case <-time.After(90 * time.Second):
		t.Fatalf("klined %s says no address\n%s", strings.Join(args, " "), p.output())
	}
	return nil, ""
}

// begin starts klined with args, and with variables beside the environment's own.
func begin(t *testing.T, env []string, address string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: ours(exec.Command(path, args...)), addr: make(chan string, 1), done: make(chan struct{})}
	p.cmd.Env = append(p.cmd.Env, env...)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = writer, writer
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	go p.read(reader, regexp.MustCompile(address))
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

func (p *process) read(r *os.File, address *regexp.Regexp) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.mu.Lock()
		p.out.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			select {
			case p.addr <- m[1]:
			default:
			}
		}
	}
	r.Close()
	p.err = p.cmd.Wait()
	close(p.done)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// end sends a signal and waits for the process to go, for a little longer than it gives itself.
func (p *process) end(s syscall.Signal) error {
	const within = allWithin + 3*time.Second
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(within):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.t.Errorf("%v did not end within %s of %v\n%s", p.cmd.Args, within, s, p.output())
	}
	return p.err
}

// What the processes say of their addresses.
const (
	simAddress   = `--rest http://(\S+)`
	serveAddress = `msg=serving .*address=http://(\S+)`
)

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}

// offset asks the exchange how far its clock is ahead of ours.
func offset(t *testing.T, j *judge) time.Duration {
	t.Helper()
	best, off := time.Hour, time.Duration(0)
	for range 20 {
		sent := time.Now()
		body, err := j.get(j.exchange, "/fapi/v1/time", nil)
		if err != nil {
			t.Fatal(err)
		}
		var now int64
		if _, err := fmt.Sscanf(string(body), `{"serverTime":%d}`, &now); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(sent); took < best {
			best, off = took, time.UnixMilli(now).Sub(sent.Add(took/2))
		}
	}
	return off
}
