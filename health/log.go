package health

import (
	"context"
	"io"
	"log/slog"
	"slices"
)

// Target is the attribute that says which part of klined a log line is of.
const Target = "target"

// Targets are the parts that log.
func Targets() []string {
	return []string{"feed", "decode", "store", "serve", "history", "clock", "tape", "life"}
}

// LogOptions say what is logged, and how.
type LogOptions struct {
	JSON   bool                  // one object a line, instead of text
	Level  slog.Level            // the least that is logged
	Levels map[string]slog.Level // by target, in place of Level
}

// NewLog makes a log of lines that each have one target, the last that was given, and life where none was. Secrets
// are masked. Of a message that comes again and again, at one level and about one component or conn, the first ten are logged in
// every half minute, and of the others the last at its end, with how many were left out: suppressed. Errors, and debug's, are all logged.
// Who ends a process calls Flush. Groups there are none: the attributes in one stand beside the others.
func NewLog(w io.Writer, o LogOptions) *slog.Logger {
	level := o.Level
	for _, l := range o.Levels {
		level = min(level, l)
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String()) // with its unit, which JSON would not say
		}
		return maskAttr(a)
	}}
	var out slog.Handler = slog.NewTextHandler(w, opts)
	if o.JSON {
		out = slog.NewJSONHandler(w, opts)
	}
	h := &logHandler{options: o, root: out, repeats: &repeats{seen: make(map[repeated]*repeat)}}
	return slog.New(h.of("life"))
}

// logHandler hands on the lines of one target.
type logHandler struct {
	options LogOptions
	repeats *repeats
	root    slog.Handler // without target and attrs
	attrs   []slog.Attr
	target  string
	level   slog.Level
	out     slog.Handler // root with target and attrs
}

// of is the handler for another target.
func (h *logHandler) of(target string) *logHandler {
	c := *h
	c.target, c.level = target, h.options.Level
	if level, own := h.options.Levels[target]; own {
		c.level = level
	}
	c.out = c.root.WithAttrs(append([]slog.Attr{slog.String(Target, target)}, c.attrs...))
	return &c
}

// Enabled is part of slog.Handler.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle is part of slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.repeats.admit(h, &r) {
		return nil
	}
	return h.out.Handle(ctx, r)
}

// WithAttrs is part of slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c, target := *h, h.target
	c.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		if a.Key == Target {
			target = a.Value.String()
		} else {
			c.attrs = append(c.attrs, a)
		}
	}
	return c.of(target)
}

// WithGroup is part of slog.Handler.
func (h *logHandler) WithGroup(string) slog.Handler { return h }

// Flush writes the lines that log holds back, where NewLog made it.
func Flush(log *slog.Logger) {
	if h, ours := log.Handler().(*logHandler); ours {
		h.repeats.flush()
	}
}
