// Runnel is the operator's command: it looks at the dead letters of a store, mends them, and asks for their redrive.
//
//	runnel dlq groups --store sqlite:letters.db
//
// `runnel dlq --help` lists the rest.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitTooMany     = 3 // of check
	exitInterrupted = 130
	exitPipe        = 141 // as a shell says of a program that SIGPIPE ended
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a write says it, and the work ends in order
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, errs: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var code exitError
	if errors.As(err, &code) {
		return code.code
	}
	if errors.Is(err, syscall.EPIPE) {
		return exitPipe
	}
	fmt.Fprintf(stderr, "runnel: %s\n", oneLine(a.mask(err.Error())))
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	}
	return exitFailed
}

// exitError ends the program with a code; what there was to say has been said.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is one run of the command.
type app struct {
	in        io.Reader
	out, errs io.Writer
	url       string // --store
	json      bool
	who, why  string
}

const about = `runnel looks at what a pipeline could not handle, and brings it back.

Exit codes: 0 all went well, 1 an error, 2 a command line that cannot be understood,
3 (check) there are more letters than allowed, 130 interrupted, 141 the reader of the
output went away.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "runnel", Short: "The operator's command of runnel pipelines", Long: about,
		SilenceErrors: true, SilenceUsage: true, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.dlq())
	return root
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse("%s: unexpected argument %q; %s --help lists what there is", c.CommandPath(), args[0], c.CommandPath())
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(escape(s)), " ") }
