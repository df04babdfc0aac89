package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/deadletter"
)

// far opens a store behind a proxy, and another one beside it.
func far(t *testing.T) (p *proxy, s, beside *pgstore.Store) {
	t.Helper()
	schema := fresh(t)
	beside = open(t, schema, pgstore.Config{Watch: -1})
	p, dsn := through(t)
	s, err := pgstore.Open(t.Context(), dsn, pgstore.Config{Schema: schema, Watch: -1})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	put(t, s, letter("warm", "up")) // its statements are prepared
	return p, s, beside
}

// deed is what a store is asked for while a message of its transaction is cut, and how many letters of the key it
// leaves.
type deed struct {
	do   func(t *testing.T, s, beside *pgstore.Store, key string) error
	left int
}

var deeds = map[string]deed{
	"Put": {func(t *testing.T, s, _ *pgstore.Store, key string) error {
		_, err := s.Put(t.Context(), letter(key, ""))
		return err
	}, 1},
	"Divert": {func(t *testing.T, s, beside *pgstore.Store, key string) error {
		put(t, beside, letter(key, ""))
		_, held, err := s.Divert(t.Context(), letter(key, ""))
		if !held {
			t.Error("it is not held")
		}
		return err
	}, 2},
	"Claim": {func(t *testing.T, s, beside *pgstore.Store, key string) error {
		put(t, beside, letter(key, ""))
		c, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: key}, "me", time.Hour)
		must(t, beside.Renew(t.Context(), c, time.Hour))
		return err
	}, 1},
	"Fail": {func(t *testing.T, s, beside *pgstore.Store, key string) error {
		id, c := claimed(t, beside, key)
		err := s.Fail(t.Context(), c, id, deadletter.Failure{Error: "again"})
		if l, err := beside.Get(t.Context(), id); err != nil || l.Redrives != 1 {
			t.Errorf("the letter was redriven %d times, %v", l.Redrives, err)
		}
		return err
	}, 1},
	"Resolve": {func(t *testing.T, s, beside *pgstore.Store, key string) error {
		id, c := claimed(t, beside, key)
		return s.Resolve(t.Context(), c, id)
	}, 0},
	"Purge": {func(t *testing.T, s, beside *pgstore.Store, key string) error {
		put(t, beside, letter(key, ""))
		put(t, beside, letter(key, ""))
		n, err := s.Purge(t.Context(), deadletter.Filter{Key: &key})
		if n != 2 {
			t.Errorf("Purge = %d, want 2", n)
		}
		return err
	}, 0},
	"Discard": {func(t *testing.T, s, beside *pgstore.Store, key string) error {
		n, err := s.Discard(t.Context(), []string{put(t, beside, letter(key, ""))}, deadletter.Note{})
		if n != 1 {
			t.Errorf("Discard = %d, want 1", n)
		}
		return err
	}, 0},
	"AddOperation": {func(t *testing.T, s, beside *pgstore.Store, key string) error {
		_, err := s.AddOperation(t.Context(), deadletter.Operation{Who: key}, "", time.Minute)
		n := 0
		for o, err := range beside.Operations(t.Context()) {
			must(t, err)
			if o.Who == key {
				n++
			}
		}
		if n != 1 {
			t.Errorf("there are %d operations, want 1", n)
		}
		return err
	}, 0},
}

func claimed(t *testing.T, s *pgstore.Store, key string) (id string, c deadletter.Claim) {
	t.Helper()
	id = put(t, s, letter(key, ""))
	c, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: key}, "me", time.Hour)
	must(t, err)
	return id, c
}

// Whichever message of a transaction is lost, or the answer to it, what was asked for is done once, and said so. The
// last one commits.
func TestACommitWhoseAnswerWasLostIsDoneOnce(t *testing.T) {
	for lost, answer := range map[string]bool{"its answer": true, "it": false} {
		p, s, beside := far(t)
		for name, d := range deeds {
			for message := 1; ; message++ {
				key := fmt.Sprintf("%s, message %d and %s", name, message, lost)
				must(t, d.do(t, s, beside, key+" warm")) // its statements are prepared
				before := p.cuts.Load()
				p.cut(message, answer)
				if err := d.do(t, s, beside, key); err != nil {
					t.Errorf("%s: %v", key, err)
				}
				wantLetters(t, beside, key, d.left)
				if p.cuts.Load() > before {
					continue
				}
				if message < 3 {
					t.Errorf("%s: it was not cut", key)
				}
				break
			}
		}
	}
}

