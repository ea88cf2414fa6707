package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/pflag"
)

// notInFile are flags that a file cannot set: they say what is to be done, not how.
var notInFile = []string{"config", "check"}

// readSettings reads the file's keys; all of them must be flags. Without a file there are none.
func readSettings(flags *pflag.FlagSet, file string) (map[string]setting, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		var where *toml.DecodeError
		if errors.As(err, &where) {
			line, _ := where.Position()
			return nil, fmt.Errorf("%s:%d: %w", file, line, err)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	names := slices.DeleteFunc(flagNames(flags), func(name string) bool { return slices.Contains(notInFile, name) })
	lines := keyLines(text)
	settings := make(map[string]setting, len(values))
	for _, key := range slices.SortedFunc(maps.Keys(values), func(a, b string) int { return cmp.Compare(lines[a], lines[b]) }) {
		place := fmt.Sprintf("%s:%d: ", file, lines[key])
		if _, table := values[key].(map[string]any); table {
			return nil, fmt.Errorf("%s%s is a table: want KEY = VALUE, with the flags' names as keys", place, key)
		}
		if !slices.Contains(names, key) {
			return nil, fmt.Errorf("%sunknown key %q%s", place, key, nearest(key, names))
		}
		text, ok := settingText(flags.Lookup(key), values[key])
		if !ok {
			return nil, fmt.Errorf("%s%s is %s: want %s", place, key, kindOf(values[key]), wantedInFile(flags.Lookup(key)))
		}
		settings[key] = setting{text, place + key}
	}
	return settings, nil
}

// keyLines are the lines on which the keys and tables of a file stand, which must be TOML.
func keyLines(text []byte) map[string]int {
	lines := make(map[string]int)
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		key := p.Expression().Key()
		if !key.Next() {
			continue
		}
		name := string(key.Node().Data)
		if _, again := lines[name]; !again {
			lines[name] = p.Shape(key.Node().Raw).Start.Line
		}
	}
	return lines
}

// settingText is a value of the file as the flag takes it on the command line; it is not ok where the kind of the value
// is not the flag's.
func settingText(f *pflag.Flag, value any) (text string, ok bool) {
	shape, _ := pflag.UnquoteUsage(f)
	switch v := value.(type) {
	case string:
		return v, slices.Contains([]string{"string", "duration", "stringSlice"}, f.Value.Type())
	case int64:
		return strconv.FormatInt(v, 10), slices.Contains([]string{"int", "uint64", "float64"}, f.Value.Type()) || shape == "SIZE"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), f.Value.Type() == "float64"
	case bool:
		return strconv.FormatBool(v), f.Value.Type() == "bool"
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			if items[i], ok = item.(string); !ok {
				return "", false
			}
		}
		return strings.Join(items, ","), shape == "LIST"
	}
	return "", false
}

// wantedInFile says how the value of a flag is written in the file.
func wantedInFile(f *pflag.Flag) string {
	switch shape, _ := pflag.UnquoteUsage(f); {
	case f.Value.Type() == "duration":
		return `a time in quotes, like "250ms"`
	case shape == "LIST":
		return `a list of texts in quotes, like ["a", "b"], or one text: "a,b"`
	case shape == "SIZE":
		return `a size in quotes, like "64MiB", or a whole number`
	case f.Value.Type() == "string":
		return "a text in quotes"
	}
	return strings.TrimPrefix(wanted(f), "want ")
}

// kindOf is what TOML calls a value.
func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "a text"
	case int64, float64:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case time.Time, toml.LocalDate, toml.LocalDateTime, toml.LocalTime:
		return "a date or time"
	}
	return fmt.Sprintf("a %T", value)
}
