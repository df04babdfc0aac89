package sqlitestore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// TestLettersOfATimeAreFoundWhateverTheirOrder: those that came in another order than they died, from an import, are
// listed in the order in which they came, all of a time and no others.
func TestLettersOfATimeAreFoundWhateverTheirOrder(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const n = 3000
	died := make([]time.Time, n)
	for i := range died {
		switch minutes := time.Duration(i); {
		case i < n/3: // in their order
			died[i] = began.Add(minutes * time.Minute)
		case i < 2*n/3:
			died[i] = began.Add(time.Duration(rand.IntN(n)) * time.Minute)
		default: // the other way round
			died[i] = began.Add((n - minutes) * time.Minute)
		}
		l := letter("ada", fmt.Sprint(i))
		l.DeadAt = died[i]
		if _, err := s.Put(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	for _, span := range [][2]int{{0, n}, {0, 10}, {n - 10, n}, {500, 502}, {700, 1400}, {2900, 3100}, {n + 1, n + 2}} {
		f := deadletter.Filter{After: began.Add(time.Duration(span[0]) * time.Minute), Before: began.Add(time.Duration(span[1]) * time.Minute)}
		var want []string
		for i, at := range died {
			if f.Matches(&deadletter.Letter{DeadAt: at}) {
				want = append(want, fmt.Sprint(i))
			}
		}
		if got := events(t, s, f); !slices.Equal(got, want) {
			t.Errorf("of minutes %d to %d %d letters are listed, want %d", span[0], span[1], len(got), len(want))
		}
	}
}
