package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestForwardFlag(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // in the error; "" where there is none
	}{
		{"", ""},
		{"--forward off --listen 0.0.0.0:80", ""},
		{"--forward public --listen :80", ""},
		{"--forward all", ""},
		{"--forward all --listen localhost:80", ""},
		{"--forward all --listen [::1]:80", ""},
		{"--forward all --listen 127.8.8.8:80", ""},
		{"--forward all --listen :80", "--forward all with --listen :80: requests with keys"},
		{"--forward all --listen 0.0.0.0:80", "--listen 0.0.0.0:80"},
		{"--forward all --listen 192.0.2.1:80", "--listen 192.0.2.1:80"},
		{"--forward all --listen example.org:80", "--listen example.org:80"},
		{"--forward some", `--forward "some": want off, public or all`},
		{"--forward=", `--forward "": want off, public or all`},
	} {
		var o serveOptions
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		o.bind(flags)
		err := flags.Parse(strings.Fields(c.args))
		if err == nil {
			err = o.parse()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}