func wantLetters(t *testing.T, s *pgstore.Store, key string, want int) {
	t.Helper()
	n := 0
	for _, err := range s.List(t.Context(), deadletter.Filter{Key: &key}) {
		must(t, err)
		n++
	}
	if n != want {
		t.Errorf("there are %d letters of %s, want %d", n, key, want)
	}
}

func TestACommitThatCannotBeAskedAboutIsUnknown(t *testing.T) {
	t.Cleanup(pgstore.DoubtFor(300 * time.Millisecond))
	p, s, beside := far(t)
	p.cut(2, true)
	p.mu.Lock()
	p.shut = true // those that are there go on
	p.mu.Unlock()
	_, err := s.Put(t.Context(), letter("ann", "1"))
	if !errors.Is(err, pgstore.ErrUnknown) {
		t.Errorf("Put = %v, want ErrUnknown", err)
	}
	p.hangUp(false)
	r, err := s.Put(t.Context(), letter("ann", "1"))
	if err != nil || !r.Existed {
		t.Errorf("Put once more = %+v, %v, want it to have existed", r, err)
	}
	wantLetters(t, beside, "ann", 1)
}

func TestAConnectionThatIsLostBeforeIsMadeAgain(t *testing.T) {
	p, s, beside := far(t)
	for i := range 5 {
		if i%2 == 0 {
			p.cut(1, i%4 == 0) // the message that begins
		} else {
			p.hangUp(false)
		}
		put(t, s, letter("ann", ""))
	}
	wantLetters(t, beside, "ann", 5)
}

// What the driver cannot encode is no lost connection: it fails at once, alone, and nothing else with it.
func TestWhatCannotBeEncodedFailsAlone(t *testing.T) {
	s := open(t, fresh(t), pgstore.Config{})
	began := time.Now()
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			if i%16 == 0 {
				if err := s.Garble(); err == nil || errors.Is(err, pgstore.ErrUnknown) || !strings.Contains(err.Error(), "not a number") {
					t.Errorf("Garble = %v", err)
				}
				return
			}
			if _, err := s.Put(context.Background(), letter("ann", fmt.Sprint(i))); err != nil {
				t.Errorf("Put = %v", err)
			}
		})
	}
	all.Wait()
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	wantLetters(t, s, "ann", 60)
}

func TestAStoreThatIsLockedForLongIsBusy(t *testing.T) {
	schema := fresh(t)
	dsn, c := server(t)
	s, err := pgstore.Open(t.Context(), dsn+"&lock_timeout=200ms", pgstore.Config{Schema: schema, Watch: time.Millisecond})
	must(t, err)
	defer func() { _ = s.Close() }()
	tx, err := c.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM "+schema+".meta FOR UPDATE")
	must(t, err)
	if _, err := s.Put(t.Context(), letter("ann", "1")); !errors.Is(err, pgstore.ErrBusy) {
		t.Errorf("Put = %v, want ErrBusy", err)
	}
	must(t, tx.Rollback(t.Context()))
	put(t, s, letter("ann", "1"))
}

// A process that is stopped in the middle of its transaction gives the lock to others, and does its work again.
func TestAProcessThatIsStoppedLosesTheLock(t *testing.T) {
	schema := fresh(t)
	dsn, _ := server(t)
	s, err := pgstore.Open(t.Context(), dsn+"&idle_in_transaction_session_timeout=100ms", pgstore.Config{Schema: schema})
	must(t, err)
	defer func() { _ = s.Close() }()
	other := open(t, schema, pgstore.Config{})
	stopped := make(chan error, 1)
	go func() { stopped <- s.Dawdle(500 * time.Millisecond) }()
	<-time.After(50 * time.Millisecond)
	began := time.Now()
	put(t, other, letter("ann", "1"))
	if d := time.Since(began); d > 400*time.Millisecond {
		t.Errorf("another process waited %v", d)
	}
	if err := <-stopped; err != nil {
		t.Errorf("the work of the process that was stopped: %v", err)
	}
}
