package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	watermiddleware "github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// clinic is P5's work: events come at a steady pace, those of sick keys fail and are tried again after
// 100 ms, until all are healed at the end. What counts is how late the healthy ones are.
type clinic struct {
	events int
	burst  int // events at once
	every  time.Duration
	keys   int
	sick   uint32 // of a hundred keys, this many
}

const sickWait = 100 * time.Millisecond

var errSick = errors.New("the key is sick")

// ward is a clinic at work.
type ward struct {
	clinic
	begin  time.Time
	healed atomic.Bool
	sent   []time.Duration // when, by number
	took   []atomic.Int64  // how long, by number; 0 while it is not handled
	left   atomic.Int64    // healthy events to come
}

func (w *ward) isSick(key uint32) bool { return key%100 < w.sick }

// handle is every side's handler.
func (w *ward) handle(number, key uint32) error {
	if w.isSick(key) && !w.healed.Load() {
		return errSick
	}
	took := time.Since(w.begin) - w.sent[number]
	if w.took[number].Swap(int64(max(took, 1))) == 0 && !w.isSick(key) {
		w.left.Add(-1)
	}
	return nil
}

// treatment is a way of doing it.
type treatment struct {
	name  string
	lacks string
	open  func(w *ward) (send func(p *payload) error, end func() error, err error)
}

// late runs the clinic and returns the 99th percentile of the healthy keys. Cut is true when some were
// not handled in time; they count as late as the run's end.
func (c clinic) late(t treatment) (p99 time.Duration, cut bool, err error) {
	w := &ward{clinic: c, sent: make([]time.Duration, c.events), took: make([]atomic.Int64, c.events)}
	runtime.GC()
	w.begin = time.Now()
	send, end, err := t.open(w)
	if err != nil {
		return 0, false, err
	}
	if err := w.publish(send); err != nil {
		return 0, false, errors.Join(err, end())
	}
	for deadline := time.Now().Add(300 * time.Millisecond); w.left.Load() > 0 && time.Now().Before(deadline); {
		pause(time.Millisecond)
	}
	p99, cut = w.percentile()
	w.healed.Store(true)
	if err := end(); err != nil {
		return 0, false, fmt.Errorf("%s: %w", t.name, err)
	}
	return p99, cut, nil
}

func (w *ward) publish(send func(p *payload) error) error {
	f := newFeed(w.keys, 0)
	f.ids = "00000000"
	batch := make([]payload, w.events)
	for i := range batch {
		f.next(&batch[i])
		if !w.isSick(batch[i].KeyNo) {
			w.left.Add(1)
		}
	}
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for chunk := range slices.Chunk(batch, w.burst) {
		<-tick.C
		for i := range chunk {
			w.sent[chunk[i].Number] = time.Since(w.begin)
			if err := send(&chunk[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *ward) percentile() (p99 time.Duration, cut bool) {
	now := time.Since(w.begin)
	f := newFeed(w.keys, 0)
	var all []time.Duration
	for i := range w.events {
		var p payload
		f.next(&p)
		if w.isSick(p.KeyNo) {
			continue
		}
		took := time.Duration(w.took[i].Load())
		if took == 0 {
			took, cut = now-w.sent[i], true
		}
		all = append(all, took)
	}
	return percentile(all, 0.99), cut
}

func runnelTreatment() treatment {
	return treatment{name: "runnel", open: func(w *ward) (func(*payload) error, func() error, error) {
		chain := []stage.Middleware{middleware.DeadLetter(deadletter.NewMemory()), retryForever(sickWait), middleware.Recover()}
		r := start(chain, stage.Handle(keyedTopic, "handle", func(_ context.Context, e event.Event[payload]) error {
			return w.handle(e.Payload.Number, e.Payload.KeyNo)
		}, stage.Workers(workers), stage.Buffer(w.events)))
		publisher := pipeline.NewPublisher(r.p, keyedTopic)
		send := func(p *payload) error { return publisher.Publish(context.Background(), *p) }
		return send, func() error { return r.stop(uint64(w.events)) }, nil
	}}
}

// shardedTreatment waits in the goroutine of the shard, as a retry written by hand does.
func shardedTreatment() treatment {
	return treatment{name: "hash of the key → 8 channels, retry by hand", lacks: "a sick key stops its shard",
		open: func(w *ward) (func(*payload) error, func() error, error) {
			channels := make([]chan payload, workers)
			var wg sync.WaitGroup
			for i := range channels {
				ch := make(chan payload, w.events)
				channels[i] = ch
				wg.Go(func() {
					for p := range ch {
						for w.handle(p.Number, p.KeyNo) != nil {
							pause(sickWait)
						}
					}
				})
			}
			seed, stop := maphash.MakeSeed(), closing(&wg, channels...)
			send := func(p *payload) error { channels[maphash.String(seed, p.Key)%workers] <- *p; return nil }
			return send, func() error { return stop(0) }, nil
		}}
}

// watermillTreatment is a router with its Retry. Its publisher does not wait for the acknowledgement.
func watermillTreatment() treatment {
	return treatment{name: "Watermill Router with Retry", lacks: "no order; goroutines for each event, without bound",
		open: func(w *ward) (func(*payload) error, func() error, error) {
			g := newGoChannel(false)
			retry := watermiddleware.Retry{MaxRetries: 1 << 30, InitialInterval: sickWait, MaxInterval: sickWait, Multiplier: 1}
			r, err := startRouter(g, []message.HandlerMiddleware{retry.Middleware, watermiddleware.Recoverer}, func(m *message.Message) error {
				return w.handle(numbersOf(m))
			})
			if err != nil {
				return nil, nil, err
			}
			send := func(p *payload) error { return g.Publish(watermillTopic, messageOf(p)) }
			return send, r.Close, nil
		}}
}

// p5 asks whether failing keys hold up the others.
func p5(c *config) (*report, error) {
	k := clinic{events: max(c.events(8_000), 2_000), burst: 10, every: time.Millisecond, keys: 1000}
	treatments := []treatment{runnelTreatment()}
	if c.peers {
		treatments = append(treatments, shardedTreatment(), watermillTreatment())
	}
	ratios, cuts := make([][]float64, len(treatments)), make([]bool, len(treatments))
	for range min(c.rounds, longRounds) {
		for i, t := range treatments {
			ratio, cut, err := k.pair(t)
			if err != nil {
				return nil, err
			}
			ratios[i] = append(ratios[i], ratio)
			cuts[i] = cuts[i] || cut
		}
	}
	r := &report{
		figures: []figure{plainFigure("", atMost(1.2), ratios[0])},
		notes:   []string{"Each side against itself with no key failing. ≥ is a run that was ended before all healthy events were handled."},
	}
	if cuts[0] {
		return nil, fmt.Errorf("runnel: %w", errLost)
	}
	for i, t := range treatments[1:] {
		r.peers = append(r.peers, peer{name: t.name, ratio: median(ratios[i+1]), least: cuts[i+1], allocs: noFigure, lacks: t.lacks})
	}
	return r, nil
}

// pair measures without sick keys and with.
func (c clinic) pair(t treatment) (ratio float64, cut bool, err error) {
	well, sick := c, c
	sick.sick = 1
	base, _, err := well.late(t)
	if err != nil {
		return 0, false, err
	}
	own, cut, err := sick.late(t)
	return float64(own) / float64(base), cut, err
}
