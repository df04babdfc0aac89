package sqlitestore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

func TestStoreIsAStore(t *testing.T) {
	files := map[deadletter.Store]string{}
	at := func(t *testing.T, path string, c sqlitestore.Config) deadletter.Store {
		s := open(t, path, c)
		files[s] = path
		return s
	}
	deadlettertest.Run(t, func(t *testing.T) deadletter.Store {
		return at(t, fresh(t), sqlitestore.Config{})
	}, deadlettertest.Config{
		Rounds: 100, // each has several flushes of the disk
		Limited: func(t *testing.T, l deadlettertest.Limits) deadletter.Store {
			return at(t, fresh(t), sqlitestore.Config{
				MaxLetters: l.Letters, MaxPerSequence: l.PerSequence, MaxLetterBytes: l.LetterBytes, MaxSequences: l.Sequences,
			})
		},
		Reopen: func(t *testing.T, s deadletter.Store) deadletter.Store {
			if err := s.(*sqlitestore.Store).Close(); err != nil {
				t.Fatal(err)
			}
			return at(t, files[s], sqlitestore.Config{})
		},
	})
}

func TestStoreKeepsOperations(t *testing.T) {
	files := map[deadletter.Store]string{}
	at := func(t *testing.T, path string) deadletter.RedriveStore {
		s := open(t, path, sqlitestore.Config{})
		files[s] = path
		return s
	}
	deadlettertest.RunOperations(t, func(t *testing.T) deadletter.RedriveStore { return at(t, fresh(t)) }, deadlettertest.Config{
		Rounds: 20,
		Reopen: func(t *testing.T, s deadletter.Store) deadletter.Store {
			if err := s.(*sqlitestore.Store).Close(); err != nil {
				t.Fatal(err)
			}
			return at(t, files[s])
		},
	})
}

// fresh is the path of a file that is not there, with letters that a connection string would misread.
func fresh(t testing.TB) string { return filepath.Join(t.TempDir(), "a ?b#c%20&d=é.db") }

func open(t testing.TB, path string, c sqlitestore.Config) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, c)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

func put(t testing.TB, s deadletter.Keeper, l *deadletter.Letter) string {
	t.Helper()
	r, err := s.Put(context.Background(), l)
	if err != nil {
		t.Fatalf("Put(%s) = %v", l.EventID, err)
	}
	return r.ID
}

func letter(key, id string) *deadletter.Letter {
	return &deadletter.Letter{
		Stage: "charge", Topic: "orders", Key: key, Ordered: true, Holds: true, EventID: id,
		Reason: deadletter.Exhausted, Error: "boom", Fingerprint: "f", Payload: []byte(id),
	}
}

func events(t testing.TB, s deadletter.Browser, f deadletter.Filter) (ids []string) {
	t.Helper()
	for l, err := range s.List(context.Background(), f) {
		if err != nil {
			t.Fatalf("List = %v", err)
		}
		ids = append(ids, l.EventID)
	}
	return ids
}

// foreign opens the file beside the store, as another program would.
func foreign(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+escaped(path)+"?_busy_timeout=10000&_foreign_keys=1&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPutsShareCommits(t *testing.T) {
	path, n := fresh(t), 200
	s := open(t, path, sqlitestore.Config{})
	lock, err := foreign(t, path).Begin()
	must(t, err)
	before := s.Commits()
	var started, all sync.WaitGroup
	started.Add(n)
	for i := range n {
		all.Go(func() {
			started.Done()
			put(t, s, letter(fmt.Sprint("key-", i%10), fmt.Sprint("e-", i)))
		})
	}
	started.Wait() // the writer waits for the lock with one of them, the others wait for the writer
	must(t, lock.Rollback())
	all.Wait()
	if commits := s.Commits() - before; commits > 10 {
		t.Errorf("%d puts took %d commits", n, commits)
	}
	if got := len(events(t, s, deadletter.Filter{})); got != n {
		t.Errorf("%d letters, want %d", got, n)
	}
}

