package deadlettertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

var browsing = []fact{
	{"each field of a filter selects", filters},
	{"List yields in the order of Put, however many there are", listOrder},
	{"List lets the store be changed while it yields", listUnlocked},
	{"List ends with an error when its context has ended", listCancelled},
	{"groups count by cause, the largest first", groupsByCause},
	{"stats count the whole store", statsCount},
	{"what is not there is not found", notFound},
}

func filters(t *testing.T, s *suite) {
	store, noon := s.open(t), time.Date(2024, 1, 2, 12, 0, 0, 0, time.UTC)
	a := letter("charge", "ann", "a")
	a.DeadAt = noon
	b := letter("charge", "", "b")
	b.Topic, b.Reason, b.Fingerprint, b.DeadAt = "refunds", deadletter.Panicked, "f-b", noon.Add(time.Hour)
	c := letter("email", "ann", "c")
	c.Error, c.ErrorType, c.DeadAt = "100% of a_b", "*x.E", noon.Add(2*time.Hour)
	d := letter("email", "dan", "d")
	d.DeadAt = noon.Add(3 * time.Hour)
	ids := put(t, store, a, b, c, d)
	if n, err := store.Discard(t.Context(), ids[3:], deadletter.Note{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	ann, none := "ann", ""
	for _, test := range []struct {
		f    deadletter.Filter
		want []string
	}{
		{deadletter.Filter{}, []string{"a", "b", "c"}},
		{deadletter.Filter{IDs: []string{ids[2], ids[0], ids[2], "nothing"}}, []string{"a", "c"}},
		{deadletter.Filter{IDs: []string{}}, nil},
		{deadletter.Filter{IDs: []string{ids[3]}}, nil},
		{deadletter.Filter{Stage: "charge"}, []string{"a", "b"}},
		{deadletter.Filter{Topic: "refunds"}, []string{"b"}},
		{deadletter.Filter{Key: &ann}, []string{"a", "c"}},
		{deadletter.Filter{Key: &none}, []string{"b"}},
		{deadletter.Filter{Reason: deadletter.Panicked}, []string{"b"}},
		{deadletter.Filter{Fingerprint: "f-b"}, []string{"b"}},
		{deadletter.Filter{ErrorText: "oo"}, []string{"a", "b"}},
		{deadletter.Filter{ErrorText: "OO"}, nil},
		{deadletter.Filter{ErrorText: "0% of a_"}, []string{"c"}},
		{deadletter.Filter{ErrorText: "%"}, []string{"c"}},
		{deadletter.Filter{ErrorText: "_"}, []string{"c"}},
		{deadletter.Filter{ErrorType: "*x.E"}, []string{"c"}},
		{deadletter.Filter{Before: noon.Add(time.Hour)}, []string{"a"}},
		{deadletter.Filter{After: noon.Add(time.Hour)}, []string{"b", "c"}},
		{deadletter.Filter{States: []deadletter.State{deadletter.Discarded}}, []string{"d"}},
		{deadletter.Filter{States: []deadletter.State{deadletter.Discarded, deadletter.Active}}, []string{"a", "b", "c", "d"}},
		{deadletter.Filter{Stage: "charge", Key: &ann, Reason: deadletter.Exhausted}, []string{"a"}},
		{deadletter.Filter{Stage: "charge", Topic: "nothing"}, nil},
	} {
		wantEvents(t, store, test.f, test.want...)
	}
}

func listOrder(t *testing.T, s *suite) {
	store, n := s.open(t), min(s.Rounds, 1500)
	want := make([]string, n)
	for i := range n {
		want[i] = name("e-", i)
		put(t, store, letter("charge", name("key-", i%7), want[i]))
	}
	if got := events(t, store, deadletter.Filter{}); !slices.Equal(got, want) {
		t.Errorf("List yielded %d letters out of order, or not all %d", len(got), n)
	}
}

func listUnlocked(t *testing.T, s *suite) {
	store, n := s.open(t), min(s.Rounds, 600)
	for i := range n {
		put(t, store, letter("charge", "ann", name("e-", i)))
	}
	seen := map[string]int{}
	for l, err := range store.List(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Fatalf("List = %v", err)
		}
		seen[l.EventID]++
		if _, err := store.Purge(t.Context(), deadletter.Filter{IDs: []string{l.ID}}); err != nil {
			t.Fatalf("Purge = %v", err)
		}
	}
	if len(seen) != n {
		t.Errorf("List yielded %d of %d letters", len(seen), n)
	}
	wantEvents(t, store, deadletter.Filter{})
}

func listCancelled(t *testing.T, s *suite) {
	store := s.open(t)
	put(t, store, letter("charge", "ann", "1"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, last = range store.List(ctx, deadletter.Filter{}) {
		continue
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("List = %v, want %v", last, context.Canceled)
	}
}

func groupsByCause(t *testing.T, s *suite) {
	store, noon := s.open(t), time.Date(2024, 1, 2, 12, 0, 0, 0, time.UTC)
	one := letter("charge", "ann", "1")
	one.Fingerprint, one.Error, one.DeadAt = "f-one", "once", noon
	put(t, store, one)
	for i := range 4 {
		l := letter("charge", name("key-", i%2), name("many-", i))
		l.DeadAt = noon.Add(time.Duration(i) * time.Hour)
		put(t, store, l)
	}
	f := letter("charge", "ann", "2")
	f.DeadAt = noon.Add(time.Minute)
	divert(t, store, f)
	got, err := store.Groups(t.Context(), deadletter.Filter{})
	if err != nil || len(got) != 2 {
		t.Fatalf("Groups = %+v, %v, want two", got, err)
	}
	wantGroup(t, got[0], deadletter.Group{
		Fingerprint: "f-boom", Stage: "charge", Reason: deadletter.Exhausted, Error: "boom", ErrorType: one.ErrorType,
		Letters: 4, Sequences: 2, First: noon, Last: noon.Add(3 * time.Hour),
	})
	wantGroup(t, got[1], deadletter.Group{
		Fingerprint: "f-one", Stage: "charge", Reason: deadletter.Exhausted, Error: "once", ErrorType: one.ErrorType,
		Letters: 2, Sequences: 1, First: noon, Last: noon.Add(time.Minute),
	})
	if got, err := store.Groups(t.Context(), deadletter.Filter{Stage: "none"}); err != nil || len(got) != 0 {
		t.Errorf("Groups of nothing = %v, %v", got, err)
	}
}

func wantGroup(t *testing.T, got, want deadletter.Group) {
	t.Helper()
	if !got.First.Equal(want.First) || !got.Last.Equal(want.Last) {
		t.Errorf("first, last = %v, %v, want %v, %v", got.First, got.Last, want.First, want.Last)
	}
	got.First, got.Last, want.First, want.Last = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if got != want {
		t.Errorf("group %+v, want %+v", got, want)
	}
}

func statsCount(t *testing.T, s *suite) {
	store, noon := s.open(t), time.Date(2024, 1, 2, 12, 0, 0, 0, time.UTC)
	oldest := letter("charge", "ann", "1")
	oldest.DeadAt = noon
	ids := put(t, store, letter("charge", "ann", "0"), oldest, letter("charge", "bob", "2"), solo("email", "3"))
	c := claim(t, store, sequence("charge", "bob"), "me", time.Hour)
	if err := store.Fail(t.Context(), c, ids[2], deadletter.Failure{Quarantine: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Discard(t.Context(), ids[3:], deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Purge(t.Context(), deadletter.Filter{IDs: ids[:1]}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Stats(t.Context())
	if err != nil || st.Active != 1 || st.Quarantined != 1 || st.Discarded != 1 || st.Sequences != 2 || st.Removed != 1 {
		t.Errorf("Stats = %+v, %v", st, err)
	}
	if !st.Oldest.Equal(noon) || st.Bytes < int64(len(oldest.Payload)*3) {
		t.Errorf("oldest %v, bytes %d", st.Oldest, st.Bytes)
	}
}

func notFound(t *testing.T, s *suite) {
	store := s.open(t)
	_, err := store.Get(t.Context(), "nothing")
	wantError(t, "Get", err, deadletter.ErrNotFound)
	wantError(t, "Edit", store.Edit(t.Context(), "nothing", nil, deadletter.Note{}), deadletter.ErrNotFound)
	n, err := store.Discard(t.Context(), []string{"nothing"}, deadletter.Note{})
	wantCount(t, "Discard", n, err, 0)
	n, err = store.Restore(t.Context(), nil, deadletter.Note{})
	wantCount(t, "Restore", n, err, 0)
	n, err = store.Purge(t.Context(), deadletter.Filter{})
	wantCount(t, "Purge", n, err, 0)
}
