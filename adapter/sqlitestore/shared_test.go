package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

// pair is two stores on one file: to SQLite they are two processes, but for the locks' owner, which the
// crash tests have too.
func pair(t *testing.T) (a, b *sqlitestore.Store, path string) {
	path = fresh(t)
	return open(t, path, sqlitestore.Config{}), open(t, path, sqlitestore.Config{}), path
}

var ann = deadletter.Sequence{Stage: "charge", Key: "ann"}

func TestClaimsAreExclusiveAcrossStores(t *testing.T) {
	a, b, _ := pair(t)
	put(t, a, letter("ann", "1"))
	for range 50 {
		var won atomic.Int32
		var winner deadletter.Claim
		var all sync.WaitGroup
		for i, s := range []*sqlitestore.Store{a, b, a, b} {
			all.Go(func() {
				c, err := s.Claim(t.Context(), ann, fmt.Sprint("owner-", i), time.Minute)
				if err == nil {
					won.Add(1)
					winner = c
				} else if !errors.Is(err, deadletter.ErrClaimed) {
					t.Errorf("Claim = %v", err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d won", won.Load())
		}
		must(t, b.Release(t.Context(), winner))
	}
}

func TestALostClaimIsFencedAcrossStores(t *testing.T) {
	a, b, _ := pair(t)
	id := put(t, a, letter("ann", "1"))
	old, err := a.Claim(t.Context(), ann, "a", time.Millisecond)
	must(t, err)
	<-time.After(20 * time.Millisecond)
	c, err := b.Claim(t.Context(), ann, "b", time.Minute)
	must(t, err)
	for what, err := range map[string]error{
		"Resolve": a.Resolve(t.Context(), old, id),
		"Fail":    a.Fail(t.Context(), old, id, deadletter.Failure{}),
		"Renew":   a.Renew(t.Context(), old, time.Minute),
	} {
		if !errors.Is(err, deadletter.ErrClaimLost) {
			t.Errorf("%s by the old claim = %v", what, err)
		}
	}
	must(t, b.Resolve(t.Context(), c, id))
}

// TestDivertIsAtomicAcrossStores has one store end the last letter while the other diverts: what was
// diverted came before the end, and then the sequence is still held.
func TestDivertIsAtomicAcrossStores(t *testing.T) {
	a, b, path := pair(t)
	diverted := 0
	for i := range 200 {
		key := fmt.Sprint("key-", i)
		q := deadletter.Sequence{Stage: "charge", Key: key}
		id := put(t, a, letter(key, key))
		c, err := a.Claim(t.Context(), q, "a", time.Minute)
		must(t, err)
		var held bool
		var all sync.WaitGroup
		all.Go(func() { must(t, a.Resolve(t.Context(), c, id)) })
		all.Go(func() {
			var err error
			_, held, err = b.Divert(t.Context(), letter(key, key+"-follower"))
			must(t, err)
		})
		all.Wait()
		_, after, err := a.Divert(t.Context(), letter(key, key+"-probe"))
		must(t, err)
		if after != held {
			t.Fatalf("round %d: diverted %v, and then held %v", i, held, after)
		}
		if held {
			diverted++
		}
	}
	t.Logf("%d of 200 were diverted", diverted)
	recount(t, path)
}

func TestMayHoldFollowsOtherStores(t *testing.T) {
	a, b, path := pair(t)
	id := put(t, a, letter("ann", "1"))
	if !a.MayHold("charge", "ann") {
		t.Error("the store that has the letter says open")
	}
	// The other learns of it with its next write, whatever that is.
	put(t, b, letter("bob", "2"))
	if !b.MayHold("charge", "ann") {
		t.Error("after a write the other store says open")
	}
	// It opens the sequence, and the first still says that it may be held, until it asks.
	c, err := b.Claim(t.Context(), ann, "b", time.Minute)
	must(t, err)
	must(t, b.Resolve(t.Context(), c, id))
	if b.MayHold("charge", "ann") {
		t.Error("the store that opened it says held")
	}
	if !a.MayHold("charge", "ann") {
		t.Error("the first store knows what it cannot")
	}
	if _, held, err := a.Divert(t.Context(), letter("ann", "3")); held || err != nil {
		t.Errorf("Divert = %v, %v", held, err)
	}
	if a.MayHold("charge", "ann") {
		t.Error("after Divert said open, MayHold says held")
	}
	// Held again and again, it is never forgotten.
	for i := range 3 {
		put(t, a, letter("ann", fmt.Sprint("again-", i)))
		put(t, b, letter("ann", fmt.Sprint("b-again-", i)))
		if !a.MayHold("charge", "ann") || !b.MayHold("charge", "ann") {
			t.Fatal("a held sequence is said to be open")
		}
	}
	must(t, a.Close())
	if s := open(t, path, sqlitestore.Config{}); !s.MayHold("charge", "ann") || s.MayHold("charge", "cid") {
		t.Error("a store that is opened does not know what is held")
	}
}

func TestStoresDrainOneFileTogether(t *testing.T) {
	a, b, path := pair(t)
	const letters, keys = 300, 12
	for i := range letters {
		put(t, a, letter(fmt.Sprint("key-", i%keys), fmt.Sprintf("%04d", i)))
	}
	var mu sync.Mutex
	last, seen := map[string]string{}, map[string]bool{}
	handle := func(_ context.Context, l deadletter.Letter) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[l.EventID] || last[l.Key] > l.EventID {
			t.Errorf("key %s: %s after %s, seen %v", l.Key, l.EventID, last[l.Key], seen[l.EventID])
		}
		last[l.Key], seen[l.EventID] = l.EventID, true
		return nil
	}
	drain := func(s *sqlitestore.Store) {
		r, err := deadletter.Drain(t.Context(), s, deadlettertest.NewTarget(s, 0, handle), deadletter.DrainOptions{Parallel: 4})
		if err != nil || r.Failed > 0 {
			t.Errorf("Drain = %v, %v", r, err)
		}
	}
	var all sync.WaitGroup
	for _, s := range []*sqlitestore.Store{a, b, a, b} {
		all.Go(func() { drain(s) })
	}
	all.Wait()
	drain(a) // what all passed over while it was claimed
	if len(seen) != letters {
		t.Errorf("%d letters were redriven, want %d", len(seen), letters)
	}
	recount(t, path)
}
