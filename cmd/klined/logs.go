package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"klined/health"
)

// parseLevels reads --log-level: one level, and others of single targets.
func (o *serveOptions) parseLevels() error {
	o.LogLevels = make(map[string]slog.Level)
	for i, part := range strings.Split(o.texts.level, ",") {
		target, name, single := strings.Cut(part, "=")
		if !single {
			target, name = "", part
		}
		var level slog.Level
		if err := level.UnmarshalText([]byte(name)); err != nil || strings.ContainsAny(name, "+-") || !single && i > 0 {
			return refused("log-level", o.texts.level)
		}
		switch {
		case !single:
			o.LogLevel = level
		case slices.Contains(health.Targets(), target):
			o.LogLevels[target] = level
		default:
			return fmt.Errorf("--log-level %q: there is no target %q%s; there are %s", o.texts.level, target, nearest(target, health.Targets()), strings.Join(health.Targets(), ", "))
		}
	}
	return nil
}

// logger makes the log that the flags ask for.
func (o *serveOptions) logger(w io.Writer) *slog.Logger {
	return health.NewLog(w, health.LogOptions{JSON: o.LogFormat == "json", Level: o.LogLevel, Levels: o.LogLevels})
}
