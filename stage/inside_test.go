package stage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFault70_HistoryIsBounded: the first failures and the last, under their own numbers.
func TestFault70_HistoryIsBounded(t *testing.T) {
	var m memory
	for i := range 1000 {
		m.fail(fmt.Errorf("failure %d", i+1), time.Time{})
	}
	var numbers []int
	for _, a := range m.attempts {
		numbers = append(numbers, a.Number)
		if want := fmt.Sprintf("failure %d", a.Number); a.Err.Error() != want {
			t.Errorf("attempt %d has the error %v", a.Number, a.Err)
		}
	}
	if want := []int{1, 2, 3, 4, 5, 996, 997, 998, 999, 1000}; !slices.Equal(numbers, want) || cap(m.attempts) > 2*maxHistory {
		t.Errorf("the history has the attempts %v in %d slots, want %v", numbers, cap(m.attempts), want)
	}
	if m.failed != 1000 || m.last().Error() != "failure 1000" {
		t.Errorf("%d failed, the last with %v", m.failed, m.last())
	}
	if err := new(memory).last(); err == nil {
		t.Error("the last failure of none is nil")
	}
}

// TestFault70_ReasonsAreBounded: a reason made of data must not fill the memory.
func TestFault70_ReasonsAreBounded(t *testing.T) {
	var c tally
	for i := range 10_000 {
		c.reason(fmt.Sprint("reason ", i))
	}
	var sum uint64
	for _, n := range c.reasons {
		sum += n
	}
	if len(c.reasons) > maxReasons+1 || sum != 10_000 || c.reasons["other"] == 0 {
		t.Errorf("%d reasons with a sum of %d, %d of them other", len(c.reasons), sum, c.reasons["other"])
	}
}

func TestWaitGraphRefusesCycles(t *testing.T) {
	var g waitGraph
	must := func(from, to string) {
		t.Helper()
		if err := g.enter(from, to); err != nil {
			t.Fatalf("enter %s → %s = %v, want nil", from, to, err)
		}
	}
	refused := func(from, to, cycle string) {
		t.Helper()
		if err := g.enter(from, to); !errors.Is(err, ErrCycle) || !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), cycle) {
			t.Errorf("enter %s → %s = %v, want a cycle %s", from, to, err, cycle)
		}
	}
	refused("a", "a", "a → a")
	must("a", "b")
	refused("b", "a", "b → a → b")
	must("b", "c")
	must("b", "c") // another handler of b
	must("a", "c")
	refused("c", "a", "c → a → ")
	g.leave("b", "c")
	refused("c", "b", "c → b → c")
	g.leave("b", "c")
	must("c", "b")
	g.leave("a", "b")
	g.leave("a", "c")
	g.leave("c", "b")
	must("b", "a")
	if g.leave("b", "a"); len(g.edges["a"])+len(g.edges["b"])+len(g.edges["c"]) != 0 {
		t.Errorf("edges are left: %v", g.edges)
	}
}

// TestWaitGraphAllocatesNothing for a wait in a row of stages that all wait, once it knows them.
func TestWaitGraphAllocatesNothing(t *testing.T) {
	var g waitGraph
	n := testing.AllocsPerRun(100, func() {
		for _, e := range [][2]string{{"b", "c"}, {"c", "d"}, {"a", "b"}} {
			if err := g.enter(e[0], e[1]); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range [][2]string{{"b", "c"}, {"c", "d"}, {"a", "b"}} {
			g.leave(e[0], e[1])
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for three waits, want none", n)
	}
}

// TestWaitGraphNeverHoldsACycle, however many enter at once.
func TestWaitGraphNeverHoldsACycle(t *testing.T) {
	var g waitGraph
	names := []string{"a", "b", "c", "d"}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 500 {
				from, to := names[(i+n)%4], names[(i*n+1)%4]
				if g.enter(from, to) == nil {
					g.mu.Lock()
					for _, s := range names {
						for next := range g.edges[s] {
							if p := g.path(next, s, nil); p != nil {
								t.Errorf("a cycle was let in: %s → %v", s, p)
							}
						}
					}
					g.mu.Unlock()
					g.leave(from, to)
				}
			}
		})
	}
	group.Wait()
}

// TestKeyCountsForgetWhatIsZero and wake who waits.
func TestKeyCountsForgetWhatIsZero(t *testing.T) {
	k := keyCounts{freed: make(chan struct{})}
	k.add("a")
	k.add("a")
	k.add("b")
	if k.full("a", 3) != nil || k.full("c", 1) != nil {
		t.Error("a key below its limit is full")
	}
	freed := k.full("a", 2)
	if freed == nil {
		t.Fatal("a key at its limit is not full")
	}
	k.remove("b")
	select {
	case <-freed:
	default:
		t.Error("nobody was woken by an event that went")
	}
	k.remove("a")
	k.remove("a")
	if len(k.of) != 0 {
		t.Errorf("keys without events are kept: %v", k.of)
	}
}
