package deadlettertest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Config says what a store can do beyond the rules that every store obeys.
type Config struct {
	// Bubble says that the store works inside testing/synctest: tests of leases then take no time.
	Bubble bool
	// Lease is the short lease of those tests in real time. Default 150 ms.
	Lease time.Duration
	// Rounds is how often a race is tried. Default 2,000; a store on a disk wants fewer.
	Rounds int
	// Limited opens an empty store with the limits that are not zero. Nil: the store has none.
	Limited func(t *testing.T, l Limits) deadletter.Store
	// Reopen closes a store and opens it again, as a new process would. Nil: its letters end with it.
	Reopen func(t *testing.T, s deadletter.Store) deadletter.Store
}

// Limits are the limits that a store may have.
type Limits struct {
	Letters     int
	PerSequence int
	LetterBytes int64
	Sequences   int
}

// Run checks a store. Open returns an empty one, and closes it in a t.Cleanup where it needs that. It is
// called once for each subtest; the subtests are named as the facts that they prove.
func Run(t *testing.T, open func(t *testing.T) deadletter.Store, config ...Config) {
	s := newSuite(open, config)
	for _, group := range [][]fact{keeping, holding, claiming, browsing, changing, draining, bounding} {
		for _, f := range group {
			t.Run(f.name, func(t *testing.T) { f.prove(t, s) })
		}
	}
}

func newSuite(open func(t *testing.T) deadletter.Store, config []Config) *suite {
	s := &suite{open: open}
	if len(config) > 0 {
		s.Config = config[0]
	}
	if s.Lease == 0 {
		s.Lease = 150 * time.Millisecond
	}
	if s.Rounds == 0 {
		s.Rounds = 2000
	}
	return s
}

type suite struct {
	Config
	open func(t *testing.T) deadletter.Store
}

// fact is a rule and its proof.
type fact struct {
	name  string
	prove func(t *testing.T, s *suite)
}

// timed runs f with a lease that f may sleep through: a long one in a bubble, a short one in real time.
func (s *suite) timed(t *testing.T, f func(t *testing.T, store deadletter.Store, lease time.Duration)) {
	if s.Bubble {
		synctest.Test(t, func(t *testing.T) { f(t, s.open(t), time.Minute) })
		return
	}
	f(t, s.open(t), s.Lease)
}