func TestAWriteThatFailsFailsAlone(t *testing.T) {
	path, boom := fresh(t), errors.New("boom")
	s := open(t, path, sqlitestore.Config{})
	lock, err := foreign(t, path).Begin()
	must(t, err)
	var started, all sync.WaitGroup
	for i := range 40 {
		started.Add(1)
		all.Go(func() {
			started.Done()
			if i%10 != 3 {
				put(t, s, letter("ann", fmt.Sprint("e-", i)))
			} else if err := s.Spoil(boom); !errors.Is(err, boom) {
				t.Errorf("the write that fails = %v", err)
			}
		})
	}
	started.Wait()
	must(t, lock.Rollback())
	all.Wait()
	if got := len(events(t, s, deadletter.Filter{})); got != 36 {
		t.Errorf("%d letters, want 36", got)
	}
	recount(t, path)
}

func TestSettingsAreInForceOnEveryConnection(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	check := func(conn *sql.Conn) error {
		for pragma, want := range map[string]string{
			"journal_mode": "wal", "synchronous": "2", "busy_timeout": "10000", "foreign_keys": "1",
		} {
			var got string
			if err := conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s = %s, %v, want %s", pragma, got, err, want)
			}
		}
		return nil
	}
	must(t, s.OnWriter(check))
	must(t, s.OnReader(func(one *sql.Conn) error {
		return errors.Join(check(one), s.OnReader(func(other *sql.Conn) error {
			_, err := other.ExecContext(t.Context(), "DELETE FROM letters")
			if err == nil {
				t.Error("a connection that reads can write")
			}
			return check(other)
		}))
	}))
}

// TestOneTransactionSeesItsOwnLetters has a batch decide what rests on letters that the same batch added, and
// changes them, before any of it is counted.
func TestOneTransactionSeesItsOwnLetters(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{MaxPerSequence: 3, MaxLetters: 6})
	must(t, s.Together(func(b sqlitestore.Batch) error {
		head, err := b.Put(letter("ann", "1"))
		if err != nil {
			return err
		}
		for i, want := range []error{nil, nil, deadletter.ErrSequenceFull} {
			l := letter("ann", fmt.Sprint("follower-", i))
			l.Fingerprint = ""
			if _, held, err := b.Divert(l); !held || !errors.Is(err, want) {
				t.Errorf("Divert %d = %v, %v, want %v", i, held, err, want)
			}
		}
		for i, want := range []error{nil, nil, nil, deadletter.ErrFull} {
			if _, err := b.Put(letter(fmt.Sprint("b-", i), fmt.Sprint("b-", i))); !errors.Is(err, want) {
				t.Errorf("Put %d = %v, want %v", i, err, want)
			}
		}
		if r, err := b.Put(letter("ann", "1")); err != nil || !r.Existed {
			t.Errorf("Put again = %+v, %v", r, err)
		}
		// Out, and in again, and away; and another like it.
		if err := errors.Join(b.Discard(head.ID), b.Discard(head.ID), b.Purge(head.ID)); err != nil {
			return err
		}
		again := letter("cid", "c")
		again.Topic = "a facet of its own"
		r, err := b.Put(again)
		if err != nil {
			return err
		}
		if err = b.Purge(r.ID); err == nil {
			_, err = b.Put(again)
		}
		return err
	}))
	if got := events(t, s, deadletter.Filter{Fingerprint: "f"}); !slices.Equal(got, []string{"follower-0", "follower-1", "b-0", "b-1", "b-2", "c"}) {
		t.Errorf("letters = %q", got)
	}
	recount(t, path)
}

func TestATransactionThatIsUndoneHoldsNothing(t *testing.T) {
	s, boom := open(t, fresh(t), sqlitestore.Config{}), errors.New("boom")
	err := s.Together(func(b sqlitestore.Batch) error {
		_, err := b.Put(letter("dan", "d"))
		return errors.Join(err, boom)
	})
	if !errors.Is(err, boom) || s.MayHold("charge", "dan") {
		t.Errorf("a transaction that was undone = %v, MayHold = %v", err, s.MayHold("charge", "dan"))
	}
}

