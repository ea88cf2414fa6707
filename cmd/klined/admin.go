package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/pflag"

	"klined/health"
	"klined/serve"
)

const adminUsage = "profiles of the running process (pprof) and what it was built from on `HOST:PORT`, of this machine alone; empty is off"

// profileWithin is how long a profile, or a trace, may take: ?seconds= of less.
const profileWithin = 5 * time.Minute

// checkAdmin refuses what is no address for --admin. A profile shows what goes on in the process, and costs it time: that is for
// who is on this machine.
func checkAdmin(addr string) error {
	if addr == "" {
		return nil
	}
	if err := checkHostPort("admin", addr); err != nil {
		return err
	}
	if !isLoopback(addr) {
		return fmt.Errorf("--admin %q: profiles are for this machine alone: want %s", addr, takes["admin"])
	}
	return nil
}

// administer listens on --admin, from before the parts are there until after they have stopped: what hangs at either end can be
// looked at. What it returns ends that at once, whatever is under way.
func administer(o *serveOptions, n network, log *slog.Logger) (stop func(), err error) {
	if o.Admin == "" {
		return func() {}, nil
	}
	listener, err := n.listen("admin", o.Admin)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: serve.TellPanics(onlyLocal(adminHandler(o.flags, time.Now())), log), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: profileWithin, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // it ends by stop alone: nobody else closes the listener
	}()
	log.Info("profiles and build information", "address", "http://"+listener.Addr().String())
	return func() {
		_ = server.Close() // a profile may be under way: its reader sees that it was cut off
		<-done
	}, nil
}

// onlyLocal refuses who names this machine by anything else than a loopback address: a page of anybody may have made a browser here
// take us for its own server. It refuses what another site's page has a browser ask, too: such a page does not see the answer, but
// a profile costs time all the same.
func onlyLocal(next http.Handler) http.Handler {
	pages := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if _, _, err := net.SplitHostPort(host); err != nil {
			host += ":80"
		}
		if !isLoopback(host) {
			http.Error(w, "ask by a loopback address, like http://127.0.0.1:6060/", http.StatusForbidden)
			return
		}
		asked := *r
		asked.Method = http.MethodPost // questions are looked at as if they changed something
		if pages.Check(&asked) != nil {
			http.Error(w, "not for the pages of other sites", http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// adminHandler lays out the paths. The command line, which pprof would show too, is left out: a proxy's password may stand in it.
func adminHandler(flags *pflag.FlagSet, began time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", adminPage)
	mux.HandleFunc("GET /buildinfo", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		indented := json.NewEncoder(w)
		indented.SetIndent("", "  ")
		_ = indented.Encode(buildOf(flags, began)) // who asked has gone
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.Handle("GET /debug/pprof/cmdline", http.NotFoundHandler())
	return mux
}

// adminPage links to all there is.
func adminPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!doctype html><title>klined: the process</title><h1>klined: the process</h1><ul>
<li><a href="/buildinfo">/buildinfo</a>: what it was built from, and the settings in force
<li><a href="/debug/pprof/">/debug/pprof/</a>: all profiles
<li><a href="/debug/pprof/goroutine?debug=2">/debug/pprof/goroutine?debug=2</a>: where each goroutine is
<li><a href="/debug/pprof/heap">/debug/pprof/heap</a>: what holds memory, for go tool pprof
<li><a href="/debug/pprof/profile?seconds=10">/debug/pprof/profile?seconds=10</a>: where processor time goes
<li><a href="/debug/pprof/trace?seconds=2">/debug/pprof/trace?seconds=2</a>: what ran when, for go tool trace
</ul>
`)
}

// buildInfo is what /buildinfo shows.
type buildInfo struct {
	Version string            `json:"version"`
	Commit  string            `json:"commit"` // empty where it is not known
	Go      string            `json:"go"`
	Started time.Time         `json:"started"`
	Build   map[string]string `json:"build"` // the toolchain's own settings
	Flags   map[string]string `json:"flags"` // in force; passwords are not shown
}

func buildOf(flags *pflag.FlagSet, began time.Time) buildInfo {
	info := buildInfo{version, commit(), runtime.Version(), began, map[string]string{}, map[string]string{}}
	if built, ok := debug.ReadBuildInfo(); ok {
		for _, s := range built.Settings {
			info.Build[s.Key] = s.Value
		}
	}
	if flags != nil {
		eachSetting(flags, func(f *pflag.Flag) { info.Flags[f.Name] = health.Mask(f.Value.String()) })
	}
	return info
}
