package sim

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{" \n[]\n", ""},
		{`{"kind":"disconnect"}`, "0s disconnect"},
		{"{\"kind\":\"disconnect\",\"at\":30}\n{\"kind\":\"rest_429\",\"seconds\":20,\"at\":1.5}\n", "1.5s rest_429, 30s disconnect"},
		{`[{"kind":"disconnect","at":1}, {"at":1,"kind":"clear"}]{"kind":"clear"}`, "0s clear, 1s disconnect, 1s clear"},
		{`{"kind":"disconnect"}{"kind":"disconect"}`, `fault 2: unknown kind "disconect"`},
		{`{"kind":"disconnect","at":-1}`, "fault 1: at -1: want seconds, 0 or more"},
		{`{"kind":"disconnect","at":"1"}`, `fault 1: at "1": want seconds`},
		{`{"kind":"silence","at":1}`, "fault 1: silence: seconds 0: want more than 0"},
		{`{"kind":"clear"}{"kind":`, "behind fault 1: unexpected EOF"},
		{`{"kind":"clear"} x`, "behind fault 1: invalid character 'x'"},
		{`7`, "fault 1: a fault is a JSON object"},
	} {
		script, err := ReadFaults(strings.NewReader(c.text))
		var got []string
		for _, f := range script {
			got = append(got, fmt.Sprint(f.At, " ", f.Kind))
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if text := strings.Join(got, ", "); (err == nil && text != c.want) || !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: %s, want %s", c.text, text, c.want)
		}
	}
}

// TestScript: each fault of a file happens at its time; one that cannot be is left out, and the others happen.
func TestScript(t *testing.T) {
	opt := quiet()
	var err error
	if opt.Faults, err = ReadFaults(strings.NewReader(`
		{"kind":"delist","symbol":"NOSUCH"}
		{"kind":"rest_500","seconds":4}
		{"kind":"silence","symbol":"BTCUSDT","seconds":10,"at":2}
		{"kind":"disconnect","at":7.5}`)); err != nil {
		t.Fatal(err)
	}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		v.dial("/ws/btcusdt@aggTrade")
		began := time.Now()
		for _, step := range []struct {
			at    time.Duration
			force string
			conns int
		}{
			{time.Second, "rest_500", 1}, {3 * time.Second, "rest_500 silence", 1}, {5 * time.Second, "silence", 1}, {8 * time.Second, "silence", 0},
			{13 * time.Second, "", 0},
		} {
			time.Sleep(time.Until(began.Add(step.at)))
			synctest.Wait()
			st := e.Status()
			var force []string
			for _, f := range st.InForce {
				force = append(force, f.Kind)
			}
			same(t, fmt.Sprint("in force after ", step.at), strings.Join(force, " "), step.force)
			same(t, fmt.Sprint("connections after ", step.at), len(st.Connections), step.conns)
		}
	})
}
