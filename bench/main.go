package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// options is what the command line asks for.
type options struct {
	config
	only    []string
	quick   bool
	json    bool
	md      bool
	svg     string
	profile string
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program: it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v (-h lists the flags)\n", err)
		return 2
	}
	stop, err := startProfile(o.profile)
	if err == nil {
		var lost []string
		lost, err = o.measure(stdout, stderr)
		err = errors.Join(err, stop())
		if o.quick && len(lost) > 0 {
			err = errors.Join(err, fmt.Errorf("a promise is lost: %s", strings.Join(lost, "; ")))
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	var only string
	var rounds int
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&only, "only", "", "measure these `scenarios`: P1,P2")
	f.BoolVar(&o.quick, "quick", false, "do less, without peers; exit code 1 when a promise of no allocation is lost or a ratio is worse than twice its goal")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.BoolVar(&o.md, "md", false, "print docs/BENCHMARKS.md")
	f.StringVar(&o.svg, "svg", "", "draw how P2 grows with its keys into `FILE`, and measure nothing else")
	retail := f.String("retail", "", "read this retail `FILE`, csv or csv.gz, in P12 (default: the one of examples/retail)")
	f.IntVar(&rounds, "rounds", 0, "measure `N` rounds")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile to `FILE`; its samples are labelled with the side that they belong to")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "Usage: bench [flags]\n\nMeasures runnel beside a bare channel and beside what its users would pick instead.\n\nFlags:")
			f.SetOutput(stderr)
			f.PrintDefaults()
		}
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument: %s", strings.Join(f.Args(), " "))
	}
	o.config = wholeRun
	if o.quick {
		o.config = quickRun
	}
	if rounds > 0 {
		o.rounds, o.least = rounds, 0
	}
	o.retail = *retail
	return o, o.choose(only)
}

// choose reads the names of scenarios.
func (o *options) choose(only string) error {
	for name := range strings.SplitSeq(only, ",") {
		name = strings.ToUpper(strings.TrimSpace(name))
		if name == "" {
			continue
		}
		if !slices.ContainsFunc(scenarios, func(s scenario) bool { return s.id == name }) {
			return fmt.Errorf("-only %s: there is no such scenario", name)
		}
		o.only = append(o.only, name)
	}
	return nil
}

// measure does what the options ask for and returns which promises are lost.
func (o *options) measure(stdout, stderr io.Writer) (lost []string, err error) {
	if o.svg != "" {
		return nil, o.draw(stderr)
	}
	var reports []*report
	for _, s := range scenarios {
		if len(o.only) > 0 && !slices.Contains(o.only, s.id) {
			continue
		}
		begin := time.Now()
		r, err := o.measureOne(s)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(stderr, "%s took %.1f s\n", s.id, time.Since(begin).Seconds())
		reports = append(reports, r)
	}
	return lostPromises(reports), o.write(stdout, reports)
}

// quickTries is how often a quick run measures a scenario that has lost a promise: who else is at work on the machine
// comes and goes, and what broke stays broken.
const quickTries = 3

// measureOne measures a scenario; of several tries of a quick run the one that loses least counts.
func (o *options) measureOne(s scenario) (*report, error) {
	best, err := s.measure(&o.config)
	for try := 1; err == nil && o.quick && try < quickTries && len(best.lost()) > 0; try++ {
		var r *report
		if r, err = s.measure(&o.config); err == nil && len(r.lost()) < len(best.lost()) {
			best = r
		}
	}
	return best, err
}

func (o *options) write(stdout io.Writer, reports []*report) error {
	switch {
	case o.json:
		all := map[string]jsonReport{}
		for _, r := range reports {
			all[r.id] = jsonOf(r)
		}
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(all)
	case o.md:
		writeMarkdown(stdout, &o.config, reports)
	default:
		writeTable(stdout, reports)
	}
	return nil
}

func (o *options) draw(stderr io.Writer) error {
	curves, err := growth(&o.config, stderr)
	if err != nil {
		return err
	}
	f, err := os.Create(o.svg)
	if err != nil {
		return err
	}
	writeGrowth(f, curves)
	return f.Close()
}

func lostPromises(reports []*report) (lost []string) {
	for _, r := range reports {
		lost = append(lost, r.lost()...)
	}
	return lost
}

// startProfile begins a CPU profile, unless path is empty.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
