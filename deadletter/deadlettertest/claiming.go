package deadlettertest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

var claiming = []fact{
	{"a claimed sequence is refused to another", claimRefused},
	{"a sequence without letters cannot be claimed", claimNothing},
	{"a claim that was released can be taken", claimReleased},
	{"a lease that ended can be taken, and the old claim is fenced off", claimExpires},
	{"a claim that is renewed lasts", claimRenewed},
	{"of many claimers one wins", oneWins},
	{"tokens grow, also when the sequence was empty between", tokensGrow},
	{"a claim settles letters of its own sequence only", ownSequence},
	{"a failed redrive is recorded, in place", failRecords},
	{"Head passes over discarded letters", headSkipsDiscarded},
}

func claimRefused(t *testing.T, s *suite) {
	store, q := s.open(t), sequence("charge", "ann")
	put(t, store, letter("charge", "ann", "1"), letter("charge", "bob", "2"))
	before := time.Now()
	c := claim(t, store, q, "me", time.Hour)
	if c.Sequence != q || c.Owner != "me" || c.Token == 0 || c.Until.Before(before.Add(time.Minute)) {
		t.Errorf("claim = %+v", c)
	}
	_, err := store.Claim(t.Context(), q, "you", time.Hour)
	wantError(t, "Claim of a claimed sequence", err, deadletter.ErrClaimed)
	claim(t, store, sequence("charge", "bob"), "you", time.Hour)
	again := claim(t, store, q, "me", time.Hour)
	_, err = store.Head(t.Context(), c)
	wantError(t, "Head by a claim that its owner replaced", err, deadletter.ErrClaimLost)
	if _, err = store.Head(t.Context(), again); err != nil {
		t.Errorf("Head by the owner's new claim = %v", err)
	}
}

