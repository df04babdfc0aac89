package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// options is what the command line asks for.
type options struct {
	letters  string        // empty: make a file first
	budget   time.Duration // how long it may take
	rate     float64       // letters a second; 0 is no limit
	failures float64       // the share that stops it
	parallel int
	declined float64 // of the demonstration: the share of cards that are still declined
}

const usage = `Usage: maintenance [flags]

Sends the dead letters of a file back through their stage, and prints what came of it as JSON.

Exit codes: 0 nothing is left, 1 it could not work, 2 wrong flags, 3 letters are left,
4 stopped because too many failed, 130 interrupted.

Flags:
`

// parseFlags reads args. It writes the usage to help when it is asked for, with flag.ErrHelp.
func parseFlags(args []string, help io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("maintenance", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error is reported by the caller, in one line
	f.Usage = func() {}
	f.StringVar(&o.letters, "letters", "", "drain `FILE` (default: a new one with letters to look at)")
	f.DurationVar(&o.budget, "budget", time.Minute, "start no letter after this `TIME`")
	f.Float64Var(&o.rate, "rate", 0, "redrive at most `N` letters a second (default: no limit)")
	f.Float64Var(&o.failures, "max-failures", 0.2, "stop when this `SHARE` of at least 20 letters has failed again")
	f.IntVar(&o.parallel, "parallel", 8, "drain `N` keys at once")
	f.Float64Var(&o.declined, "declined", 0, "let this `SHARE` of the orders fail again, to see what happens")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(help, usage)
		f.SetOutput(help)
		f.PrintDefaults()
		return o, err
	case err != nil:
		return o, err
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument: %s", strings.Join(f.Args(), " "))
	case o.budget <= 0:
		return o, fmt.Errorf("-budget %v: give it some time", o.budget)
	case !(o.rate >= 0 && o.rate <= math.MaxFloat64): // NaN is neither
		return o, fmt.Errorf("-rate %g: give a number of letters a second, or 0 for no limit", o.rate)
	case !(o.failures > 0 && o.failures <= 1):
		return o, fmt.Errorf("-max-failures %g: give a share above 0, up to 1", o.failures)
	case !(o.declined >= 0 && o.declined <= 1):
		return o, fmt.Errorf("-declined %g: give a share from 0 to 1", o.declined)
	case o.parallel < 1 || o.parallel > 1000:
		return o, fmt.Errorf("-parallel %d: give a number from 1 to 1000", o.parallel)
	}
	return o, nil
}
