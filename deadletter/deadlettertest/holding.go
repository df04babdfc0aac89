package deadlettertest

import (
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

var holding = []fact{
	{"an open sequence diverts nothing", openDivertsNothing},
	{"a held sequence diverts, in order, with its head's cause", heldDiverts},
	{"a letter that does not hold diverts nothing", gapDivertsNothing},
	{"a letter without an order is a sequence of its own", soloLetters},
	{"the last letter opens its sequence", lastOpens},
	{"a quarantined letter holds, a discarded one does not", statesHold},
	{"sequences are told apart by stage and by key", toldApart},
	{"divert and the last resolve are one decision", divertIsAtomic},
	{"divert and the last discard are one decision", discardIsAtomic},
	{"what completes is the accept order", acceptOrder},
}

func openDivertsNothing(t *testing.T, s *suite) {
	store := s.open(t)
	if store.MayHold("charge", "ann") {
		t.Error("MayHold = true of an empty store")
	}
	if divert(t, store, letter("charge", "ann", "1")) {
		t.Error("Divert to an open sequence said held")
	}
	wantEvents(t, store, deadletter.Filter{})
}

func heldDiverts(t *testing.T, s *suite) {
	store := s.open(t)
	put(t, store, letter("charge", "ann", "1"))
	if !store.MayHold("charge", "ann") {
		t.Error("MayHold = false of a held sequence")
	}
	for _, id := range []string{"2", "3"} {
		l := letter("charge", "ann", id)
		l.Reason, l.Error, l.ErrorType, l.Fingerprint, l.Holds = "", "", "", "", false
		if !divert(t, store, l) {
			t.Fatalf("Divert(%s) said open", id)
		}
	}
	for l, err := range store.List(t.Context(), deadletter.Filter{Reason: deadletter.Follows}) {
		if err != nil || !l.Follower || !l.Holds || l.Error != "boom" || l.Fingerprint != "f-boom" || l.ErrorType == "" {
			t.Errorf("follower %+v, %v", l, err)
		}
	}
	wantEvents(t, store, deadletter.Filter{}, "1", "2", "3")
}

func gapDivertsNothing(t *testing.T, s *suite) {
	store, l := s.open(t), letter("charge", "ann", "1")
	l.Holds = false
	put(t, store, l)
	if divert(t, store, letter("charge", "ann", "2")) {
		t.Error("Divert behind a letter that does not hold said held")
	}
}

func soloLetters(t *testing.T, s *suite) {
	store := s.open(t)
	holds := solo("email", "2")
	holds.Holds = true
	ids := put(t, store, solo("email", "1"), holds)
	if divert(t, store, solo("email", "3")) || divert(t, store, letter("email", "", "4")) {
		t.Error("a letter without an order diverted another")
	}
	for _, id := range ids {
		l := get(t, store, id)
		c := claim(t, store, l.Sequence(), name("owner-", len(id)), time.Minute)
		if h, err := store.Head(t.Context(), c); err != nil || h.ID != id {
			t.Errorf("Head of %v = %s, %v, want %s", l.Sequence(), h.ID, err, id)
		}
		if err := store.Resolve(t.Context(), c, id); err != nil {
			t.Errorf("Resolve = %v", err)
		}
	}
	wantEvents(t, store, deadletter.Filter{})
}

func lastOpens(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "ann", "2"))
	c := claim(t, store, sequence("charge", "ann"), "me", time.Minute)
	for i, id := range ids {
		if h, err := store.Head(t.Context(), c); err != nil || h.ID != id {
			t.Errorf("Head = %s, %v, want %s", h.ID, err, id)
		}
		if err := store.Resolve(t.Context(), c, id); err != nil {
			t.Fatalf("Resolve = %v", err)
		}
		if held := divert(t, store, letter("charge", "bob", name("probe-", i))); held {
			t.Error("another key is held")
		}
	}
	_, err := store.Head(t.Context(), c)
	wantError(t, "Head of an empty sequence", err, deadletter.ErrNotFound)
	if divert(t, store, letter("charge", "ann", "3")) {
		t.Error("the sequence is still held")
	}
	_, err = store.Get(t.Context(), ids[0])
	wantError(t, "Get of a resolved letter", err, deadletter.ErrNotFound)
}

func statesHold(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"))
	c := claim(t, store, sequence("charge", "ann"), "me", time.Minute)
	if err := store.Fail(t.Context(), c, ids[0], deadletter.Failure{Quarantine: true}); err != nil {
		t.Fatalf("Fail = %v", err)
	}
	if l := get(t, store, ids[0]); l.State != deadletter.Quarantined || !store.MayHold("charge", "ann") {
		t.Errorf("state = %s, MayHold = %v", l.State, store.MayHold("charge", "ann"))
	}
	if !divert(t, store, letter("charge", "ann", "2")) {
		t.Error("a quarantined letter does not hold")
	}
	all := append(ids, events2ids(t, store, "2")...)
	n, err := store.Discard(t.Context(), all, deadletter.Note{})
	wantCount(t, "Discard", n, err, 2)
	if divert(t, store, letter("charge", "ann", "3")) {
		t.Error("discarded letters hold")
	}
	n, err = store.Restore(t.Context(), ids, deadletter.Note{})
	wantCount(t, "Restore", n, err, 1)
	if !store.MayHold("charge", "ann") || !divert(t, store, letter("charge", "ann", "4")) {
		t.Error("a restored letter does not hold")
	}
}

