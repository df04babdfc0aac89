package deadletter_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

func numbered(key string, i int) *deadletter.Letter {
	return &deadletter.Letter{
		Stage: "charge", Key: key, Ordered: true, Holds: true, EventID: key + strconv.Itoa(i), Payload: []byte("{}"),
	}
}

func TestD6_EveryLimitRefusesLoudlyAndCountsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		limits deadletter.MemoryConfig
		want   error
	}{
		"letters":      {deadletter.MemoryConfig{MaxLetters: 1}, deadletter.ErrFull},
		"sequences":    {deadletter.MemoryConfig{MaxSequences: 1, MaxPerSequence: 1}, deadletter.ErrSequenceFull},
		"per sequence": {deadletter.MemoryConfig{MaxPerSequence: 1}, deadletter.ErrSequenceFull},
		"all bytes":    {deadletter.MemoryConfig{MaxBytes: 20}, deadletter.ErrFull},
		"letter bytes": {deadletter.MemoryConfig{MaxLetterBytes: 1}, deadletter.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := deadletter.NewMemory(test.limits)
			_, _ = s.Put(t.Context(), numbered("ann", 1))
			before, _ := s.Stats(t.Context())
			if _, err := s.Put(t.Context(), numbered("ann", 2)); !errors.Is(err, test.want) {
				t.Errorf("Put = %v, want %v", err, test.want)
			}
			if after, _ := s.Stats(t.Context()); after != before {
				t.Errorf("stats %+v, want %+v", after, before)
			}
		})
	}
}

func TestD6_ALetterThatIsReplacedMakesRoomForItself(t *testing.T) {
	l := numbered("ann", 1)
	s := deadletter.NewMemory(deadletter.MemoryConfig{MaxBytes: l.Size() * 3 / 2})
	for range 3 {
		r, err := s.Put(t.Context(), l)
		if err != nil {
			t.Fatalf("Put = %v", err)
		}
		if n, err := s.Discard(t.Context(), []string{r.ID}, deadletter.Note{}); n != 1 || err != nil {
			t.Fatalf("Discard = %d, %v", n, err)
		}
	}
}

func TestD6_ANegativeLimitIsNone(t *testing.T) {
	s := deadletter.NewMemory(deadletter.MemoryConfig{MaxLetters: -1, MaxPerSequence: -1, MaxLetterBytes: -1, MaxBytes: -1})
	for i := range 30_000 {
		if _, err := s.Put(t.Context(), numbered("ann", i)); err != nil {
			t.Fatalf("Put = %v", err)
		}
	}
}

func TestMayHoldDoesNotAllocate(t *testing.T) {
	s := deadletter.NewMemory()
	check := func(want bool) {
		t.Helper()
		if n := testing.AllocsPerRun(100, func() { s.MayHold("charge", "ann") }); n != 0 {
			t.Errorf("MayHold allocates %v times", n)
		}
		if s.MayHold("charge", "ann") != want {
			t.Errorf("MayHold = %v, want %v", !want, want)
		}
	}
	check(false)
	if _, err := s.Put(t.Context(), numbered("ann", 1)); err != nil {
		t.Fatal(err)
	}
	check(true)
}

func TestStatsAreZeroWhenAllIsGone(t *testing.T) {
	s := deadletter.NewMemory()
	ids := put(t, s, "ann/1", "ann/2", "bob/3")
	if _, err := s.Discard(t.Context(), ids[:1], deadletter.Note{Who: "me"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Edit(t.Context(), ids[1], []byte("longer than it was"), deadletter.Note{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Purge(t.Context(), deadletter.Filter{}); err != nil {
		t.Fatal(err)
	}
	if st, _ := s.Stats(t.Context()); st != (deadletter.Stats{Removed: 3}) {
		t.Errorf("stats %+v", st)
	}
}

func TestLeasesThatNobodyReleasedAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		for i := range 1000 {
			key := strconv.Itoa(i)
			r, err := s.Put(t.Context(), numbered(key, i))
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: key}, "me", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Resolve(t.Context(), c, r.ID); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := deadletter.Leases(s); n > 200 {
			t.Errorf("%d leases are kept", n)
		}
	})
}

func filled(b *testing.B, n, perKey int) *deadletter.Memory {
	s := deadletter.NewMemory(deadletter.MemoryConfig{MaxLetters: -1, MaxPerSequence: -1})
	for i := range n {
		if _, err := s.Put(context.Background(), numbered("k"+strconv.Itoa(i/perKey), i)); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// The cost of a letter's life must not grow with the store, nor with its sequence.
func BenchmarkLifeOfALetter(b *testing.B) {
	for _, shape := range []struct {
		name      string
		n, perKey int
	}{{"empty", 0, 1}, {"100k keys", 100_000, 1}, {"100k in one key", 100_000, 100_000}} {
		b.Run(shape.name, func(b *testing.B) {
			s, ctx, i := filled(b, shape.n, shape.perKey), context.Background(), shape.n
			q := deadletter.Sequence{Stage: "charge", Key: "k0"}
			b.ReportAllocs()
			for b.Loop() {
				i++
				if _, err := s.Put(ctx, numbered("k0", i)); err != nil {
					b.Fatal(err)
				}
				c, _ := s.Claim(ctx, q, "me", time.Minute)
				l, err := s.Head(ctx, c)
				if err != nil || s.Resolve(ctx, c, l.ID) != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMayHold(b *testing.B) {
	for _, held := range []int{0, 1000} {
		b.Run(strconv.Itoa(held)+" held", func(b *testing.B) {
			s := filled(b, held, 1)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.MayHold("charge", "k1")
				}
			})
		})
	}
}
