package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// options is what the command line asks for.
type options struct {
	data    string // empty: the embedded file
	workers int
	rate    int // lines a second that notify sends
	json    bool
	redrive bool
	letters string // empty: a file in a new temporary folder
	// maintain is the command redrive: only the letters, which another run made.
	maintain bool
	// asked has it do what `runnel dlq redrive` asked for, and nothing else.
	asked bool
}

// defaultRate is more than a small machine reads.
const defaultRate = 100_000

// maxWorkers keeps a slip of the finger from starting a million goroutines.
const maxWorkers = 10_000

const usage = `Usage: retail [flags]
       retail redrive -letters FILE [flags]

Runs the Online Retail data through one topic and four stages, and says what
each stage promised and what it did. With redrive, it is the maintenance job:
it bills the guests that an earlier run left as dead letters in FILE, or with
-asked does what an operator asked for.

Flags:
`

// parseFlags reads args. It writes the usage to help when it is asked for, with flag.ErrHelp.
func parseFlags(args []string, help io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("retail", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error is reported by the caller, in one line
	f.Usage = func() {}
	f.IntVar(&o.workers, "workers", 4, "run `N` workers in each stage; inventory, which has batches, has as many as two of them take")
	f.IntVar(&o.rate, "rate", defaultRate, "notify of at most `N` lines a second")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.StringVar(&o.letters, "letters", "", "keep the dead letters in `FILE`, or in memory (default: a file in a new temporary folder)")
	if o.maintain = len(args) > 0 && args[0] == "redrive"; o.maintain {
		args = args[1:]
		f.BoolVar(&o.asked, "asked", false, "redrive what runnel dlq redrive asked for, and no more")
	} else {
		f.StringVar(&o.data, "data", "", "read `FILE`, csv or csv.gz (default: December 2010, which is built in)")
		f.BoolVar(&o.redrive, "redrive", false, "bill guests afterwards: mend the cause and drain the dead letters")
	}
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
	case o.maintain && (o.letters == "" || o.letters == inMemory):
		return o, errors.New("redrive needs -letters FILE: the file that a run printed")
	case o.workers < 1 || o.workers > maxWorkers:
		return o, fmt.Errorf("-workers %d: give a number from 1 to %d", o.workers, maxWorkers)
	case o.rate < 1:
		return o, fmt.Errorf("-rate %d: give a number from 1 on", o.rate)
	}
	return o, nil
}
