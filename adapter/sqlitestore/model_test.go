package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// TestTheFileIsAsTheMemory does the same at random to this store and to deadletter.Memory, and compares
// all that they say, and the counters in the file with what they count.
func TestTheFileIsAsTheMemory(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			path := fresh(t)
			limits := sqlitestore.Config{MaxPerSequence: 12, MaxLetters: 60, MaxSequences: 10, MaxLetterBytes: 150}
			m := &model{
				T: t, rand: rand.New(rand.NewPCG(seed, 1)), start: time.Now(),
				file: open(t, path, limits),
				memory: deadletter.NewMemory(deadletter.MemoryConfig{
					MaxPerSequence: 12, MaxLetters: 60, MaxSequences: 10, MaxLetterBytes: 150,
				}),
				claims: map[deadletter.Sequence][2]deadletter.Claim{},
			}
			for step := range 400 {
				m.step()
				if step%40 == 0 {
					m.compare()
				}
				if t.Failed() {
					t.Fatalf("step %d", step)
				}
			}
			m.compare()
			recount(t, path)
		})
	}
}

type model struct {
	*testing.T
	rand   *rand.Rand
	start  time.Time
	file   *sqlitestore.Store
	memory *deadletter.Memory
	ids    [][2]string // the same letter's in both
	claims map[deadletter.Sequence][2]deadletter.Claim
	n      int
}

func (m *model) step() {
	switch op := m.rand.IntN(14); op {
	case 0, 1, 2:
		m.put()
	case 3, 4:
		m.divert()
	case 5, 6:
		m.claim()
	case 7:
		m.resolve()
	case 8:
		m.fail()
	case 9:
		m.change("Discard", deadletter.Store.Discard)
	case 10:
		m.change("Restore", deadletter.Store.Restore)
	case 11:
		m.edit()
	case 12:
		m.purge()
	default:
		m.release()
	}
}

func pick[T any](m *model, of ...T) T { return of[m.rand.IntN(len(of))] }

// letter is a new one, or one that was put before.
func (m *model) letter() *deadletter.Letter {
	m.n++
	event := m.n
	if m.rand.IntN(4) == 0 {
		event = 1 + m.rand.IntN(m.n)
	}
	l := &deadletter.Letter{
		Stage: pick(m, "charge", "email"), Topic: pick(m, "orders", "refunds"), Key: pick(m, "ann", "bob", "", "cid"),
		Ordered: m.rand.IntN(4) > 0, Holds: m.rand.IntN(5) > 0, EventID: fmt.Sprint(event), Seq: uint64(m.n),
		Payload: make([]byte, m.rand.IntN(160)), Reason: pick(m, deadletter.Exhausted, deadletter.Panicked), Attempts: 1,
		Error: pick(m, "boom", "100% _ bust", "BOOM"), ErrorType: pick(m, "A", "B"), Fingerprint: pick(m, "f1", "f2", "f3"),
		DeadAt: m.start.Truncate(time.Hour).Add(time.Duration(m.rand.IntN(100)) * time.Minute),
	}
	if m.rand.IntN(10) == 0 {
		l.EventID = ""
	}
	if m.rand.IntN(10) == 0 {
		l.State = deadletter.Discarded
	}
	return l
}

func (m *model) same(what string, a, b error) {
	m.Helper()
	for _, is := range []error{
		deadletter.ErrNotFound, deadletter.ErrClaimed, deadletter.ErrClaimLost, deadletter.ErrFull, deadletter.ErrSequenceFull,
		deadletter.ErrTooLarge,
	} {
		if errors.Is(a, is) != errors.Is(b, is) {
			m.Errorf("%s = %v, the memory has %v", what, a, b)
		}
	}
	if (a == nil) != (b == nil) {
		m.Errorf("%s = %v, the memory has %v", what, a, b)
	}
}

func (m *model) stored(what string, a, b deadletter.Receipt, errA, errB error) {
	m.Helper()
	m.same(what, errA, errB)
	if a.Existed != b.Existed {
		m.Errorf("%s = %+v, the memory has %+v", what, a, b)
	}
	if i := slices.IndexFunc(m.ids, func(id [2]string) bool { return id[0] == a.ID || id[1] == b.ID }); i >= 0 {
		if m.ids[i] != [2]string{a.ID, b.ID} {
			m.Errorf("%s: letter %s, the memory has %s", what, a.ID, b.ID)
		}
	} else if a.ID != "" {
		m.ids = append(m.ids, [2]string{a.ID, b.ID})
	}
}

func (m *model) put() {
	l := m.letter()
	a, errA := m.file.Put(context.Background(), l)
	b, errB := m.memory.Put(context.Background(), l)
	m.stored("Put", a, b, errA, errB)
}

func (m *model) divert() {
	l := m.letter()
	a, heldA, errA := m.file.Divert(context.Background(), l)
	b, heldB, errB := m.memory.Divert(context.Background(), l)
	m.stored("Divert", a, b, errA, errB)
	if heldA != heldB || m.file.MayHold(l.Stage, l.Key) != m.memory.MayHold(l.Stage, l.Key) {
		m.Errorf("Divert held %v, the memory %v; MayHold %v", heldA, heldB, m.file.MayHold(l.Stage, l.Key))
	}
}

func (m *model) some() [2]string {
	if len(m.ids) == 0 {
		return [2]string{"x", "x"}
	}
	return pick(m, m.ids...)
}

