package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// setting is a flag's value as text, and where it stands: what an error calls it.
type setting struct{ text, from string }

// resolve gives every flag that the command line did not set its value from the environment (KLINED_LONG_NAME), else
// from the TOML file that --config names, where keys are the flags' names. Flag over environment over file over default.
// A variable may be any command's: one environment serves all of them. The file is serve's, which alone has --config.
func resolve(cmd *cobra.Command, environ []string) error {
	if !settable(cmd) {
		return nil
	}
	env, err := environment(environ, allFlags(cmd.Root()), flagNames(cmd.Flags()))
	if err != nil {
		return err
	}
	flags := cmd.Flags()
	var keys map[string]setting
	if config := flags.Lookup("config"); config != nil {
		if err := take(config, env); err != nil {
			return err
		}
		if keys, err = readSettings(flags, config.Value.String()); err != nil {
			return err
		}
	}
	return errors.Join(eachFlag(flags, func(f *pflag.Flag) error { return take(f, env, keys) })...)
}

// settable reports whether a command has flags of its own.
func settable(cmd *cobra.Command) bool { return len(flagNames(cmd.Flags())) > 0 }

// take sets a flag, unless it is set, from the first source that has a value for it.
func take(f *pflag.Flag, sources ...map[string]setting) error {
	for _, source := range sources {
		s, there := source[f.Name]
		if f.Changed || !there {
			continue
		}
		if err := f.Value.Set(s.text); err != nil {
			return fmt.Errorf("%s %q: %s", s.from, s.text, wanted(f))
		}
		f.Changed = true
		if f.Annotations == nil {
			f.Annotations = make(map[string][]string)
		}
		f.Annotations[standsIn] = []string{s.from}
	}
	return nil
}

// standsIn is the annotation of a flag that says where its value stands, if not on the command line.
const standsIn = "klined-stands-in"

// origin is where a flag's value stands; "" for the command line, and for what is nowhere.
func origin(f *pflag.Flag) string {
	if f == nil || len(f.Annotations[standsIn]) == 0 {
		return ""
	}
	return f.Annotations[standsIn][0]
}

// blame has an error that begins with a flag's name, as all do that refuse a value, begin with where the value stands;
// of other flags that it mentions it says at the end where theirs do.
func blame(flags *pflag.FlagSet, err error) error {
	text, first := err.Error(), ""
	if begin := flagBegins.FindString(text); begin != "" {
		first = begin[2:]
		if from := origin(flags.Lookup(first)); from != "" {
			text = from + text[len(begin):]
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if from := origin(f); from != "" && f.Name != first && slices.Contains(strings.Fields(text), "--"+f.Name) {
			text += fmt.Sprintf(" (--%s is that of %s)", f.Name, from)
		}
	})
	if text == err.Error() {
		return err
	}
	return &usageError{errors.New(text)}
}

// flagBegins finds a flag at the beginning of an error.
var flagBegins = regexp.MustCompile(`^--[a-z]+(-[a-z]+)*`)

// envPrefix is what the names of klined's variables begin with.
const envPrefix = "KLINED_"

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// announced are variables that are not klined's although they begin so: container managers announce a service by the
// name of klined to all its neighbours.
var announced = regexp.MustCompile(`^KLINED_(SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_[0-9].*)$`)

// environment are the values of variables, by flag; flags are those there may be, own those of the command, of which one may
// have been meant. What is set to nothing is not set.
func environment(environ, flags, own []string) (map[string]setting, error) {
	byName := make(map[string]string, len(flags))
	for _, flag := range flags {
		byName[envName(flag)] = flag
	}
	values := make(map[string]setting)
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		flag, known := byName[name]
		switch {
		case !strings.HasPrefix(name, envPrefix) || announced.MatchString(name) && !known:
		case !known:
			hint := closest(strings.ToLower(strings.ReplaceAll(name[len(envPrefix):], "_", "-")), own)
			if hint != "" {
				hint = didYouMean(envName(hint))
			}
			return nil, fmt.Errorf("unknown environment variable %s%s", name, hint)
		case value != "":
			values[flag] = setting{value, name}
		}
	}
	return values, nil
}

// allFlags are the names of all commands' flags that a variable may set: --check says what is to be done, not how, and a service
// that is told so by its environment would end at once.
func allFlags(root *cobra.Command) (names []string) {
	for _, cmd := range root.Commands() {
		names = append(names, flagNames(cmd.Flags())...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "check" })
	slices.Sort(names)
	return slices.Compact(names)
}

// eachFlag calls do with each flag that has a meaning to users beyond the command line, in order.
func eachFlag[T any](flags *pflag.FlagSet, do func(*pflag.Flag) T) (results []T) {
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && f.Name != "version" {
			results = append(results, do(f))
		}
	})
	return results
}

// flagNames are the names of all flags.
func flagNames(flags *pflag.FlagSet) []string {
	return eachFlag(flags, func(f *pflag.Flag) string { return f.Name })
}

// flagError names the nearest right flag where an unknown one was given.
func flagError(cmd *cobra.Command, err error) error {
	where := cmd.Name() + ": "
	if !cmd.HasParent() { // every line on stderr names klined
		where = ""
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		hint := closest(unknown.GetSpecifiedName(), append(flagNames(cmd.Flags()), "help", "version"))
		if hint != "" {
			hint = didYouMean("--" + hint)
		}
		return fmt.Errorf("%sunknown flag --%s%s", where, unknown.GetSpecifiedName(), hint)
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
	if best := closest(wrong, names); best != "" {
		return didYouMean(best)
	}
	return ""
}

func didYouMean(name string) string { return fmt.Sprintf(" (did you mean %q?)", name) }

// closest is the name most like the wrong one, and another, "" where none is like it: two of its letters may be wrong, or a third, but
// not all.
func closest(wrong string, names []string) string {
	best, least := "", min(max(2, len(wrong)/3)+1, len(wrong))
	for _, name := range names {
		if d := distance(wrong, name); d > 0 && d < least {
			best, least = name, d
		}
	}
	return best
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
