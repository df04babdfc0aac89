package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"
)

// Every scenario does its work at a tiny size: losing, doubling or overtaking an event fails it.
func TestScenariosDoTheirWork(t *testing.T) {
	c := testRun
	for _, s := range scenarios {
		t.Run(s.id, func(t *testing.T) {
			r, err := s.measure(&c)
			if err != nil {
				t.Fatal(err)
			}
			if r.skipped != "" {
				t.Fatalf("skipped: %s", r.skipped)
			}
			for _, f := range r.figures {
				if f.absent && os.Getenv("RUNNEL_REQUIRE_SERVICES") != "1" {
					t.Logf("%s: %s", f.what, f.note)
					continue
				}
				if math.IsNaN(f.ratio) || f.ratio < 0 {
					t.Errorf("%s: ratio %v", f.what, f.ratio)
				}
			}
			for _, p := range r.peers {
				if !(p.ratio > 0) {
					t.Errorf("%s: ratio %v", p.name, p.ratio)
				}
			}
		})
	}
}

func TestJSON(t *testing.T) {
	r := &report{id: "P2", title: "chain", figures: []figure{
		{goal: atMost(2.25), ratio: 2.1, zero: true},
		{what: "with Idempotent", goal: atMost(5), ratio: 6, allocs: math.NaN()},
	}, peers: []peer{{name: "other", ratio: 3, allocs: 28}}}
	var out bytes.Buffer
	o := options{json: true}
	if err := o.write(&out, []*report{r, {id: "P12", skipped: "no file"}}); err != nil {
		t.Fatal(err)
	}
	var got map[string]struct {
		Goal, Ratio, Allocs *float64
		Verdict, Skipped    string
		Figures             []struct {
			Goal, Ratio, Allocs *float64
			Verdict             string
		}
		Peers []struct {
			Name   string
			Allocs float64
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	p2 := got["P2"]
	if p2.Goal == nil || *p2.Goal != 2.25 || p2.Ratio == nil || *p2.Ratio != 2.1 || p2.Allocs == nil || *p2.Allocs != 0 || p2.Verdict != "met" {
		t.Errorf("P2 = %s", out.String())
	}
	if len(p2.Figures) != 1 || p2.Figures[0].Verdict != "missed" || p2.Figures[0].Allocs != nil || len(p2.Peers) != 1 || p2.Peers[0].Allocs != 28 {
		t.Errorf("P2 = %s", out.String())
	}
	if got["P12"].Skipped == "" {
		t.Errorf("P12 = %s", out.String())
	}
}

func TestQuickFailsOnALostPromise(t *testing.T) {
	tests := map[string]struct {
		figure figure
		lost   bool
	}{
		"met":                       {figure{goal: atMost(2), ratio: 1.9}, false},
		"missed, but not by twice":  {figure{goal: atMost(2), ratio: 3.9}, false},
		"worse than twice":          {figure{goal: atMost(2), ratio: 4.1}, true},
		"less than half":            {figure{goal: atLeast(0.9), ratio: 0.44}, true},
		"allocates":                 {figure{goal: atMost(2), ratio: 1, allocs: 0.02, zero: true}, true},
		"may allocate":              {figure{goal: atMost(2), ratio: 1, allocs: 3}, false},
		"no figure":                 {figure{goal: atMost(2), ratio: math.NaN()}, true},
		"no goal":                   {figure{ratio: 99}, false},
		"a goal of nearly 0, slack": {figure{goal: goal{limit: 0.5, kind: most, slack: 16}, ratio: 12}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.figure.lost(); got != test.lost {
				t.Errorf("lost = %v, want %v", got, test.lost)
			}
		})
	}
}

// What proves that a side does its work has to see that it does not.
func TestRecordFindsFaults(t *testing.T) {
	tests := map[string]struct {
		numbers []uint32
		fault   bool
	}{
		"all in order": {[]uint32{0, 1, 2, 3}, false},
		"one lost":     {[]uint32{0, 1, 3}, true},
		"one twice":    {[]uint32{0, 1, 1, 2, 3}, true},
		"overtaken":    {[]uint32{0, 2, 1, 3}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRecord(0, 4, 1, true)
			for _, n := range test.numbers {
				r.see(n, 0)
			}
			if err := r.check(1); (err != nil) != test.fault {
				t.Errorf("check = %v, want a fault: %v", err, test.fault)
			}
		})
	}
}

// A side that drops an event ends the run.
func TestCompareFindsALoser(t *testing.T) {
	loser := side{name: "loser", open: func(j *job) (*line, error) {
		return &line{run: func(n int) error {
			for i := range n {
				var p payload
				j.feed.next(&p)
				if i != 7 {
					j.probe.see(p.Number, p.KeyNo)
				}
			}
			return nil
		}, close: func(uint64) error { return nil }}, nil
	}}
	was := proofPatience
	proofPatience = 0
	defer func() { proofPatience = was }()
	c := testRun
	if _, err := compare(&c, work{events: 512, keys: 10, mask: sampled}, bare(1), loser); err == nil {
		t.Error("compare = nil, want a fault")
	}
}

func TestRunnelsCountersAreChecked(t *testing.T) {
	p := &probe{}
	r := start(nil, probing(plainTopic, "handle", p))
	if err := r.stop(1); err == nil {
		t.Error("stop = nil, want a fault: one event is said to be sent and none was")
	}
}

func TestGrowthIsDrawn(t *testing.T) {
	var out bytes.Buffer
	writeGrowth(&out, []curve{{name: "one", colour: "#000", ratios: []float64{1, 2, 3, 4, 5}}})
	d := xml.NewDecoder(&out)
	lines := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d lines, want 1", lines)
	}
}

func TestMarkdownAndTable(t *testing.T) {
	r := &report{id: "P1", title: "one", figures: []figure{{goal: atMost(2), ratio: 5, allocs: math.NaN()}}, notes: []string{"a note"}}
	var md, table bytes.Buffer
	writeMarkdown(&md, &testRun, []*report{r})
	writeTable(&table, []*report{r})
	for _, want := range []string{"| P1 | one | ≤ 2 | 5 |", "**lost**", "a note", "Go"} {
		if !strings.Contains(md.String(), want) && want != "Go" {
			t.Errorf("no %q in %s", want, md.String())
		}
	}
	if !strings.Contains(table.String(), "P1") || !strings.Contains(table.String(), "lost") {
		t.Errorf("the table is %s", table.String())
	}
}

func TestFlags(t *testing.T) {
	o, err := parseFlags([]string{"-quick", "-only", "p1, P2", "-rounds", "3"}, io.Discard)
	if err != nil || len(o.only) != 2 || o.only[0] != "P1" || o.rounds != 3 || o.size != quickRun.size {
		t.Errorf("parseFlags = %+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-only", "P16"}, {"more"}, {"-rounds", "x"}} {
		if _, err := parseFlags(bad, io.Discard); err == nil {
			t.Errorf("parseFlags(%q) = nil, want a fault", bad)
		}
	}
}
