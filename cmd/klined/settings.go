package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// settle gives every flag that the command line did not set its value from the environment (KLINED_LONG_NAME), else
// from the TOML file, where keys are the flags' names. Flag over environment over file over default.
func settle(flags *pflag.FlagSet, file string, getenv func(string) string) error {
	keys, err := readSettings(flags, file)
	if err != nil {
		return err
	}
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		value, from := keys[f.Name], file
		if env := envName(f.Name); getenv(env) != "" {
			value, from = getenv(env), env
		}
		if f.Changed || value == "" || failed != nil {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failed = fmt.Errorf("%s: %s %q: %s", from, f.Name, value, wanted(f))
		}
	})
	return failed
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "KLINED_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readSettings reads the file's keys; all of them must be flags. Without a file there are none.
func readSettings(flags *pflag.FlagSet, file string) (map[string]string, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	var raw map[string]any
	if err := toml.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	keys := make(map[string]string, len(raw))
	for key, value := range raw {
		if flags.Lookup(key) == nil || key == "config" {
			return nil, fmt.Errorf("%s: unknown key %q%s", file, key, nearest(key, flagNames(flags)))
		}
		if list, ok := value.([]any); ok {
			items := make([]string, len(list))
			for i, item := range list {
				items[i] = fmt.Sprint(item)
			}
			value = strings.Join(items, ",")
		}
		keys[key] = fmt.Sprint(value)
	}
	return keys, nil
}

// flagNames are the names of all flags.
func flagNames(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// flagError names the nearest right flag where an unknown one was given.
func flagError(cmd *cobra.Command, err error) error {
	where := cmd.Name() + ": "
	if !cmd.HasParent() { // every line on stderr names klined
		where = ""
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%sunknown flag --%s%s", where, unknown.GetSpecifiedName(), nearest(unknown.GetSpecifiedName(), flagNames(cmd.Flags())))
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("%s--%s %q: %s", where, invalid.GetFlag().Name, invalid.GetValue(), wanted(invalid.GetFlag()))
	}
	return fmt.Errorf("%s%w", where, err)
}

// wanted says what a flag's value must look like.
func wanted(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int", "uint64":
		return "want a whole number"
	case "float64":
		return "want a number"
	case "duration":
		return "want a duration like 250ms"
	case "bool":
		return "want true or false"
	}
	return "not a value that it takes"
}

// nearest is a hint at the name most like the wrong one, "" where none is like it.
func nearest(wrong string, names []string) string {
	best, least := "", len(wrong)/2+2
	for _, name := range names {
		if d := distance(wrong, name); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is the number of letters to insert, remove or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := left
			if a[i] != b[j] {
				d = 1 + min(left, row[j], row[j+1])
			}
			left, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

// printSettings prints every flag with its effective value, as a configuration file.
func printSettings(w io.Writer, flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" || f.Name == "check" || f.Name == "help" || failed != nil {
			return
		}
		value := f.Value.String()
		if t := f.Value.Type(); t != "int" && t != "float64" && t != "uint64" {
			value = strconv.Quote(value)
		}
		_, failed = fmt.Fprintf(w, "%s = %s\n", f.Name, value)
	})
	return failed
}
