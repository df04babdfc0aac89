package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// sampled is the mask of a probe that looks at one event of 256: counting each of them would cost as
// much as what is measured.
const (
	sampled      = sampledEvery - 1
	sampledEvery = 256
)

// patience is how long a side may take for one round before its events count as lost.
const patience = 2 * time.Minute

var errLost = errors.New("events were lost: the round did not end")

// probe is what the handlers of one side call. It knows when a round has ended.
type probe struct {
	mask   uint32
	left   atomic.Int64
	done   chan struct{}
	record *record // unless nil, every event is recorded; such a round is not timed
}

// expect begins a round of n events, each of which is handled so many times. With a mask, n is a
// multiple of 256, so that the last event is looked at.
func (p *probe) expect(n, times int) {
	p.done = make(chan struct{})
	p.left.Store(int64(n / (int(p.mask) + 1) * times))
}

// see is called for each event that is handled.
func (p *probe) see(number, key uint32) {
	if p.record != nil {
		p.record.see(number, key)
	}
	if number&p.mask == p.mask && p.left.Add(-1) == 0 {
		close(p.done)
	}
}

func (p *probe) wait() error {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-p.done:
		return nil
	case <-t.C:
		return errLost
	}
}

// record proves that a side does the work: that each event is handled as often as it has to be and, where
// the side promises it, that those of a key come in their order.
type record struct {
	first uint32 // the number of the first event
	seen  []atomic.Uint32
	// last is each key's last event, as its number from 1. It is unsynchronised on purpose where
	// order is promised: the handler of one event happens before that of the next (GUARANTEES O3).
	last      []uint32
	overtaken atomic.Int64
}

func newRecord(first uint32, events, keys int, ordered bool) *record {
	r := &record{first: first, seen: make([]atomic.Uint32, events)}
	if ordered {
		r.last = make([]uint32, keys)
	}
	return r
}

func (r *record) see(number, key uint32) {
	if i := int(number) - int(r.first); i >= 0 && i < len(r.seen) {
		r.seen[i].Add(1)
	}
	if r.last == nil {
		return
	}
	if r.last[key] > number {
		r.overtaken.Add(1)
	}
	r.last[key] = number + 1
}

// complete reports whether every event was handled so many times at least.
func (r *record) complete(times int) bool {
	for i := range r.seen {
		if r.seen[i].Load() < uint32(times) {
			return false
		}
	}
	return true
}

func (r *record) check(times int) error {
	lost, doubled := 0, 0
	for i := range r.seen {
		switch n := r.seen[i].Load(); {
		case n < uint32(times):
			lost++
		case n > uint32(times):
			doubled++
		}
	}
	if lost+doubled+int(r.overtaken.Load()) > 0 {
		return fmt.Errorf("of %d events %d were lost, %d handled too often, %d overtaken by one of their key",
			len(r.seen), lost, doubled, r.overtaken.Load())
	}
	return nil
}
