package sqlitestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

func TestSweepRemovesWhatWasDiscardedLongAgo(t *testing.T) {
	var log bytes.Buffer
	config := sqlitestore.Config{Retention: 10 * 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	path := fresh(t)
	s := open(t, path, config)
	long := time.Now().AddDate(-1, 0, 0)
	var ids []string
	for i := range 600 {
		l := letter(fmt.Sprint("key-", i%9), fmt.Sprint(i))
		l.DeadAt = long
		ids = append(ids, put(t, s, l))
	}
	if n, err := s.Discard(t.Context(), ids[:400], deadletter.Note{Who: "me"}); n != 400 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := s.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v: a letter that was discarded just now can be restored", n, err)
	}
	if log.Len() > 0 {
		t.Errorf("nothing was removed, but it says %s", log.String())
	}
	exec1(t, foreign(t, path), fmt.Sprintf("UPDATE letters SET updated_at = %d WHERE n %% 4 <> 0", long.UnixMicro()))
	if n, err := s.Sweep(t.Context()); n != 300 || err != nil {
		t.Errorf("Sweep = %d, %v, want 300", n, err)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Active != 200 || st.Discarded != 100 || st.Removed != 300 {
		t.Errorf("Stats = %+v, %v", st, err)
	}
	for _, says := range []string{"letters=300", "level=INFO", "bytes=", "retention=240h"} {
		if !strings.Contains(log.String(), says) {
			t.Errorf("the log lacks %s: %s", says, log.String())
		}
	}
	recount(t, path)
}

func TestOpenSweeps(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	kept, gone := put(t, s, letter("ann", "kept")), put(t, s, letter("ann", "gone"))
	_, err := s.Discard(t.Context(), []string{gone}, deadletter.Note{})
	must(t, err)
	exec1(t, foreign(t, path), "UPDATE letters SET updated_at = 0, dead_at = 0")
	must(t, s.Close())
	for _, c := range []sqlitestore.Config{{Retention: -1}, {}} {
		c.Logger = slog.New(slog.DiscardHandler)
		s := open(t, path, c)
		_, err := s.Get(t.Context(), gone)
		if want := c.Retention == 0; errors.Is(err, deadletter.ErrNotFound) != want {
			t.Errorf("retention %v: Get = %v", c.Retention, err)
		}
		if _, err := s.Get(t.Context(), kept); err != nil {
			t.Errorf("a letter that holds = %v", err)
		}
		must(t, s.Close())
	}
}

func TestBulkChangesStopWithTheirContext(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	id := put(t, s, letter("ann", "1"))
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if n, err := s.Discard(ctx, []string{id}, deadletter.Note{}); n != 0 || !errors.Is(err, cause) {
		t.Errorf("Discard = %d, %v", n, err)
	}
	if n, err := s.Purge(ctx, deadletter.Filter{}); n != 0 || !errors.Is(err, cause) {
		t.Errorf("Purge = %d, %v", n, err)
	}
	if n, err := s.Sweep(ctx); n != 0 || !errors.Is(err, cause) {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	if _, err := s.Groups(ctx, deadletter.Filter{ErrorText: "o"}); !errors.Is(err, cause) {
		t.Errorf("Groups = %v", err)
	}
}

func TestPurgeLeavesWhatComesMeanwhile(t *testing.T) {
	path, before := fresh(t), 600
	s := open(t, path, sqlitestore.Config{})
	must(t, s.Together(func(b sqlitestore.Batch) (err error) {
		for i := 0; err == nil && i < before; i++ {
			_, err = b.Put(letter("ann", fmt.Sprint(i)))
		}
		return err
	}))
	lock, err := foreign(t, path).Begin()
	must(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		if n, err := s.Purge(t.Context(), deadletter.Filter{}); n != before || err != nil {
			t.Errorf("Purge = %d, %v, want %d", n, err, before)
		}
	})
	<-time.After(200 * time.Millisecond) // it has found the first page, and waits for the lock
	for i := range 10 {
		all.Go(func() { put(t, s, letter("ann", fmt.Sprint("new-", i))) })
	}
	<-time.After(20 * time.Millisecond)
	must(t, lock.Rollback())
	all.Wait()
	if n := len(events(t, s, deadletter.Filter{})); n != 10 {
		t.Errorf("%d letters are left, 10 came", n)
	}
}

func TestFault51_ListReadsInPages(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	var want []string
	for i := range 40 { // more than the bytes of one page
		l := letter(fmt.Sprint("key-", i%3), fmt.Sprint(i))
		l.Payload, l.Fingerprint = make([]byte, 1<<20), fmt.Sprint("f-", i%5)
		put(t, s, l)
		want = append(want, fmt.Sprint(i))
	}
	if got := events(t, s, deadletter.Filter{}); !slices.Equal(got, want) {
		t.Errorf("List = %v", got)
	}
	for range s.List(t.Context(), deadletter.Filter{}) {
		if n := s.Reading(); n != 0 {
			t.Errorf("%d connections read while a letter is looked at", n)
		}
		break
	}
}
