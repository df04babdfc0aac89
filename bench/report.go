package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// report is what a scenario found.
type report struct {
	id      string
	title   string
	figures []figure // the first is the one that the scenario is named for
	peers   []peer
	notes   []string
	skipped string // why it was not run
}

// figure is a ratio and its goal.
type figure struct {
	what   string // empty in a scenario of one figure
	goal   goal
	ratio  float64
	spread [2]float64 // the least and the greatest of the rounds
	// allocs is what an event allocates; NaN where that is not measured.
	allocs float64
	zero   bool    // not to allocate is promised
	ns     float64 // of runnel, an event; NaN where that says nothing
	base   float64 // of the base
	unit   string  // of a ratio that is none, such as "B"
	note   string
	absent bool // it was not measured; the note says why
}

// peer is what another library makes of the scenario, set against the same base.
type peer struct {
	name   string
	ratio  float64
	least  bool // the ratio is a lower bound: the run was ended before it was done
	allocs float64
	lacks  string
}

// goal is what a ratio is to be. The zero goal is none.
type goal struct {
	limit float64
	kind  goalKind
	// slack is what a quick run lets pass at least, where twice the limit says too little.
	slack float64
}

type goalKind int

const (
	noGoal goalKind = iota
	most
	least
)

func atMost(limit float64) goal { return goal{limit: limit, kind: most} }

func atLeast(limit float64) goal { return goal{limit: limit, kind: least} }

func (g goal) String() string {
	switch g.kind {
	case most:
		return "≤ " + short(g.limit)
	case least:
		return "≥ " + short(g.limit)
	default:
		return ""
	}
}

func (g goal) met(v float64) bool {
	switch g.kind {
	case most:
		return v <= g.limit
	case least:
		return v >= g.limit
	default:
		return true
	}
}

// lost reports whether v is worse than twice the goal.
func (g goal) lost(v float64) bool {
	switch g.kind {
	case most:
		return v > max(2*g.limit, g.slack) || math.IsNaN(v)
	case least:
		return v < g.limit/2 || math.IsNaN(v)
	default:
		return false
	}
}

// zeroAllocs is what an event may allocate that allocates nothing: a collection empties pools, and the
// runtime allocates for itself.
const zeroAllocs = 0.01

func (f *figure) allocates() bool { return f.zero && !(f.allocs < zeroAllocs) }

func (f *figure) met() bool { return f.goal.met(f.ratio) && !f.allocates() }

// lost reports whether a quick run is to fail for it.
func (f *figure) lost() bool { return f.goal.lost(f.ratio) || f.allocates() }

func (f *figure) verdict() string {
	switch {
	case f.absent:
		return "skipped"
	case f.allocates():
		return "allocates"
	case f.goal.kind == noGoal:
		return ""
	case f.met():
		return "met"
	case f.lost():
		return "lost"
	default:
		return "missed"
	}
}

// lost is what a quick run is to fail for.
func (r *report) lost() (lost []string) {
	for i := range r.figures {
		if f := &r.figures[i]; f.lost() {
			lost = append(lost, strings.TrimSpace(fmt.Sprintf("%s %s: %s, goal %v, %s allocs", r.id, f.what, short(f.ratio), f.goal, short(f.allocs))))
		}
	}
	return lost
}

// figureOf makes a figure of a side's rounds.
func figureOf(what string, g goal, base, own series) figure {
	return figure{
		what: what, goal: g, ratio: median(own.ratio), spread: spread(own.ratio),
		allocs: median(own.allocs), ns: median(own.ns), base: median(base.ns),
	}
}

// plainFigure is a figure that is no time of an event.
func plainFigure(what string, g goal, rounds []float64) figure {
	return figure{what: what, goal: g, ratio: median(rounds), spread: spread(rounds), allocs: math.NaN(), ns: math.NaN(), base: math.NaN()}
}

// absentFigure is a figure that could not be measured.
func absentFigure(what string, why error) figure {
	f := plainFigure(what, goal{}, nil).noted("%v", why)
	f.absent = true
	return f
}

func spread(rounds []float64) [2]float64 { return [2]float64{quantile(rounds, 0), quantile(rounds, 1)} }

func (f figure) withoutAllocs() figure {
	f.zero = true
	return f
}

func (f figure) noted(format string, args ...any) figure {
	f.note = fmt.Sprintf(format, args...)
	return f
}

func peersOf(all []series) []peer {
	peers := make([]peer, 0, len(all))
	for _, s := range all {
		peers = append(peers, peer{name: s.name, ratio: median(s.ratio), allocs: median(s.allocs), lacks: s.lacks})
	}
	return peers
}

// short writes three figures.
func short(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return ""
	case v == math.Trunc(v) && a < 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}
