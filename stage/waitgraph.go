package stage

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// waitGraph knows which stages' handlers wait for room in which stages. A wait that would close a
// cycle is refused: everyone in the cycle would wait for room that only they can make.
//
// To wait is common where stages feed each other, so it allocates nothing: the inner maps stay, empty, and
// the search for a cycle has room to write down its way.
type waitGraph struct {
	mu    sync.Mutex
	edges map[string]map[string]int
	way   []string
}

// enter records that a handler of from waits for room in to, or returns ErrCycle with the cycle in words.
func (g *waitGraph) enter(from, to string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.way == nil {
		g.way = make([]string, 0, 16)
	}
	if path := g.path(to, from, g.way); path != nil {
		return fmt.Errorf("%w: %s", ErrCycle, strings.Join(append([]string{from}, path...), " → "))
	}
	if g.edges == nil {
		g.edges = map[string]map[string]int{}
	}
	if g.edges[from] == nil {
		g.edges[from] = map[string]int{}
	}
	g.edges[from][to]++
	return nil
}

func (g *waitGraph) leave(from, to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.edges[from][to]--; g.edges[from][to] == 0 {
		delete(g.edges[from], to)
	}
}

// path returns the stages from a to b along waits, both included, or nil.
func (g *waitGraph) path(a, b string, seen []string) []string {
	seen = append(seen, a)
	if a == b {
		return seen
	}
	for next := range g.edges[a] {
		if !slices.Contains(seen, next) {
			if p := g.path(next, b, seen); p != nil {
				return p
			}
		}
	}
	return nil
}
