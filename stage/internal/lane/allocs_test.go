package lane

import (
	"sync/atomic"
	"testing"
)

// TestNothingIsAllocated pins that the engine allocates nothing for an item, once its lanes and its queues
// have grown: whether the key is idle or busy, the item without a key, or parked in between.
func TestNothingIsAllocated(t *testing.T) {
	const batch = 200
	cases := map[string]struct {
		keyed  bool
		keys   int
		runner Runner[parcel]
		steps  int // an item takes
	}{
		"one key":         {true, 1, settleAll[parcel]{}, 1},
		"a hundred keys":  {true, 100, settleAll[parcel]{}, 1},
		"without a key":   {false, 1, settleAll[parcel]{}, 1},
		"parked in lanes": {true, 100, parkOnce{}, 2},
		"parked loose":    {false, 1, parkOnce{}, 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := newParcels(1, c.keyed, c.runner)
			all := keys(c.keys)
			n := testing.AllocsPerRun(20, func() {
				for i := range batch {
					feed(e, parcel{key: all[i%len(all)]})
					for range c.steps {
						e.Step()
					}
				}
			})
			if c := e.Count(nil); c.Accepted != c.Live[0] {
				t.Fatalf("%d of %d settled", c.Live[0], c.Accepted)
			}
			if n > 0 {
				t.Errorf("%v allocations for %d items, want none", n, batch)
			}
		})
	}
}

// TestNothingIsAllocatedByWorkers is the same with workers, who hand the lead to each other.
func TestNothingIsAllocatedByWorkers(t *testing.T) {
	const batch = 2000
	for name, c := range map[string]struct {
		keyed bool
		keys  int
	}{
		"one key":       {true, 1},
		"many keys":     {true, 100},
		"without a key": {false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var done atomic.Uint64
			settled := make(chan struct{}, 1)
			e := newParcels(4, c.keyed, &countTo{&done, batch, settled})
			e.Start()
			all := keys(c.keys)
			n := testing.AllocsPerRun(20, func() {
				for i := range batch {
					feed(e, parcel{key: all[i%len(all)]})
				}
				<-settled
			})
			// The queues of busy lanes grow with the backlog and are let go when they are empty, so a batch is
			// allowed a few; an item is not.
			if per := n / batch; per >= 0.05 {
				t.Errorf("%v allocations an item, want none", per)
			}
			e.End()
			e.Wait()
		})
	}
}

// countTo settles parcels and tells of every so many.
type countTo struct {
	n       *atomic.Uint64
	every   uint64
	settled chan<- struct{}
}

func (c *countTo) Run(_ *parcel, d *Decision) {
	*d = Decision{}
	if c.n.Add(1)%c.every == 0 {
		c.settled <- struct{}{}
	}
}
func (c *countTo) Amend(*parcel)             {}
func (c *countTo) Settled(*parcel, Decision) {}
func (c *countTo) Gone(*parcel)              {}
