package main

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// crowd is P6's work: of a hundred events 39 are the crowd's. They have one key, or, to compare with,
// as many keys as the others.
type crowd struct {
	events int
	keys   int
	hot    bool
	work   func()
}

const crowdPart = 39

func ofCrowd(number uint32) bool { return number*crowdPart%100 < crowdPart }

// others returns when the last event outside of the crowd was handled.
func (c crowd) others(open func(handle func(payload)) (send func(payload) error, end func(uint64) error)) (time.Duration, error) {
	f := newFeed(c.keys, 0)
	hot := f.keys[0]
	rec := newRecord(0, c.events, c.keys, true)
	var left, all atomic.Int64
	for i := range c.events {
		if !ofCrowd(uint32(i)) {
			left.Add(1)
		}
	}
	all.Store(int64(c.events))
	done, allDone := make(chan time.Duration, 1), make(chan struct{})
	runtime.GC()
	begin := time.Now()
	send, end := open(func(p payload) {
		c.work()
		rec.see(p.Number, p.KeyNo)
		if !ofCrowd(p.Number) && left.Add(-1) == 0 {
			done <- time.Since(begin)
		}
		if all.Add(-1) == 0 {
			close(allDone)
		}
	})
	for range c.events {
		var p payload
		f.next(&p)
		if c.hot && ofCrowd(p.Number) {
			p.Key, p.KeyNo = hot, 0
		}
		if err := send(p); err != nil {
			return 0, err
		}
	}
	select {
	case <-allDone:
	case <-time.After(patience):
		return 0, errLost
	}
	if err := end(uint64(c.events)); err != nil {
		return 0, err
	}
	return <-done, rec.check(1)
}

func openRunnelCrowd(handle func(payload)) (func(payload) error, func(uint64) error) {
	r := start(nil, stage.Handle(keyedTopic, "handle", func(_ context.Context, e event.Event[payload]) error {
		handle(e.Payload)
		return nil
	}, stage.Workers(workers), stage.Buffer(buffer)))
	publisher := pipeline.NewPublisher(r.p, keyedTopic)
	return func(p payload) error { return publisher.Publish(context.Background(), p) }, r.stop
}

func openShardedCrowd(handle func(payload)) (func(payload) error, func(uint64) error) {
	channels := make([]chan payload, workers)
	var wg sync.WaitGroup
	for i := range channels {
		ch := make(chan payload, buffer/workers)
		channels[i] = ch
		wg.Go(func() {
			for p := range ch {
				handle(p)
			}
		})
	}
	seed := maphash.MakeSeed()
	return func(p payload) error { channels[maphash.String(seed, p.Key)%workers] <- p; return nil }, closing(&wg, channels...)
}

// p6 asks whether one hot key holds up the others.
func p6(c *config) (*report, error) {
	ratios := make([][]float64, 2)
	for range c.rounds {
		for i, open := range []func(func(payload)) (func(payload) error, func(uint64) error){openRunnelCrowd, openShardedCrowd} {
			if i > 0 && !c.peers {
				continue
			}
			var took [2]time.Duration
			for j, hot := range []bool{false, true} {
				var err error
				k := crowd{events: c.events(16_000), keys: 1000, hot: hot, work: c.burning(50 * time.Microsecond)}
				if took[j], err = k.others(open); err != nil {
					return nil, fmt.Errorf("%s: %w", []string{"runnel", "sharded"}[i], err)
				}
			}
			ratios[i] = append(ratios[i], float64(took[1])/float64(took[0]))
		}
	}
	r := &report{
		figures: []figure{plainFigure("", atMost(1.1), ratios[0])},
		notes:   []string{"Each side against itself without a hot key. The handler computes, 8 workers."},
	}
	if c.peers {
		r.peers = []peer{{name: sharded().name, ratio: median(ratios[1]), allocs: noFigure, lacks: sharded().lacks}}
	}
	return r, nil
}
