package serve

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// web is the chart page: plain HTML, CSS and JavaScript, and lightweight-charts 5.2.1 as built by its authors.
//
//go:embed web
var web embed.FS

// pageData is what the page is told about this server.
type pageData struct {
	Version string
	Setup   pageSetup
}

// pageSetup is read by the page's script.
type pageSetup struct {
	Symbols   []pageSymbol `json:"symbols"`
	Intervals []string     `json:"intervals"`
	Settles   bool         `json:"settles"`
}

// pageSymbol is a symbol as short as 800 of them should be: ["BTCUSDT",2,10], its name, its price digits, and how many units of the
// last one lie between two prices.
type pageSymbol struct {
	Name        string
	PriceDigits int
	MinMove     int64
}

// MarshalJSON writes the short form.
func (p pageSymbol) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.Name, p.PriceDigits, p.MinMove})
}

// pageRoutes lays out the chart page and its files.
func (s *Server) pageRoutes(mux *http.ServeMux) {
	index := template.Must(template.ParseFS(web, "web/index.html"))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { s.page(w, index) })
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(fmt.Sprintf("serve: %v", err)) // the folder is embedded
	}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		panic(fmt.Sprintf("serve: %v", err))
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "index.html" {
			mux.Handle("/web/"+name, pageFile(files, name))
		}
	}
}

// page renders the chart page with the symbols and intervals of now.
func (s *Server) page(w http.ResponseWriter, index *template.Template) {
	data := pageData{Version: s.opt.Version, Setup: pageSetup{Symbols: []pageSymbol{}, Settles: s.opt.Settles}}
	for sym := range s.carried {
		data.Setup.Symbols = append(data.Setup.Symbols, pageSymbol{sym.Name, sym.PriceDigits, s.udfMinMove(sym)})
	}
	for _, iv := range s.inOrder() {
		data.Setup.Intervals = append(data.Setup.Intervals, iv.String())
	}
	var body bytes.Buffer
	if err := index.Execute(&body, data); err != nil {
		writeError(w, refusal(fmt.Errorf("cannot render the page: %w", err)))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// lightweight-charts sets styles of its own. 'self' is the page's WebSocket, too.
	h.Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	_, _ = w.Write(body.Bytes())
}

// pageFile serves one embedded file; browsers ask again and are told when theirs is the same.
func pageFile(files fs.FS, name string) http.Handler {
	body, err := fs.ReadFile(files, name)
	if err != nil {
		panic(fmt.Sprintf("serve: %v", err))
	}
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Content-Type", contentType(name))
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	})
}

// contentType does not ask the machine, whose tables differ.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "text/plain; charset=utf-8"
}
