package serve

import (
	"log/slog"
	"net/http"
	"runtime/debug"
)

// TellPanics logs a panic of next as an error with its stack, and cuts that client off, for whom an answer may have begun: net/http
// would go on as well, and say so only in its ErrorLog, among what clients do wrong.
func TellPanics(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			what := recover()
			if what == nil {
				return
			}
			if what != http.ErrAbortHandler {
				log.Error("a request met a defect: please report it", "method", r.Method, "path", r.URL.Path, "panic", what, "stack", string(debug.Stack()))
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(w, r)
	})
}
