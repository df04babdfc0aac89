package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/sourcegraph/conc/pool"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// crew is a way of having a slow handler called by several goroutines at once. It begins cold: what it
// does before it knows its handler counts.
type crew struct {
	name  string
	lacks string
	// open starts it; the handler may be called by that many goroutines.
	open func(goroutines int, handle func(payload)) (send func(payload) error, end func(total uint64) error)
}

func runnelCrew() crew {
	return crew{name: "runnel", open: func(goroutines int, handle func(payload)) (func(payload) error, func(uint64) error) {
		r := start(nil, stage.Handle(keyedTopic, "handle", func(_ context.Context, e event.Event[payload]) error {
			handle(e.Payload)
			return nil
		}, stage.WithOrder(stage.PerKey), stage.Workers(goroutines), stage.Buffer(buffer)))
		publisher := pipeline.NewPublisher(r.p, keyedTopic)
		return func(p payload) error { return publisher.Publish(context.Background(), p) }, r.stop
	}}
}

func bareCrew() crew {
	return crew{name: "goroutines reading one channel", lacks: "no order, retry or dead letters",
		open: func(goroutines int, handle func(payload)) (func(payload) error, func(uint64) error) {
			ch := make(chan payload, buffer)
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					for p := range ch {
						handle(p)
					}
				})
			}
			return func(p payload) error { ch <- p; return nil }, closing(&wg, ch)
		}}
}

func concCrew() crew {
	return crew{name: "conc pool", lacks: "no order, retry or dead letters",
		open: func(goroutines int, handle func(payload)) (func(payload) error, func(uint64) error) {
			c := pool.New().WithMaxGoroutines(goroutines)
			return func(p payload) error { c.Go(func() { handle(p) }); return nil }, closed(c.Wait)
		}}
}

func pondCrew() crew {
	return crew{name: "pond v2", lacks: "no order, retry or dead letters",
		open: func(goroutines int, handle func(payload)) (func(payload) error, func(uint64) error) {
			c := pond.NewPool(goroutines, pond.WithQueueSize(buffer))
			return func(p payload) error { c.Submit(func() { handle(p) }); return nil }, closed(c.StopAndWait)
		}}
}

func crews(c *config) []crew {
	all := []crew{bareCrew(), runnelCrew()}
	if c.peers {
		all = append(all, concCrew(), pondCrew())
	}
	return all
}

// shift is one run of a crew. Its events are a multiple of 256, so that the last one is looked at.
type shift struct {
	crew       crew
	goroutines int
	events     int
	keys       int
	work       func() // what the handler does
	windowed   bool   // whether to measure the window, at the cost of a clock for each event
	ordered    bool   // whether to prove the order of keys, at the cost of a look at what the last handler wrote
}

const (
	windowFrom = 100 * time.Millisecond
	windowTo   = 200 * time.Millisecond
)

// pace is how many events a second were handled: over the whole run, and between a tenth and two tenths
// of a second after the first; and how long an event kept a processor busy.
type pace struct {
	whole, window float64
	busy          time.Duration
}

// measure runs the shift from cold and checks that every event was handled.
func (s shift) measure() (pace, error) {
	f := newFeed(s.keys, 0)
	rec := newRecord(0, s.events, s.keys, s.ordered)
	var left, inWindow atomic.Int64
	left.Store(int64(s.events / sampledEvery))
	done := make(chan struct{})
	runtime.GC()
	begin, idle := time.Now(), processorTime()
	send, end := s.crew.open(s.goroutines, func(p payload) {
		s.work()
		rec.see(p.Number, p.KeyNo)
		if s.windowed {
			if at := time.Since(begin); at >= windowFrom && at < windowTo {
				inWindow.Add(1)
			}
		}
		if p.Number&sampled == sampled && left.Add(-1) == 0 {
			close(done)
		}
	})
	for range s.events {
		var p payload
		f.next(&p)
		if err := send(p); err != nil {
			return pace{}, fmt.Errorf("%s: %w", s.crew.name, err)
		}
	}
	select {
	case <-done:
	case <-time.After(patience):
		return pace{}, fmt.Errorf("%s: %w", s.crew.name, errLost)
	}
	took, busy := time.Since(begin), processorTime()-idle
	err := end(uint64(s.events))
	if err == nil {
		err = rec.check(1)
	}
	if err != nil {
		return pace{}, fmt.Errorf("%s: %w", s.crew.name, err)
	}
	return pace{
		whole:  float64(s.events) / took.Seconds(),
		window: float64(inWindow.Load()) / (windowTo - windowFrom).Seconds(),
		busy:   busy / time.Duration(s.events),
	}, nil
}

// contest is what crews made of a shift: for each, its pace relative to the first's in each round, and how many
// microseconds an event kept a processor busy.
type contest struct{ whole, window, busy [][]float64 }

// compareCrews sets the crews against the first of them, in turn. Before anything is timed, runnel proves its order: while
// it is timed, the handler does the same on both sides.
func compareCrews(rounds int, all []crew, s shift) (c contest, err error) {
	proof := s
	proof.crew, proof.ordered = runnelCrew(), true
	if _, err := proof.measure(); err != nil {
		return c, err
	}
	c.whole, c.window, c.busy = make([][]float64, len(all)), make([][]float64, len(all)), make([][]float64, len(all))
	for range rounds {
		for i := range all[1:] {
			var pair [2]pace
			for j, side := range []int{0, i + 1} {
				s.crew = all[side]
				labelled(s.crew.name, func() { pair[j], err = s.measure() })
				if err != nil {
					return c, err
				}
				c.busy[side] = append(c.busy[side], float64(pair[j].busy)/float64(time.Microsecond))
			}
			c.whole[i+1] = append(c.whole[i+1], pair[1].whole/pair[0].whole)
			c.window[i+1] = append(c.window[i+1], pair[1].window/pair[0].window)
		}
	}
	return c, nil
}

// p4 is a handler that waits.
func p4(c *config) (*report, error) {
	s := shift{goroutines: 256, events: c.events(120_000), keys: 10_000, work: func() { pause(time.Millisecond) }, windowed: true}
	all := crews(c)
	got, err := compareCrews(c.rounds, all, s)
	if err != nil {
		return nil, err
	}
	whole := plainFigure("the whole run, from cold", atLeast(0.95), got.whole[1])
	if own, base := median(got.busy[1]), median(got.busy[0]); base > 0 { // it is known here
		whole = whole.noted("%.2f µs of a processor for each event, the base %.2f", own, base)
	}
	r := &report{figures: []figure{whole}, notes: []string{"A ratio of throughputs: more is better."}}
	if time.Duration(float64(s.events)/256*float64(time.Millisecond)) > windowTo {
		r.figures = append(r.figures, plainFigure("from 100 ms to 200 ms after the start", atLeast(0.95), got.window[1]))
	}
	for i, k := range all[2:] {
		r.peers = append(r.peers, peer{name: k.name, ratio: median(got.whole[i+2]), allocs: noFigure, lacks: k.lacks})
	}
	return r, nil
}