func (m *model) claim() {
	id := m.some()
	a, errA := m.file.Get(context.Background(), id[0])
	b, errB := m.memory.Get(context.Background(), id[1])
	m.same("Get", errA, errB)
	if errA != nil || errB != nil {
		return
	}
	owner := pick(m, "me", "you")
	ca, errA := m.file.Claim(context.Background(), a.Sequence(), owner, time.Hour)
	cb, errB := m.memory.Claim(context.Background(), b.Sequence(), owner, time.Hour)
	m.same("Claim", errA, errB)
	if errA == nil && errB == nil {
		ca.By, cb.By = deadletter.Note{Who: owner}, deadletter.Note{Who: owner}
		m.claims[a.Sequence()] = [2]deadletter.Claim{ca, cb}
	}
}

func (m *model) claimed() (c [2]deadletter.Claim, ok bool) {
	for _, c = range m.claims {
		return c, true
	}
	return c, false
}

func (m *model) resolve() {
	c, _ := m.claimed()
	a, errA := m.file.Head(context.Background(), c[0])
	b, errB := m.memory.Head(context.Background(), c[1])
	m.same("Head", errA, errB)
	if a.EventID != b.EventID {
		m.Errorf("Head = %s, the memory has %s", a.EventID, b.EventID)
	}
	m.same("Resolve", m.file.Resolve(context.Background(), c[0], a.ID), m.memory.Resolve(context.Background(), c[1], b.ID))
}

func (m *model) fail() {
	c, _ := m.claimed()
	id := m.some()
	if a, err := m.file.Head(context.Background(), c[0]); err == nil {
		b, _ := m.memory.Head(context.Background(), c[1])
		id = [2]string{a.ID, b.ID}
	}
	f := deadletter.Failure{
		Reason: pick(m, deadletter.TimedOut, deadletter.Exhausted), Error: "late", ErrorType: "C", Fingerprint: pick(m, "f1", "f4"),
		Attempts: 1, Quarantine: m.rand.IntN(3) == 0,
	}
	m.same("Fail", m.file.Fail(context.Background(), c[0], id[0], f), m.memory.Fail(context.Background(), c[1], id[1], f))
}

func (m *model) release() {
	if c, ok := m.claimed(); ok {
		m.same("Release", m.file.Release(context.Background(), c[0]), m.memory.Release(context.Background(), c[1]))
	}
}

func (m *model) change(what string, do func(deadletter.Store, context.Context, []string, deadletter.Note) (int, error)) {
	var a, b []string
	for range m.rand.IntN(4) {
		id := m.some()
		a, b = append(a, id[0]), append(b, id[1])
	}
	na, errA := do(m.file, context.Background(), a, deadletter.Note{Who: "me"})
	nb, errB := do(m.memory, context.Background(), b, deadletter.Note{Who: "me"})
	m.same(what, errA, errB)
	if na != nb {
		m.Errorf("%s changed %d, the memory %d", what, na, nb)
	}
}

func (m *model) edit() {
	id, payload := m.some(), make([]byte, m.rand.IntN(160))
	m.same("Edit", m.file.Edit(context.Background(), id[0], payload, deadletter.Note{}),
		m.memory.Edit(context.Background(), id[1], payload, deadletter.Note{}))
}

func (m *model) purge() {
	f := m.filter()
	f.Stage, f.Fingerprint = pick(m, "charge", "email"), pick(m, "f1", "f2", "f4")
	na, errA := m.file.Purge(context.Background(), f)
	nb, errB := m.memory.Purge(context.Background(), f)
	m.same("Purge", errA, errB)
	if na != nb {
		m.Errorf("Purge(%+v) removed %d, the memory %d", f, na, nb)
	}
}

func (m *model) filter() (f deadletter.Filter) {
	maybe := func(set func()) {
		if m.rand.IntN(4) == 0 {
			set()
		}
	}
	maybe(func() { f.Stage = "charge" })
	maybe(func() { f.Topic = "orders" })
	maybe(func() { key := pick(m, "ann", ""); f.Key = &key })
	maybe(func() { f.Reason = pick(m, deadletter.Exhausted, deadletter.Follows) })
	maybe(func() { f.Fingerprint = pick(m, "f1", "f4") })
	maybe(func() { f.ErrorText = pick(m, "o", "_", "BOOM") })
	maybe(func() { f.ErrorType = "A" })
	maybe(func() { f.Before = m.start.Truncate(time.Hour).Add(time.Duration(m.rand.IntN(100)) * time.Minute) })
	maybe(func() { f.After = m.start.Truncate(time.Hour).Add(time.Duration(m.rand.IntN(100)) * time.Minute) })
	maybe(func() {
		f.States = pick(m, []deadletter.State{deadletter.Discarded}, []deadletter.State{deadletter.Active, deadletter.Discarded},
			[]deadletter.State{deadletter.Quarantined})
	})
	return f
}

func (m *model) compare() {
	m.Helper()
	for range 30 {
		f := m.filter()
		a, b := events(m, m.file, f), events(m, m.memory, f)
		if !slices.Equal(a, b) {
			m.Errorf("List(%+v) = %q, the memory has %q", f, a, b)
		}
		ga, errA := m.file.Groups(context.Background(), f)
		gb, errB := m.memory.Groups(context.Background(), f)
		m.same("Groups", errA, errB)
		if !reflect.DeepEqual(normal(ga), normal(gb)) {
			m.Errorf("Groups(%+v) = %+v\nthe memory has %+v", f, ga, gb)
		}
	}
	a, errA := m.file.Stats(context.Background())
	b, errB := m.memory.Stats(context.Background())
	m.same("Stats", errA, errB)
	a.Oldest, b.Oldest = a.Oldest.UTC(), b.Oldest.UTC()
	if a != b {
		m.Errorf("Stats = %+v\nthe memory has %+v", a, b)
	}
}

func normal(groups []deadletter.Group) []deadletter.Group {
	for i := range groups {
		groups[i].First, groups[i].Last = groups[i].First.UTC(), groups[i].Last.UTC()
	}
	return groups
}
