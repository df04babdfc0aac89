// Retail is the main example of runnel: a month of a shop's sales, 42,481 lines of real data, run
// through one topic and four stages that keep different orders and fail in different ways.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as a shell says of a program that Ctrl-C ended
)

func main() {
	ctx, interrupt := context.WithCancel(context.Background())
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the summary says it, and outages does at once
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		interrupt() // the pipeline drains
		<-signals
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		fmt.Fprintf(stderr, "retail: %v (-h lists the flags)\n", err)
		return exitUsage
	}
	what := runWhole
	if o.maintain {
		what = runMaintenance
	}
	interrupted, err := what(ctx, o, stdout, stderr)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "retail: %v\n", err)
		return exitFailed
	case interrupted:
		return exitInterrupted
	}
	return exitDone
}

func runWhole(ctx context.Context, o options, stdout, stderr io.Writer) (interrupted bool, err error) {
	s, err := runJob(ctx, o, stderr)
	if err == nil {
		err = errors.Join(s.write(stdout, o.json), s.check())
	}
	return s.Interrupted, err
}