// TestAllAtOnce has everything done at once, so that batches are of all kinds, and counts again.
func TestAllAtOnce(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			key := fmt.Sprint("key-", worker%5)
			q := deadletter.Sequence{Stage: "charge", Key: key}
			for n := range 25 {
				id := put(t, s, letter(key, fmt.Sprint(worker, "-", n)))
				_, _, err := s.Divert(t.Context(), letter(key, fmt.Sprint(worker, "-f-", n)))
				must(t, err)
				switch n % 5 {
				case 0:
					_, err = s.Discard(t.Context(), []string{id}, deadletter.Note{})
				case 1:
					_, err = s.Purge(t.Context(), deadletter.Filter{IDs: []string{id}})
				case 2:
					_, err = s.Discard(t.Context(), []string{id}, deadletter.Note{})
					must(t, err)
					put(t, s, letter(key, fmt.Sprint(worker, "-", n)))
				default:
					var c deadletter.Claim
					if c, err = s.Claim(t.Context(), q, "me", time.Minute); err == nil {
						err = s.Fail(t.Context(), c, id, deadletter.Failure{Fingerprint: fmt.Sprint(n % 2), Quarantine: n%3 == 0})
					}
					if errors.Is(err, deadletter.ErrClaimLost) {
						err = nil // the same owner claimed again
					}
				}
				must(t, err)
			}
		})
	}
	all.Wait()
	recount(t, path)
}

func TestMayHoldDoesNotAllocate(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	put(t, s, letter("ann", "1"))
	if n := testing.AllocsPerRun(1000, func() {
		if !s.MayHold("charge", "ann") || s.MayHold("charge", "bob") {
			t.Error("MayHold is wrong")
		}
	}); n != 0 {
		t.Errorf("MayHold allocates %v times", n)
	}
}

