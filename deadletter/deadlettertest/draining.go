package deadlettertest

import (
	"context"
	"sync"
	"testing"

	"github.com/runnel-go/runnel/deadletter"
)

var draining = []fact{
	{"drains at once give each letter to one, in order", drainsAtOnce},
	{"a drain stops a sequence where it fails", drainStops},
}

// drainsAtOnce runs drains side by side until all is gone; the history says who got what.
func drainsAtOnce(t *testing.T, s *suite) {
	store, n := s.open(t), min(s.Rounds, 400)
	for i := range n {
		put(t, store, letter("charge", name("key-", i%16), name("e-", i)))
	}
	target := NewTarget(store, 0, func(context.Context, deadletter.Letter) error { return nil })
	reports := make([]deadletter.Report, 4)
	var all sync.WaitGroup
	for i := range reports {
		all.Go(func() {
			var err error
			reports[i], err = deadletter.Drain(t.Context(), store, target, deadletter.DrainOptions{Parallel: 1 + i%2})
			if err != nil {
				t.Errorf("Drain = %v", err)
			}
		})
	}
	all.Wait()
	finish(t, store, target) // a sequence that all passed over while it was claimed
	checkHistory(t, target.History(), n)
	for _, r := range reports {
		c := r.Counts
		if c.Selected != c.Succeeded+c.Skipped || c.Failed+c.Blocked+c.Interrupted+c.Untouched != 0 {
			t.Errorf("counts %+v", c)
		}
	}
}

func checkHistory(t *testing.T, history []deadletter.Letter, n int) {
	t.Helper()
	seen, last := map[string]bool{}, map[string]int{}
	for _, l := range history {
		if seen[l.ID] {
			t.Errorf("letter %s was redriven twice", l.EventID)
		}
		seen[l.ID] = true
		var i int
		for i = range n {
			if l.EventID == name("e-", i) {
				break
			}
		}
		if before, ok := last[l.Key]; ok && before > i {
			t.Errorf("key %s: e-%d after e-%d", l.Key, i, before)
		}
		last[l.Key] = i
	}
	if len(seen) != n {
		t.Errorf("%d letters were redriven, want %d", len(seen), n)
	}
}

func drainStops(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "a1"), letter("charge", "bob", "b1"),
		letter("charge", "ann", "a2"), letter("charge", "bob", "b2"), letter("charge", "ann", "a3"))
	target := NewTarget(store, 1, func(_ context.Context, l deadletter.Letter) error {
		if l.EventID == "a2" {
			return errBoom
		}
		return nil
	})
	drain := func(f deadletter.Filter) deadletter.Report {
		t.Helper()
		r, err := deadletter.Drain(t.Context(), store, target, deadletter.DrainOptions{Filter: f})
		if err != nil {
			t.Fatalf("Drain = %v", err)
		}
		return r
	}
	if r := drain(deadletter.Filter{}); r.Succeeded != 3 || r.Failed != 1 || r.Blocked != 1 || r.Remaining != 2 {
		t.Errorf("report: %v", r)
	}
	wantEvents(t, store, deadletter.Filter{}, "a2", "a3")
	if r := drain(deadletter.Filter{}); r.Selected != 1 || r.Blocked != 1 {
		t.Errorf("behind a quarantined letter: %v", r)
	}
	if r := drain(deadletter.Filter{IDs: ids[2:3]}); r.Selected != 1 || r.Failed != 1 {
		t.Errorf("a quarantined letter by id: %v", r)
	}
	if l := get(t, store, ids[2]); l.Redrives != 2 || l.State != deadletter.Quarantined {
		t.Errorf("redrives %d, %s", l.Redrives, l.State)
	}
}
