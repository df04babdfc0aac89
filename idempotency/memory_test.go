package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/idempotency/idempotencytest"
)

func TestMemoryConforms(t *testing.T) {
	idempotencytest.Run(t, func(*testing.T) idempotency.Store { return idempotency.NewMemory() })
}

func TestMemoryOfOneShardConforms(t *testing.T) {
	idempotencytest.Run(t, func(*testing.T) idempotency.Store {
		return idempotency.NewMemory(idempotency.MemoryConfig{Shards: 1, Capacity: 50})
	})
}

var ctx = context.Background()

func key(i int) idempotency.Key { return idempotency.Key{Stage: "s", ID: strconv.Itoa(i)} }

func claim(t testing.TB, m *idempotency.Memory, i int) idempotency.Claim {
	c, err := m.Claim(ctx, idempotency.Request{Key: key(i), Lease: time.Minute})
	if err != nil {
		t.Fatalf("Claim = %v", err)
	}
	return c
}

func complete(t testing.TB, m *idempotency.Memory, i int) {
	c := claim(t, m, i)
	if c.State != idempotency.Claimed {
		t.Fatalf("key %d: state %d, want claimed", i, c.State)
	}
	if err := m.Confirm(ctx, c); err != nil {
		t.Fatalf("Confirm = %v", err)
	}
}

func TestI3_TheWindowIsBoundedAndForgettingEarlyIsCounted(t *testing.T) {
	m := idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 1000})
	for i := range 2500 {
		complete(t, m, i)
	}
	if s := m.Stats(); s.Keys != 1000 || s.Evicted != 1500 || s.EvictedInFlight != 0 {
		t.Errorf("Stats = %+v, want 1000 keys and 1500 evicted", s)
	}
	for i := 1500; i < 2500; i++ {
		if c := claim(t, m, i); c.State != idempotency.Done {
			t.Fatalf("key %d of the newest 1000 is not remembered", i)
		}
	}
	if m.Evicted() != 1500 {
		t.Errorf("Evicted = %d, want 1500", m.Evicted())
	}
}

func TestMemoryEndsTheWindowWithTheRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := idempotency.NewMemory(idempotency.MemoryConfig{Retention: time.Hour})
		complete(t, m, 1)
		time.Sleep(time.Hour - 1)
		if c := claim(t, m, 1); c.State != idempotency.Done {
			t.Errorf("state just before the retention ends = %d, want done", c.State)
		}
		time.Sleep(time.Nanosecond)
		complete(t, m, 1)
		if m.Evicted() != 0 {
			t.Errorf("Evicted = %d: what expired was counted as forgotten early", m.Evicted())
		}
	})
}

func TestFault33_ACrashedHolderWedgesItsKeyForTheLeaseAndNotForTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := idempotency.NewMemory()
		first := claim(t, m, 1)
		time.Sleep(time.Minute - time.Second)
		if c := claim(t, m, 1); c.State != idempotency.Busy || time.Until(c.Until) != time.Second {
			t.Errorf("claim within the lease = %+v, want busy for a second", c)
		}
		time.Sleep(time.Second)
		if c := claim(t, m, 1); c.State != idempotency.Claimed || c.Token <= first.Token {
			t.Errorf("claim after the lease = %+v, want claimed with a token above %d", c, first.Token)
		}
	})
}

func TestMemoryEvictsCompletedKeysBeforeThoseInFlight(t *testing.T) {
	m := idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 10})
	running := claim(t, m, 0)
	for i := 1; i < 100; i++ {
		complete(t, m, i)
	}
	if err := m.Confirm(ctx, running); err != nil {
		t.Errorf("Confirm of the claim made first = %v", err)
	}
}

func TestMemoryCountsClaimsThatTheBoundForcedOut(t *testing.T) {
	m := idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 10})
	oldest := claim(t, m, 0)
	for i := 1; i <= 12; i++ {
		claim(t, m, i)
	}
	if s := m.Stats(); s.EvictedInFlight != 3 || s.InFlight != 10 || s.Evicted != 0 {
		t.Errorf("Stats = %+v, want 3 evicted in flight and 10 in flight", s)
	}
	if err := m.Confirm(ctx, oldest); !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("Confirm of an evicted claim = %v, want ErrLost", err)
	}
	if m.Evicted() != 3 {
		t.Errorf("Evicted = %d, want 3", m.Evicted())
	}
}

