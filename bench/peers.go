package main

import (
	"sync"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/asaskevich/EventBus"
	kelindar "github.com/kelindar/event"
	streams "github.com/reugn/go-streams"
	"github.com/reugn/go-streams/extension"
	"github.com/reugn/go-streams/flow"
	"github.com/sourcegraph/conc/pool"
	"github.com/sourcegraph/conc/stream"
)

// kelindarTick is longer than kelindar/event lets an event wait.
const kelindarTick = 5 * time.Millisecond

// sending makes a line's run of what sends one event.
func sending(f *feed, send func(p payload)) func(int) error {
	return func(n int) error {
		for range n {
			var p payload
			f.next(&p)
			send(p)
		}
		return nil
	}
}

func closed(f func()) func(uint64) error {
	return func(uint64) error { f(); return nil }
}

// concPool runs one task an event.
func concPool() side {
	return side{name: "conc pool, 8 goroutines", lacks: "no order, retry or dead letters; a panic ends the pool",
		share: 4, open: func(j *job) (*line, error) {
			p := pool.New().WithMaxGoroutines(workers)
			run := sending(j.feed, func(e payload) { p.Go(func() { j.probe.see(e.Number, e.KeyNo) }) })
			return &line{run: run, close: closed(p.Wait)}, nil
		}}
}

// concStream runs one task an event and their callbacks, which count, in order.
func concStream() side {
	return side{name: "conc stream, 8 goroutines", lacks: "one slow task stops all; no retry or dead letters",
		share: 8, ordered: true, open: func(j *job) (*line, error) {
			s := stream.New().WithMaxGoroutines(workers)
			run := sending(j.feed, func(e payload) {
				s.Go(func() stream.Callback { return func() { j.probe.see(e.Number, e.KeyNo) } })
			})
			return &line{run: run, close: closed(s.Wait)}, nil
		}}
}

// pondPool runs one task an event.
func pondPool() side {
	return side{name: "pond v2, 8 goroutines", lacks: "no order, retry or dead letters",
		share: 8, open: func(j *job) (*line, error) {
			p := pond.NewPool(workers, pond.WithQueueSize(buffer))
			run := sending(j.feed, func(e payload) { p.Submit(func() { j.probe.see(e.Number, e.KeyNo) }) })
			return &line{run: run, close: closed(p.StopAndWait)}, nil
		}}
}

// eventBus calls its subscribers each in a goroutine of its own.
func eventBus(subscribers int) side {
	return side{name: "asaskevich/EventBus, async", lacks: "no order, no bound, no retry or dead letters; untyped",
		share: 16, open: func(j *job) (*line, error) {
			bus := EventBus.New()
			for range subscribers {
				err := bus.SubscribeAsync("events", func(e payload) { j.probe.see(e.Number, e.KeyNo) }, false)
				if err != nil {
					return nil, err
				}
			}
			run := sending(j.feed, func(e payload) { bus.Publish("events", e) })
			return &line{run: run, close: closed(bus.WaitAsync)}, nil
		}}
}

// kelindarEvent is the payload as kelindar/event wants it.
type kelindarEvent struct{ payload }

// Type tells kelindar/event apart what it carries.
func (kelindarEvent) Type() uint32 { return 1 }

// kelindarBus has one goroutine a subscriber.
func kelindarBus(subscribers int) side {
	return side{name: "kelindar/event", lacks: "one goroutine handles all events; no retry or dead letters; up to 1 ms late",
		ordered: subscribers == 1, open: func(j *job) (*line, error) {
			d := kelindar.NewDispatcher()
			var cancels []func()
			for range subscribers {
				cancels = append(cancels, kelindar.Subscribe(d, func(e kelindarEvent) { j.probe.see(e.Number, e.KeyNo) }))
			}
			run := sending(j.feed, func(e payload) { kelindar.Publish(d, kelindarEvent{e}) })
			return &line{run: run, close: func(uint64) error {
				for _, cancel := range cancels {
					cancel()
				}
				pause(kelindarTick) // its subscribers hear of it at the next tick
				return d.Close()
			}}, nil
		}}
}

// goStreams runs so many Map stages, then a sink.
func goStreams(stages, parallel int) side {
	return side{name: "go-streams", lacks: "no retry or dead letters; an unbuffered channel of any for each step",
		share: 8 * stages, ordered: parallel == 1, open: func(j *job) (*line, error) {
			in := make(chan any, buffer)
			step := func(last bool) streams.Flow {
				return flow.NewMap(func(e payload) payload {
					if last {
						j.probe.see(e.Number, e.KeyNo)
					}
					return e
				}, parallel)
			}
			steps := extension.NewChanSource(in).Via(step(stages == 1))
			for i := 2; i <= stages; i++ {
				steps = steps.Via(step(i == stages))
			}
			var wg sync.WaitGroup
			wg.Go(func() { steps.To(extension.NewIgnoreSink()) })
			run := sending(j.feed, func(e payload) { in <- e })
			return &line{run: run, close: closed(func() { close(in); wg.Wait() })}, nil
		}}
}
