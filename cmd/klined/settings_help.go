package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"klined/health"
)

const configHelp = `Every flag of klined serve, as a configuration file: klined help config > klined.toml begins one, and serve reads it
where --config or KLINED_CONFIG names it. A flag on the command line goes before its environment variable, which goes
before the file, which goes before the default. What is left out has its default: keep what you change. Lists may be
arrays: symbols = ["BTCUSDT", "ETHUSDT"]. All of klined's commands take their flags from the environment too: KLINED_
and the name, in capitals, with _ for -; --check alone is not. Unknown keys and variables are refused. klined serve --check --config FILE says
whether a server would start with it, and prints what would be in force.`

// newConfigTopic is klined help config: the file that the documentation is, made of the flags themselves.
func newConfigTopic() *cobra.Command {
	topic := &cobra.Command{Use: "config", Short: "every key of the configuration file, as such a file"}
	topic.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeConfig(cmd.OutOrStdout(), newServeCommand().Flags()) })
	return topic
}

// writeConfig writes a configuration file that holds every flag with its default, explained.
func writeConfig(w io.Writer, flags *pflag.FlagSet) {
	writeComment(w, configHelp)
	eachSetting(flags, func(f *pflag.Flag) {
		_, usage := pflag.UnquoteUsage(f)
		fmt.Fprintln(w)
		writeComment(w, strings.ToUpper(usage[:1])+usage[1:]+".")
		fmt.Fprintf(w, "# %[1]s; default %[2]s; %[3]s\n%[4]s = %[2]s\n", kind(f), literal(f, f.DefValue), envName(f.Name), f.Name)
	})
}

// eachSetting calls do with each flag that a file can set, in order.
func eachSetting(flags *pflag.FlagSet, do func(*pflag.Flag)) {
	eachFlag(flags, func(f *pflag.Flag) bool {
		if !slices.Contains(notInFile, f.Name) {
			do(f)
		}
		return true
	})
}

// commentWidth is how long the lines of comments are at most, in bytes, where words allow it.
const commentWidth = 110

// writeComment writes text as comment lines.
func writeComment(w io.Writer, text string) {
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth {
			fmt.Fprintln(w, line)
			line = "#"
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}

// kind is what a flag takes: its type, and what is allowed of it.
func kind(f *pflag.Flag) string {
	var name string
	switch f.Value.Type() {
	case "int", "uint64":
		name = "Whole number"
	case "float64":
		name = "Number"
	case "duration":
		name = "Time"
	case "bool":
		name = "true or false"
	default:
		switch shape, _ := pflag.UnquoteUsage(f); shape {
		case "LIST":
			name = "List"
		case "SIZE":
			name = "Size"
		default:
			name = "Text"
		}
	}
	if allowed := takes[f.Name]; allowed != "" {
		name += ": " + allowed
	}
	return name
}

// literal is a flag's value as TOML writes it.
func literal(f *pflag.Flag, value string) string {
	switch f.Value.Type() {
	case "int", "float64", "uint64", "bool":
		return value
	}
	// TOML has no \x, \a and \v.
	return strings.NewReplacer(`\\`, `\\`, `\x`, `\u00`, `\a`, `\u0007`, `\v`, `\u000b`).Replace(strconv.Quote(strings.ToValidUTF8(value, "\ufffd")))
}

// printSettings prints every flag with its effective value, as a configuration file that says where each stands. What cannot be
// printed as it is, a password in an address or bytes that are no text, is in a comment: as a value it would be taken, and be wrong.
func printSettings(w io.Writer, flags *pflag.FlagSet) {
	eachSetting(flags, func(f *pflag.Flag) {
		where, value := origin(f), f.Value.String()
		if where == "" && f.Changed {
			where = "--" + f.Name
		}
		if where != "" {
			where = " # " + where
		}
		if masked := health.Mask(value); masked != value || !utf8.ValidString(value) {
			fmt.Fprintf(w, "# %s = %s%s; not as it is\n", f.Name, literal(f, masked), where)
			return
		}
		fmt.Fprintf(w, "%s = %s%s\n", f.Name, literal(f, value), where)
	})
}