func TestMemoryForgetsAbandonedClaimsAfterLeaseAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := idempotency.NewMemory(idempotency.MemoryConfig{Retention: time.Hour, Shards: 1})
		for i := range 100 {
			claim(t, m, i)
		}
		time.Sleep(time.Hour + time.Minute)
		for i := range 100 {
			complete(t, m, 1000+i)
		}
		if s := m.Stats(); s.Keys != 100 || s.InFlight != 0 || m.Evicted() != 0 {
			t.Errorf("Stats = %+v, want the abandoned claims gone and nothing counted", s)
		}
	})
}

func TestMemoryRenumbersItsSlotsWhenItShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := idempotency.NewMemory(idempotency.MemoryConfig{Retention: time.Hour, Shards: 1})
		for i := range 10_000 {
			complete(t, m, i)
		}
		time.Sleep(30 * time.Minute)
		for i := range 500 {
			complete(t, m, 20_000+i)
		}
		time.Sleep(30 * time.Minute)
		for range 1000 {
			claim(t, m, 20_000)
		}
		if s := m.Stats(); s.Keys != 500 {
			t.Errorf("Stats = %+v, want the 500 keys that have not expired", s)
		}
		for i := range 500 {
			if c := claim(t, m, 20_000+i); c.State != idempotency.Done {
				t.Fatalf("key %d was lost by shrinking", 20_000+i)
			}
		}
	})
}

// TestI1_ForEverIsNotOver: the longest durations there are do not overflow into the past.
func TestI1_ForEverIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const forever = time.Duration(math.MaxInt64)
		m := idempotency.NewMemory(idempotency.MemoryConfig{Retention: forever})
		time.Sleep(time.Second)
		want := func(when string, holder uint64, want idempotency.State) idempotency.Claim {
			t.Helper()
			c, _ := m.Claim(ctx, idempotency.Request{Key: key(1), Lease: forever, Holder: holder})
			if c.State != want {
				t.Errorf("%s: state %d, want %d", when, c.State, want)
			}
			return c
		}
		mine := want("at first", 1, idempotency.Claimed)
		want("claimed for ever", 2, idempotency.Busy)
		want("claimed again by its holder", 1, idempotency.Claimed)
		want("extended for ever", 2, idempotency.Busy)
		if err := m.Renew(ctx, mine, forever); err != nil {
			t.Errorf("Renew = %v", err)
		}
		want("renewed for ever", 2, idempotency.Busy)
		if err := m.Confirm(ctx, mine); err != nil {
			t.Errorf("Confirm = %v", err)
		}
		want("remembered for ever", 2, idempotency.Done)
	})
}

