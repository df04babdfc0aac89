package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// row is a line of the table.
type row struct {
	id, what, goal, ratio, spread, verdict, allocs, note string
}

// head is what stands above the columns of the table.
var head = row{"", "WHAT", "GOAL", "RATIO", "ROUNDS", "VERDICT", "ALLOCS", "NOTE"}

func (r row) cells() []string {
	return []string{r.id, r.what, r.goal, r.ratio, r.spread, r.verdict, r.allocs, r.note}
}

// rows are the lines of a report: its figures, then the peers.
func (r *report) rows() []row {
	if r.skipped != "" {
		return []row{{id: r.id, what: r.title, verdict: "skipped", note: r.skipped}}
	}
	var all []row
	if len(r.figures) > 1 || r.figures[0].what != "" {
		all = append(all, row{id: r.id, what: r.title})
	}
	for i := range r.figures {
		all = append(all, r.figureRow(&r.figures[i]))
	}
	for _, p := range r.peers {
		ratio := short(p.ratio)
		if p.least {
			ratio = "≥ " + ratio
		}
		all = append(all, row{what: "    " + p.name, ratio: ratio, allocs: allocsText(p.allocs), note: p.lacks})
	}
	return all
}

func (r *report) figureRow(f *figure) row {
	w := row{
		what: "  " + f.what, goal: f.goal.String(), ratio: short(f.ratio) + unit(f.unit),
		spread: short(f.spread[0]) + "–" + short(f.spread[1]), verdict: f.verdict(), allocs: allocsText(f.allocs), note: f.note,
	}
	if len(r.figures) == 1 && f.what == "" {
		w.id, w.what = r.id, r.title
	}
	if len(r.figures) > 1 && f.what == "" {
		w.what = "  as described"
	}
	return w
}

func allocsText(v float64) string {
	if v < zeroAllocs {
		return "0"
	}
	return short(v)
}

func unit(u string) string {
	if u == "" {
		return ""
	}
	return " " + u
}

// writeTable prints the reports for a reader.
func writeTable(w io.Writer, reports []*report) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head.cells(), "\t"))
	for _, r := range reports {
		for _, row := range r.rows() {
			fmt.Fprintln(t, strings.Join(row.cells(), "\t"))
		}
	}
	t.Flush()
	for _, r := range reports {
		for _, n := range r.notes {
			fmt.Fprintf(w, "%s: %s\n", r.id, n)
		}
	}
	fmt.Fprintf(w, "%s\n", absent)
}

// absent is who is missing from the table.
const absent = "Benthos is not measured: it has not been brought in."

// jsonFigure is a figure for a program. What was not measured is left out.
type jsonFigure struct {
	What    string   `json:"what,omitempty"`
	Goal    *float64 `json:"goal,omitempty"`
	Least   bool     `json:"least,omitempty"` // the goal is a lower bound
	Ratio   *float64 `json:"ratio,omitempty"`
	Low     *float64 `json:"low,omitempty"`
	High    *float64 `json:"high,omitempty"`
	Allocs  *float64 `json:"allocs,omitempty"`
	NS      *float64 `json:"ns,omitempty"`
	BaseNS  *float64 `json:"base_ns,omitempty"`
	Verdict string   `json:"verdict,omitempty"`
	Note    string   `json:"note,omitempty"`
}

type jsonPeer struct {
	Name   string   `json:"name"`
	Ratio  *float64 `json:"ratio,omitempty"`
	Least  bool     `json:"least,omitempty"` // the ratio is a lower bound
	Allocs *float64 `json:"allocs,omitempty"`
	Lacks  string   `json:"lacks,omitempty"`
}

// jsonReport is a scenario for a program: its first figure, then all others.
type jsonReport struct {
	Title string `json:"title"`
	jsonFigure
	Figures []jsonFigure `json:"figures,omitempty"`
	Peers   []jsonPeer   `json:"peers,omitempty"`
	Notes   []string     `json:"notes,omitempty"`
	Skipped string       `json:"skipped,omitempty"`
}

func jsonOf(r *report) jsonReport {
	j := jsonReport{Title: r.title, Notes: r.notes, Skipped: r.skipped}
	for i := range r.figures {
		f := jsonFigureOf(&r.figures[i])
		if i == 0 {
			j.jsonFigure = f
		} else {
			j.Figures = append(j.Figures, f)
		}
	}
	for _, p := range r.peers {
		j.Peers = append(j.Peers, jsonPeer{p.name, known(p.ratio), p.least, known(p.allocs), p.lacks})
	}
	return j
}

func jsonFigureOf(f *figure) jsonFigure {
	j := jsonFigure{
		What: f.what, Ratio: known(f.ratio), Low: known(f.spread[0]), High: known(f.spread[1]), Allocs: known(f.allocs),
		NS: known(f.ns), BaseNS: known(f.base), Verdict: f.verdict(), Note: f.note,
	}
	if f.goal.kind != noGoal {
		j.Goal, j.Least = known(f.goal.limit), f.goal.kind == least
	}
	return j
}

// known rounds to four decimals; JSON has no NaN, and no infinity.
func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	v = math.Round(v*1e4) / 1e4
	return &v
}
