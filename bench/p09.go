package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

const fanOut = 4

// p9 is one publish that four stages get.
func p9(c *config) (*report, error) {
	w := work{events: c.events(300_000), keys: 1000, ids: 1 << 10, mask: sampled, times: fanOut}
	ours := runnelSide("runnel", plainTopic, nil, func(j *job) []*stage.Stage {
		var all []*stage.Stage
		for i := range fanOut {
			all = append(all, probing(plainTopic, fmt.Sprint("handle", i), j.probe))
		}
		return all
	})
	sides := []side{ours}
	if c.peers {
		sides = append(sides, kelindarBus(fanOut), eventBus(fanOut), watermillPlain(fanOut))
	}
	all, err := compare(c, w, bareFan(), sides...)
	if err != nil {
		return nil, err
	}
	return &report{
		figures: []figure{figureOf("", atMost(2), all[0], all[1]).withoutAllocs()},
		peers:   peersOf(all[2:]),
	}, nil
}

// bareFan sends each event on four channels, each of which has a reader.
func bareFan() side {
	return side{name: "4 bare channels", open: func(j *job) (*line, error) {
		channels := make([]chan payload, fanOut)
		var wg sync.WaitGroup
		for i := range channels {
			ch := make(chan payload, buffer)
			channels[i] = ch
			wg.Go(func() { drain(ch, j.probe) })
		}
		run := func(n int) error {
			var p payload
			for range n {
				j.feed.next(&p)
				for _, ch := range channels {
					ch <- p
				}
			}
			return nil
		}
		return &line{run: run, close: closing(&wg, channels...)}, nil
	}}
}

const hops = 5

// hopTopics are where P10's Map stages read and write.
var hopTopics = func() (all [hops + 1]*event.Topic[payload]) {
	for i := range all {
		all[i] = event.NewTopic[payload](fmt.Sprint("hop", i))
	}
	return all
}()

// p10 is a chain of five Map stages and one that handles what comes out.
func p10(c *config) (*report, error) {
	w := work{events: c.events(200_000), keys: 1000, ids: 1 << 10, mask: sampled}
	ours := runnelSide("runnel", hopTopics[0], nil, func(j *job) []*stage.Stage {
		same := func(_ context.Context, e event.Event[payload]) (payload, error) { return e.Payload, nil }
		var all []*stage.Stage
		for i := range hops {
			all = append(all, stage.Map(hopTopics[i], fmt.Sprint("map", i), hopTopics[i+1], same,
				stage.Workers(workers), stage.Buffer(buffer)))
		}
		return append(all, probing(hopTopics[hops], "handle", j.probe))
	})
	sides := []side{ours}
	if c.peers {
		sides = append(sides, goStreams(hops, 1))
	}
	all, err := compare(c, w, bareChain(), sides...)
	if err != nil {
		return nil, err
	}
	return &report{
		figures: []figure{figureOf("", atMost(2.5), all[0], all[1])},
		peers:   peersOf(all[2:]),
		notes:   []string{"What comes out of the fifth Map is handled by a sixth stage; the base has a sixth channel for it."},
	}, nil
}

// bareChain is five goroutines that each read a channel and write the next, and one that reads the last.
func bareChain() side {
	return side{name: "bare channels in a row", ordered: true, open: func(j *job) (*line, error) {
		first := make(chan payload, buffer)
		var wg sync.WaitGroup
		in := first
		for range hops {
			from, to := in, make(chan payload, buffer)
			wg.Go(func() {
				defer close(to)
				for p := range from {
					to <- p
				}
			})
			in = to
		}
		wg.Go(func() { drain(in, j.probe) })
		run := func(n int) error {
			var p payload
			for range n {
				j.feed.next(&p)
				first <- p
			}
			return nil
		}
		return &line{run: run, close: closing(&wg, first)}, nil
	}}
}

// p11 is publishers in each other's way.
func p11(c *config) (*report, error) {
	r := &report{notes: []string{"(runnel with so many publishers ÷ runnel with one) ÷ the same of a channel with 8 readers, in throughput: more is better."}}
	var one float64
	for _, publishers := range []int{1, 2, 8, 64} {
		w := work{events: c.events(600_000), keys: 1000, mask: sampled}
		w.events = max(w.events/sampledEvery/publishers, 1) * sampledEvery * publishers
		all, err := compare(c, w, contended(publishers, bareMany()), contended(publishers, runnelMany()))
		if err != nil {
			return nil, err
		}
		if publishers == 1 {
			one = median(all[1].ratio)
			continue
		}
		// Both sides' loss by contention is in the ratio of the pair.
		rounds := make([]float64, len(all[1].ratio))
		for i, ratio := range all[1].ratio {
			rounds[i] = one / ratio
		}
		f := plainFigure(fmt.Sprintf("%d publishers", publishers), atLeast(0.7), rounds)
		f.allocs, f.ns, f.base = median(all[1].allocs), median(all[1].ns), median(all[0].ns)
		r.figures = append(r.figures, f.noted("%s× a channel under the same contention; with one publisher %s×", short(median(all[1].ratio)), short(one)))
	}
	return r, nil
}

// many sends from several goroutines at once.
type many struct {
	name string
	open func(j *job) (publish func(f *feed, n int) error, end func(uint64) error)
}

func contended(publishers int, m many) side {
	return side{name: m.name, open: func(j *job) (*line, error) {
		publish, end := m.open(j)
		run := func(n int) error {
			errs := make([]error, publishers)
			var wg sync.WaitGroup
			for i := range publishers {
				part := *j.feed
				part.number += uint32(i * n / publishers)
				wg.Go(func() { errs[i] = publish(&part, n/publishers) })
			}
			wg.Wait()
			j.feed.number += uint32(n)
			for _, err := range errs {
				if err != nil {
					return err
				}
			}
			return nil
		}
		return &line{run: run, close: end}, nil
	}}
}

func bareMany() many {
	return many{name: "bare channel", open: func(j *job) (func(*feed, int) error, func(uint64) error) {
		ch := make(chan payload, buffer)
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() { drain(ch, j.probe) })
		}
		return func(f *feed, n int) error {
			var p payload
			for range n {
				f.next(&p)
				ch <- p
			}
			return nil
		}, closing(&wg, ch)
	}}
}

func runnelMany() many {
	return many{name: "runnel", open: func(j *job) (func(*feed, int) error, func(uint64) error) {
		r := start(nil, probing(plainTopic, "handle", j.probe))
		publisher := pipeline.NewPublisher(r.p, plainTopic)
		return func(f *feed, n int) error { return publishing(f, publisher)(n) }, r.stop
	}}
}