func TestI1_ConcurrentHoldersNeverOverlap(t *testing.T) {
	m := idempotency.NewMemory(idempotency.MemoryConfig{Shards: 4})
	var group sync.WaitGroup
	running := make([]atomic.Int32, 50)
	var completed atomic.Int32
	for worker := range 8 {
		group.Go(func() {
			for i := range running {
				c := claim(t, m, i)
				if c.State != idempotency.Claimed {
					continue
				}
				if running[i].Add(1) != 1 {
					t.Errorf("key %d has two holders", i)
				}
				running[i].Add(-1)
				if worker%2 == 0 {
					_ = m.Release(ctx, c)
				} else if m.Confirm(ctx, c) == nil {
					completed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if n := completed.Load(); n > int32(len(running)) {
		t.Errorf("%d completions of %d keys", n, len(running))
	}
}

// model is what a Memory without a bound should hold.
type model struct {
	state map[idempotency.Key]idempotency.Claim
	end   map[idempotency.Key]time.Duration
}

func TestMemoryFollowsItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{5, 30, 100, 300}).Draw(rt, "length") // a free choice would be near 1
		ops := rapid.SliceOfN(rapid.IntRange(0, 1<<16), n, n).Draw(rt, "ops")
		var fault string
		synctest.Test(t, func(*testing.T) { fault = follow(ops) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// follow runs ops on a Memory and on the model, and says where they part.
func follow(ops []int) string {
	const lease, retention = 3 * time.Second, 20 * time.Second
	m := idempotency.NewMemory(idempotency.MemoryConfig{Retention: retention, Shards: 2, Capacity: 10_000})
	w := model{map[idempotency.Key]idempotency.Claim{}, map[idempotency.Key]time.Duration{}}
	var held []idempotency.Claim
	start := time.Now()
	for n, op := range ops {
		k, now := key(op/8%23), time.Since(start)
		switch op % 8 {
		case 0, 1, 2:
			want := idempotency.Claimed
			if c, ok := w.state[k]; ok && w.end[k] > now {
				want = c.State
			}
			got, _ := m.Claim(ctx, idempotency.Request{Key: k, Lease: lease})
			if got.State != want {
				return fmt.Sprintf("op %d: Claim(%v) at %v = %d, want %d", n, k, now, got.State, want)
			}
			if want == idempotency.Claimed {
				held = append(held, got)
				got.State = idempotency.Busy
				w.state[k], w.end[k] = got, now+lease
			}
		case 3, 4, 5, 6:
			if len(held) == 0 {
				continue
			}
			i := op / 8 % len(held)
			c := held[i]
			held = append(held[:i], held[i+1:]...)
			current, ok := w.state[c.Key]
			mine := ok && current.Token == c.Token && (current.State == idempotency.Busy)
			var err error
			if op%8 < 6 {
				if err = m.Confirm(ctx, c); mine {
					current.State = idempotency.Done
					w.state[c.Key], w.end[c.Key] = current, now+retention
				}
			} else if err = m.Release(ctx, c); mine {
				delete(w.state, c.Key)
			}
			if mine != (err == nil) && w.end[c.Key]+retention > now {
				return fmt.Sprintf("op %d: finishing %v at %v = %v, mine: %v", n, c.Key, now, err, mine)
			}
		default:
			time.Sleep(time.Duration(op/8%40) * 100 * time.Millisecond)
		}
	}
	return ""
}

func TestMemoryDoesNotAllocateOnceItHasGrown(t *testing.T) {
	m := idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 100})
	keys := make([]idempotency.Key, 1000)
	for i := range keys {
		keys[i] = key(i)
	}
	i := 0
	one := func() {
		c, _ := m.Claim(ctx, idempotency.Request{Key: keys[i%len(keys)], Lease: time.Minute})
		_ = m.Confirm(ctx, c)
		i++
	}
	for range 200 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("a Claim and its Confirm allocate %v times, want 0", n)
	}
}

func TestMemoryConfigIsRepairedNotRefused(t *testing.T) {
	for _, c := range []idempotency.MemoryConfig{
		{}, {Capacity: -1, Retention: -1, Shards: -1}, {Capacity: 1}, {Capacity: 3, Shards: 1000}, {Shards: 3},
		{Capacity: 1 << 30},
	} {
		m := idempotency.NewMemory(c)
		complete(t, m, 1)
		if s := m.Stats(); s.Capacity < max(c.Capacity, 1) {
			t.Errorf("NewMemory(%+v) has room for %d keys", c, s.Capacity)
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	for _, seen := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("new keys, %d remembered", seen), func(b *testing.B) {
			m := idempotency.NewMemory(idempotency.MemoryConfig{Capacity: seen})
			keys := make([]idempotency.Key, 2*seen)
			for i := range keys {
				keys[i] = key(i)
				if i < seen {
					complete(b, m, i)
				}
			}
			b.ReportAllocs()
			i := seen
			for b.Loop() {
				c, _ := m.Claim(ctx, idempotency.Request{Key: keys[i%len(keys)], Lease: time.Minute})
				_ = m.Confirm(ctx, c)
				i++
			}
		})
	}
}

// BenchmarkMemoryFills is a new Memory that comes to hold many keys. Four stages ask for each identity, as in a topic
// with four.
func BenchmarkMemoryFills(b *testing.B) {
	const identities = 50_000
	stages := []string{"billing", "inventory", "analytics", "notify"}
	ids := make([]string, identities)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		m := idempotency.NewMemory()
		for _, id := range ids {
			for _, stage := range stages {
				c, _ := m.Claim(ctx, idempotency.Request{Key: idempotency.Key{Stage: stage, ID: id}, Lease: time.Minute})
				_ = m.Confirm(ctx, c)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*identities*len(stages)), "ns/key")
}
