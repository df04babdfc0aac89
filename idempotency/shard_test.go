package idempotency

import (
	"context"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// use completes n new keys.
func use(m *Memory, prefix string, n int) {
	for i := range n {
		c, _ := m.Claim(context.Background(), Request{Key: Key{ID: prefix + strconv.Itoa(i)}, Lease: time.Minute})
		_ = m.Confirm(context.Background(), c)
	}
}

func TestMemoryGivesRoomBackWhenKeysExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{Retention: time.Hour, Shards: 1})
		use(m, "a", 100_000)
		s := &m.shards[0]
		large := s.slots.room()
		time.Sleep(time.Hour)
		use(m, "b", 100_000/maxSweep+1)
		if s.slots.room() > large/4 || len(s.table.entries) > large/2 || s.keys > 10_000 {
			t.Errorf("after the keys expired %d slots of %d are left, and a table of %d", s.slots.room(), large, len(s.table.entries))
		}
	})
}

func TestMemoryDoesNotReserveItsCapacity(t *testing.T) {
	m := NewMemory()
	slots := 0
	for i := range m.shards {
		slots += m.shards[i].slots.room()
	}
	if slots > 10_000 {
		t.Errorf("an empty memory has %d slots", slots)
	}
}

func TestAClaimOutlivesAShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{Retention: time.Hour, Shards: 1})
		use(m, "a", 10_000)
		c, _ := m.Claim(context.Background(), Request{Key: Key{ID: "mine"}, Lease: 3 * time.Hour})
		time.Sleep(time.Hour)
		use(m, "b", 2000)
		if err := m.Confirm(context.Background(), c); err != nil {
			t.Errorf("Confirm = %v: the claim was lost by shrinking", err)
		}
	})
}

func TestAHolderPastItsLeaseIsNotForgottenWhileOthersWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{Retention: time.Hour, Shards: 1})
		c, _ := m.Claim(context.Background(), Request{Key: Key{ID: "mine"}, Lease: time.Minute})
		time.Sleep(30 * time.Minute)
		use(m, "a", 100)
		if err := m.Confirm(context.Background(), c); err != nil {
			t.Errorf("Confirm = %v, although nobody took the key", err)
		}
	})
}

func TestAKeyCostsWhatItsDocSays(t *testing.T) {
	const n = 200_000
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = Key{Stage: "charge", ID: strconv.Itoa(i)}
	}
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	m := NewMemory(MemoryConfig{Shards: 1})
	var c Claim
	for _, k := range keys {
		m.ClaimAt(&Request{Key: k, Lease: time.Minute}, &c)
		_ = m.ConfirmAt(&c)
	}
	each := float64(heap()-before) / n
	if each < 85 || each > 105 {
		t.Errorf("a key costs %.1f bytes, want about 90 to 100", each)
	}
	t.Logf("%.1f bytes a key", each)
	runtime.KeepAlive(keys)
	runtime.KeepAlive(m)
}

// Stages whose names have the same tag are told apart all the same.
func TestStagesOfOneTagAreTwo(t *testing.T) {
	m := NewMemory()
	a, b := Key{Stage: "bill-a-x", ID: "1"}, Key{Stage: "bill-b-x", ID: "1"}
	if h := m.hash(a); tag(h, a.Stage) != tag(h, b.Stage) {
		t.Fatal("the names have different tags: the test tells nothing")
	}
	for _, k := range []Key{a, b} {
		if c, _ := m.Claim(context.Background(), Request{Key: k, Lease: time.Minute}); c.State != Claimed {
			t.Errorf("claim of %v: %v, want claimed", k, c.State)
		}
	}
}