func claimNothing(t *testing.T, s *suite) {
	store := s.open(t)
	_, err := store.Claim(t.Context(), sequence("charge", "ann"), "me", time.Hour)
	wantError(t, "Claim of no sequence", err, deadletter.ErrNotFound)
	ids := put(t, store, letter("charge", "ann", "1"))
	if _, err := store.Discard(t.Context(), ids, deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	_, err = store.Claim(t.Context(), sequence("charge", "ann"), "me", time.Hour)
	wantError(t, "Claim of discarded letters", err, deadletter.ErrNotFound)
}

func claimReleased(t *testing.T, s *suite) {
	store, q := s.open(t), sequence("charge", "ann")
	ids := put(t, store, letter("charge", "ann", "1"))
	c := claim(t, store, q, "me", time.Hour)
	if err := store.Release(t.Context(), c); err != nil {
		t.Fatalf("Release = %v", err)
	}
	fenced(t, store, c, ids[0])
	other := claim(t, store, q, "you", time.Hour)
	if err := store.Release(t.Context(), c); err != nil {
		t.Errorf("Release of a lost claim = %v", err)
	}
	if _, err := store.Head(t.Context(), other); err != nil {
		t.Errorf("Head = %v: releasing a lost claim took another's", err)
	}
}

// fenced checks that c does nothing any more.
func fenced(t *testing.T, store deadletter.Store, c deadletter.Claim, id string) {
	t.Helper()
	before := get(t, store, id)
	wantError(t, "Resolve by a lost claim", store.Resolve(t.Context(), c, id), deadletter.ErrClaimLost)
	wantError(t, "Fail by a lost claim", store.Fail(t.Context(), c, id, deadletter.Failure{Error: "x"}), deadletter.ErrClaimLost)
	wantError(t, "Renew of a lost claim", store.Renew(t.Context(), c, time.Hour), deadletter.ErrClaimLost)
	_, err := store.Head(t.Context(), c)
	wantError(t, "Head by a lost claim", err, deadletter.ErrClaimLost)
	sameText(t, get(t, store, id), before)
}

func claimExpires(t *testing.T, s *suite) {
	s.timed(t, func(t *testing.T, store deadletter.Store, lease time.Duration) {
		q := sequence("charge", "ann")
		ids := put(t, store, letter("charge", "ann", "1"))
		old := claim(t, store, q, "me", lease)
		time.Sleep(2 * lease) // in real time for a store on a disk: its clock is not ours to move
		c := claim(t, store, q, "you", time.Hour)
		if c.Token <= old.Token {
			t.Errorf("token %d after %d", c.Token, old.Token)
		}
		fenced(t, store, old, ids[0])
		if err := store.Release(t.Context(), old); err != nil {
			t.Errorf("Release of a lost claim = %v", err)
		}
		if err := store.Resolve(t.Context(), c, ids[0]); err != nil {
			t.Errorf("Resolve = %v", err)
		}
	})
}

func claimRenewed(t *testing.T, s *suite) {
	s.timed(t, func(t *testing.T, store deadletter.Store, lease time.Duration) {
		q := sequence("charge", "ann")
		put(t, store, letter("charge", "ann", "1"))
		c := claim(t, store, q, "me", lease)
		for range 4 {
			time.Sleep(lease / 2) // as above
			if err := store.Renew(t.Context(), c, lease); err != nil {
				t.Fatalf("Renew = %v", err)
			}
			_, err := store.Claim(t.Context(), q, "you", lease)
			wantError(t, "Claim of a renewed sequence", err, deadletter.ErrClaimed)
		}
	})
}

func oneWins(t *testing.T, s *suite) {
	store := s.open(t)
	for i := range min(s.Rounds, 200) {
		key := name("key-", i)
		put(t, store, letter("charge", key, key))
		var won atomic.Int32
		var all sync.WaitGroup
		for owner := range 4 {
			all.Go(func() {
				if _, err := store.Claim(t.Context(), sequence("charge", key), name("owner-", owner), time.Hour); err == nil {
					won.Add(1)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d claimers won", i, won.Load())
		}
	}
}

func tokensGrow(t *testing.T, s *suite) {
	store, q, last := s.open(t), sequence("charge", "ann"), uint64(0)
	for i := range 4 {
		ids := put(t, store, letter("charge", "ann", name("e-", i)))
		c := claim(t, store, q, "me", time.Hour)
		if c.Token <= last {
			t.Errorf("token %d after %d", c.Token, last)
		}
		last = c.Token
		if err := store.Resolve(t.Context(), c, ids[0]); err != nil {
			t.Fatalf("Resolve = %v", err)
		}
		if err := store.Release(t.Context(), c); err != nil {
			t.Fatalf("Release = %v", err)
		}
	}
}

func ownSequence(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "bob", "2"))
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	wantError(t, "Resolve of another sequence's letter", store.Resolve(t.Context(), c, ids[1]), deadletter.ErrNotFound)
	wantError(t, "Fail of another sequence's letter", store.Fail(t.Context(), c, ids[1], deadletter.Failure{}), deadletter.ErrNotFound)
	wantError(t, "Resolve of no letter", store.Resolve(t.Context(), c, "nothing"), deadletter.ErrNotFound)
	wantEvents(t, store, deadletter.Filter{}, "1", "2")
}

func failRecords(t *testing.T, s *suite) {
	store := s.open(t)
	put(t, store, letter("charge", "ann", "1"))
	if !divert(t, store, letter("charge", "ann", "2")) {
		t.Fatal("not held")
	}
	ids := events2ids(t, store, "2")
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	c.By = deadletter.Note{Who: "cron", Why: "nightly"}
	f := deadletter.Failure{
		Reason: deadletter.TimedOut, Error: "late", ErrorType: "T", Causes: []deadletter.Cause{{Type: "T", Text: "late"}},
		Fingerprint: "f-late", Stack: "s", Attempts: 2, History: []deadletter.Attempt{{Number: 1, Error: "late"}},
	}
	for range 2 {
		if err := store.Fail(t.Context(), c, ids[0], f); err != nil {
			t.Fatalf("Fail = %v", err)
		}
	}
	l := get(t, store, ids[0])
	if l.Follower || l.Reason != f.Reason || l.Error != f.Error || l.ErrorType != "T" || l.Fingerprint != "f-late" || l.Stack != "s" {
		t.Errorf("the letter is %+v", l)
	}
	if l.Redrives != 2 || l.Attempts != 3+4 || len(l.History) != 2 || len(l.Causes) != 1 || l.State != deadletter.Active {
		t.Errorf("redrives %d, attempts %d, history %v, causes %v, %s", l.Redrives, l.Attempts, l.History, l.Causes, l.State)
	}
	if len(l.Notes) != 2 || l.Notes[0].What != "redrive" || l.Notes[0].Who != "cron" || l.Notes[0].Why != "nightly" {
		t.Errorf("notes = %v", l.Notes)
	}
	wantEvents(t, store, deadletter.Filter{}, "1", "2")
}

func headSkipsDiscarded(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "ann", "2"), letter("charge", "ann", "3"))
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	change := func(what string, f func() (int, error)) {
		n, err := f()
		wantCount(t, what, n, err, 1)
	}
	head := func(want string) {
		t.Helper()
		if h, err := store.Head(t.Context(), c); err != nil || h.EventID != want {
			t.Errorf("Head = %s, %v, want %s", h.EventID, err, want)
		}
	}
	change("Discard", func() (int, error) { return store.Discard(t.Context(), ids[:1], deadletter.Note{}) })
	head("2")
	change("Discard", func() (int, error) { return store.Discard(t.Context(), ids[1:2], deadletter.Note{}) })
	head("3")
	change("Restore", func() (int, error) { return store.Restore(t.Context(), ids[1:2], deadletter.Note{}) })
	head("2")
	change("Restore", func() (int, error) { return store.Restore(t.Context(), ids[:1], deadletter.Note{}) })
	head("1")
}
