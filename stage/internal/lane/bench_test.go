package lane

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// parcel is an item of about the size of an event.
type parcel struct {
	key     string
	attempt int
	_       [10]uint64
}

// counting settles every parcel and counts it.
type counting struct{ n *atomic.Uint64 }

func (c *counting) Run(_ *parcel, d *Decision) { *d = Decision{}; c.n.Add(1) }
func (c *counting) Amend(*parcel)              {}
func (c *counting) Settled(*parcel, Decision)  {}
func (c *counting) Gone(*parcel)               {}

func newParcels(workers int, keyed bool, r Runner[parcel]) *Engine[parcel] {
	return New(Config[parcel]{
		Workers: workers, Inlet: 512, Room: 512,
		Key:       func(p *parcel) (string, bool) { return p.key, keyed },
		NewRunner: func() Runner[parcel] { return r },
		Took:      func() bool { return false }, Idle: func() {},
	})
}

func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("customer-%06d", i)
	}
	return all
}

// BenchmarkEngine is the cost of an item from the channel to its end, with a run that does nothing.
func BenchmarkEngine(b *testing.B) {
	for _, workers := range []int{1, 8} {
		for _, n := range []int{0, 1, 1000, 100_000} {
			name := fmt.Sprintf("workers=%d/keys=%d", workers, n)
			if n == 0 {
				name = fmt.Sprintf("workers=%d/unordered", workers)
			}
			b.Run(name, func(b *testing.B) {
				var done atomic.Uint64
				through(b, newParcels(workers, n > 0, &counting{&done}), &done, keys(max(n, 1)))
			})
		}
	}
}

// BenchmarkShared is the same where two workers share the items. With -cpu 1,2 it shows what it costs that what they
// write under the lock goes from one processor's cache to the other's.
func BenchmarkShared(b *testing.B) {
	var done atomic.Uint64
	e := newParcels(2, true, &counting{&done})
	force(e, share)
	through(b, e, &done, keys(10_000))
}

// through sends parcels through an engine and waits until all are done.
func through(b *testing.B, e *Engine[parcel], done *atomic.Uint64, keys []string) {
	e.Start()
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		feed(e, parcel{key: keys[i%uint64(len(keys))]})
		i++
	}
	for done.Load() < i {
		runtime.Gosched()
	}
	e.End()
	e.Wait()
}

// BenchmarkStep is the same without a goroutine: the engine's own work.
func BenchmarkStep(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			var done atomic.Uint64
			e := newParcels(1, true, &counting{&done})
			all := keys(n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				feed(e, parcel{key: all[i%n]})
				e.Step()
				i++
			}
		})
	}
}

// BenchmarkParked is an item that is parked once.
func BenchmarkParked(b *testing.B) {
	e := newParcels(1, true, parkOnce{})
	all := keys(1000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		feed(e, parcel{key: all[i%len(all)]})
		e.Step()
		e.Step()
		i++
	}
}

// parkOnce parks a parcel's first attempt, due at once.
type parkOnce struct{}

func (parkOnce) Run(p *parcel, d *Decision) {
	*d = Decision{}
	if p.attempt == 0 {
		d.Action = Park
	}
}
func (parkOnce) Amend(p *parcel)           { p.attempt++ }
func (parkOnce) Settled(*parcel, Decision) {}
func (parkOnce) Gone(*parcel)              {}
