package serve

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"klined/health"
)

// TestPanicsAreTold: a panic in a handler is an error in the log, and the next request is answered; one that only cuts a client off
// is nothing.
func TestPanicsAreTold(t *testing.T) {
	var out strings.Builder
	log := health.NewLog(&out, health.LogOptions{})
	paths := http.NewServeMux()
	paths.HandleFunc("/defect", func(http.ResponseWriter, *http.Request) {
		panic("a defect")
	})
	paths.HandleFunc("/cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	paths.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewHTTPServer(paths, log)
	server.Config.SetKeepAlivesEnabled(false) // a client asks again where a connection that it used before is cut
	server.Start()
	for path, answered := range map[string]bool{"/defect?signature=s3cret": false, "/cut": false, "/": true} {
		resp, err := server.Client().Get(server.URL + path)
		if (err == nil) != answered {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	server.Close()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || strings.Contains(got, "s3cret") ||
		!strings.Contains(got, "target=serve method=GET path=/defect panic=\"a defect\" stack=") || !strings.Contains(got, "serve.TestPanicsAreTold.func1") {
		t.Errorf("the log says %s", got)
	}
}