func TestClose(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	var mu sync.Mutex
	var acked []string
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				if _, err := s.Put(t.Context(), letter(fmt.Sprint(i), id)); err != nil {
					if !errors.Is(err, sqlitestore.ErrClosed) {
						t.Errorf("Put = %v, want nil or %v", err, sqlitestore.ErrClosed)
					}
					return
				}
				mu.Lock()
				acked = append(acked, id)
				mu.Unlock()
			}
		})
	}
	<-time.After(20 * time.Millisecond)
	all.Go(func() { must(t, s.Close()) })
	must(t, s.Close())
	all.Wait()
	if _, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge"}, "me", time.Second); !errors.Is(err, sqlitestore.ErrClosed) {
		t.Errorf("Claim of a closed store = %v", err)
	}
	if _, err := s.Stats(t.Context()); !errors.Is(err, sqlitestore.ErrClosed) {
		t.Errorf("Stats of a closed store = %v", err)
	}
	if _, err := s.Get(t.Context(), "nothing"); !errors.Is(err, deadletter.ErrNotFound) {
		t.Errorf("Get of a closed store = %v", err)
	}
	for _, err := range s.List(t.Context(), deadletter.Filter{}) {
		if !errors.Is(err, sqlitestore.ErrClosed) {
			t.Errorf("List of a closed store = %v", err)
		}
	}
	got := events(t, open(t, path, sqlitestore.Config{}), deadletter.Filter{})
	slices.Sort(got)
	slices.Sort(acked)
	if !slices.Equal(got, acked) {
		t.Errorf("%d letters are in the file, %d were acknowledged", len(got), len(acked))
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	path, before := fresh(t), runtime.NumGoroutine()
	for i := range 10 {
		s := open(t, path, sqlitestore.Config{})
		put(t, s, letter("ann", fmt.Sprint(i)))
		for range s.List(t.Context(), deadletter.Filter{}) {
			break
		}
		must(t, s.Close())
	}
	for range 200 { // what opens connections for database/sql ends a moment later
		if runtime.NumGoroutine() <= before {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestFault39_ADiskThatIsFullLosesNothing(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	limit := func(pages string) {
		must(t, s.OnWriter(func(c *sql.Conn) error {
			_, err := c.ExecContext(t.Context(), "PRAGMA max_page_count = "+pages)
			return err
		}))
	}
	put(t, s, letter("ann", "1"))
	limit("1") // SQLite makes it the size that the file has
	big := letter("bob", "2")
	big.Payload = make([]byte, 1<<20)
	if _, err := s.Put(t.Context(), big); !errors.Is(err, sqlitestore.ErrDiskFull) {
		t.Errorf("Put on a full disk = %v, want %v", err, sqlitestore.ErrDiskFull)
	}
	if s.MayHold("charge", "bob") {
		t.Error("MayHold = true of a letter that was not stored")
	}
	if !s.MayHold("charge", "ann") || len(events(t, s, deadletter.Filter{})) != 1 {
		t.Error("the letter before is gone")
	}
	limit("1000000")
	put(t, s, big)
	recount(t, path)
}

func TestFault40_ALockThatAnotherKeepsIsReported(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	must(t, s.OnWriter(func(c *sql.Conn) error {
		_, err := c.ExecContext(t.Context(), "PRAGMA busy_timeout = 20")
		return err
	}))
	lock, err := foreign(t, path).Begin()
	must(t, err)
	if _, err := s.Put(t.Context(), letter("ann", "1")); !errors.Is(err, sqlitestore.ErrBusy) {
		t.Errorf("Put = %v, want %v", err, sqlitestore.ErrBusy)
	}
	if s.MayHold("charge", "ann") {
		t.Error("MayHold = true of a letter that was not stored")
	}
	must(t, lock.Rollback())
	put(t, s, letter("ann", "1"))
}

// TestAVisitReadsNoHeldKeys, and asks the file about each.
func TestAVisitReadsNoHeldKeys(t *testing.T) {
	path := fresh(t)
	put(t, open(t, path, sqlitestore.Config{}), letter("ann", "1"))
	visitor := open(t, path, sqlitestore.Config{Visit: true})
	if n := visitor.HeldKeys(); n != 0 {
		t.Errorf("a visitor has read %d held keys", n)
	}
	for key, want := range map[string]bool{"ann": true, "bob": false} {
		if !visitor.MayHold("charge", key) {
			t.Errorf("MayHold(%s) = false of what was not read", key)
		}
		if _, held, err := visitor.Divert(t.Context(), letter(key, "2")); held != want || err != nil {
			t.Errorf("Divert(%s) = %v, %v, want %v", key, held, err, want)
		}
	}
}

// TestGroupsOfStatesAreThoseOfTheLetters, whether counters can say it or not.
func TestGroupsOfStatesAreThoseOfTheLetters(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	for i := range 6 {
		l := letter(fmt.Sprint("key-", i%3), fmt.Sprint(i))
		put(t, s, l)
	}
	active := deadletter.Filter{States: []deadletter.State{deadletter.Active}}
	both := deadletter.Filter{States: []deadletter.State{deadletter.Active, deadletter.Quarantined}}
	none := deadletter.Filter{States: []deadletter.State{deadletter.Quarantined}}
	check := func(when string, f deadletter.Filter, letters, sequences int) {
		t.Helper()
		n, m := 0, 0
		groups, err := s.Groups(t.Context(), f)
		must(t, err)
		for _, g := range groups {
			n, m = n+g.Letters, m+g.Sequences
		}
		if n != letters || m != sequences {
			t.Errorf("%s: %v has %d letters in %d sequences, want %d in %d", when, f.States, n, m, letters, sequences)
		}
	}
	check("all active", active, 6, 3)
	check("all active", both, 6, 3)
	check("all active", none, 0, 0)
	sequence := deadletter.Sequence{Stage: "charge", Key: "key-0"}
	c, err := s.Claim(t.Context(), sequence, "me", time.Minute)
	must(t, err)
	head, err := s.Head(t.Context(), c)
	must(t, err)
	must(t, s.Fail(t.Context(), c, head.ID, deadletter.Failure{Error: "again", Fingerprint: head.Fingerprint, Attempts: 1, Quarantine: true}))
	check("one quarantined", active, 5, 3)
	check("one quarantined", both, 6, 3)
	check("one quarantined", none, 1, 1)
	_, err = s.Discard(t.Context(), []string{head.ID}, deadletter.Note{})
	must(t, err)
	check("one discarded", both, 5, 3)
	check("one discarded", active, 5, 3)
}