func events2ids(t *testing.T, s deadletter.Store, eventID string) (ids []string) {
	t.Helper()
	for l, err := range s.List(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if l.EventID == eventID {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

func toldApart(t *testing.T, s *suite) {
	store := s.open(t)
	put(t, store, letter("a", "bc", "1"), letter("ab", "", "2"))
	for _, q := range []deadletter.Sequence{sequence("ab", "c"), sequence("a", "b"), sequence("abc", ""), sequence("a", "")} {
		if divert(t, store, letter(q.Stage, q.Key, "x")) {
			t.Errorf("%v is held", q)
		}
	}
	if !divert(t, store, letter("ab", "", "3")) {
		t.Error("an ordered sequence with an empty key is not held")
	}
}

// divertIsAtomic lets two diverts race the last letter's end. Each of them, and a probe once the letter
// is gone, must agree: either one came before the end, and then the sequence stayed held for all that
// came after, or none did, and then it was open for all.
func divertIsAtomic(t *testing.T, s *suite) {
	raceDivert(t, s, func(store deadletter.Store, c deadletter.Claim, id string) error {
		return store.Resolve(t.Context(), c, id)
	})
}

func discardIsAtomic(t *testing.T, s *suite) {
	raceDivert(t, s, func(store deadletter.Store, _ deadletter.Claim, id string) error {
		_, err := store.Discard(t.Context(), []string{id}, deadletter.Note{})
		return err
	})
}

func raceDivert(t *testing.T, s *suite, end func(deadletter.Store, deadletter.Claim, string) error) {
	store := s.open(t)
	diverted, opened := 0, 0
	for i := range s.Rounds {
		held := raceOnce(t, store, name("key-", i), end)
		if held[0] != held[1] || held[1] != held[2] {
			t.Fatalf("round %d: two diverts and a probe saw held = %v: one was diverted to an open sequence, or let past a held one", i, held)
		}
		if held[0] {
			diverted++
		} else {
			opened++
		}
		if store.MayHold("charge", name("key-", i)) != held[0] && held[0] {
			t.Fatalf("round %d: MayHold = false of a held sequence", i)
		}
	}
	if n := len(events(t, store, deadletter.Filter{})); n != 3*diverted {
		t.Errorf("%d letters are left, want %d", n, 3*diverted)
	}
	t.Logf("%d rounds diverted, %d opened", diverted, opened)
}

func raceOnce(t *testing.T, store deadletter.Store, key string, end func(deadletter.Store, deadletter.Claim, string) error) (held [3]bool) {
	t.Helper()
	r, err := store.Put(t.Context(), letter("charge", key, key+"-head"))
	if err != nil {
		t.Fatal(err)
	}
	c := claim(t, store, sequence("charge", key), "me", time.Minute)
	start := make(chan struct{})
	var all sync.WaitGroup
	run := func(i int, first func() error) {
		all.Go(func() {
			<-start
			err := first()
			if err == nil {
				_, held[i], err = store.Divert(t.Context(), letter("charge", key, name(key, i)))
			}
			if err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	divertOnly := func() error { return nil }
	runs := []func(){
		func() { run(0, divertOnly) },
		func() { run(1, divertOnly) },
		func() { run(2, func() error { return end(store, c, r.ID) }) },
	}
	for i := range runs { // who is ready first must not always be the same
		runs[(i+len(key)+int(key[len(key)-1]))%len(runs)]()
	}
	close(start)
	all.Wait()
	return held
}

// acceptOrder plays a lane: live events ask Divert, run or fail, while drains bring letters back. What
// is done must be done in the order of acceptance.
func acceptOrder(t *testing.T, s *suite) {
	store, l := s.open(t), &lane{failed: map[string]int{}}
	n := min(s.Rounds, 400)
	var drains sync.WaitGroup
	stop := make(chan struct{})
	end := sync.OnceFunc(func() {
		close(stop)
		drains.Wait()
	})
	defer end()
	target := NewTarget(locked{store, l}, 0, l.redrive)
	for range 2 {
		drains.Go(func() {
			for {
				if _, err := deadletter.Drain(t.Context(), store, target, deadletter.DrainOptions{}); err != nil {
					t.Errorf("Drain = %v", err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range n {
		l.live(t, store, name("e-", i))
		// Now all, now all but a few must be done before the next comes, so that it meets the
		// sequence open, half drained, and down to its last follower.
		l.catchUp(t, i+1-i/20%4)
	}
	end()
	finish(t, store, target)
	for i, id := range l.done {
		if id != name("e-", i) {
			t.Fatalf("done[%d] = %s: out of order", i, id)
		}
	}
	t.Logf("%d redrives for %d events", len(target.History()), n)
	if len(l.done) != n {
		t.Errorf("%d events are done, want %d", len(l.done), n)
	}
}

// finish drains until nothing is left; every letter fails at most twice.
func finish(t *testing.T, store deadletter.Store, target deadletter.Target) {
	t.Helper()
	for range 10_000 {
		r, err := deadletter.Drain(t.Context(), store, target, deadletter.DrainOptions{})
		if err != nil {
			t.Fatalf("Drain = %v", err)
		}
		if r.Empty() {
			return
		}
		if r.Succeeded+r.Failed == 0 {
			t.Fatalf("letters are left that no drain gets: %v", r)
		}
	}
	t.Fatal("letters are left however often they are drained")
}
