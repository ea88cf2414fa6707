// Command klined turns an exchange's raw trade streams into klines, keeps them, and serves them in the exchange's own
// language.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"klined/health"
)

// Set by the linker: what is built (make build), and for releases the commit, which the toolchain does not stamp there.
var (
	version   = "dev"
	builtFrom string
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // one line on stderr says what and why
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal stops at once
		time.AfterFunc(allWithin, func() { os.Exit(exitFailed) })
	})
	status := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the program: everything but the process.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRootCommand(environ)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var usage *usageError
	if errors.As(err, &usage) {
		err = blame(cmd.Flags(), err)
	}
	if err == context.Canceled { // one that says more is told as it is
		err = errors.New("stopped")
	}
	logged(func() { fmt.Fprintf(stderr, "klined: %s\n", health.Mask(oneLine(err))) })
	if usage != nil {
		return exitUsage
	}
	return exitFailed
}

// oneLine is an error's text without line breaks.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}

// usageError is wrong usage: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// newRootCommand is the whole command line, with settings from environ, as os.Environ lists it.
func newRootCommand(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "klined",
		Short: "klines from an exchange's trades: exact, at once, kept, and served in the exchange's own language",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q%s", args[0], nearest(args[0], commandNames(cmd)))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return &usageError{errors.New("which command?")}
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := resolve(cmd, environ); err != nil {
				return &usageError{err}
			}
			return nil
		},
		Version:       versionLine(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{flagError(cmd, err)} })
	root.AddCommand(newDemoCommand(), newServeCommand(), newSimCommand(), newReplayCommand(), newBackfillCommand(), newAuditCommand(),
		newExportCommand(), newBenchCommand(), newVersionCommand(), newConfigTopic())
	root.SetHelpCommand(newHelpCommand(root))
	return root
}

func newHelpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "what the commands and their flags are",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 && cmd != root {
				return &usageError{fmt.Errorf("help: %s has no command %q", cmd.Name(), rest[0])}
			}
			if err != nil || len(rest) > 0 {
				return &usageError{fmt.Errorf("help: unknown command %q%s", args[0], nearest(args[0], commandNames(root)))}
			}
			return cmd.Help()
		},
	}
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version of this binary",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

// versionLine names the version, the commit it was built from where that is known, and the toolchain.
func versionLine() string {
	line := "klined " + version
	if c := commit(); c != "" {
		line += " " + c
	}
	return line + " " + runtime.Version()
}

// noArgs refuses arguments that are not flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("%s takes no argument %q", cmd.Name(), args[0])}
	}
	return nil
}

// commandNames are the names of cmd's commands.
func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return names
}
