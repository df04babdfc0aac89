package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/asaskevich/EventBus"
	kelindar "github.com/kelindar/event"
	"github.com/sourcegraph/conc/pool"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// table is where one event at a time is played: the next is sent when the handler has had the one before.
type table struct {
	name  string
	lacks string
	share int
	open  func(back chan<- uint32) (send func(p payload) error, end func(uint64) error, err error)
}

// play returns the median time from before the send until the handler's word is back.
func (t table) play(rallies int) (time.Duration, error) {
	rallies = max(rallies/max(t.share, 1), 10)
	back := make(chan uint32, 1)
	send, end, err := t.open(back)
	if err != nil {
		return 0, err
	}
	f, took := newFeed(100, 0), make([]time.Duration, 0, rallies)
	f.ids = "00000000"
	var p payload
	runtime.GC()
	for i := range rallies + rallies/10 { // the first ones warm up
		f.next(&p)
		begin := time.Now()
		if err := send(p); err != nil {
			return 0, err
		}
		if got := <-back; got != p.Number {
			return 0, fmt.Errorf("%s: event %d came back as %d", t.name, p.Number, got)
		}
		if i >= rallies/10 {
			took = append(took, time.Since(begin))
		}
	}
	return percentile(took, 0.5), end(uint64(f.number))
}

func bareTable() table {
	return table{name: "bare channel", open: func(back chan<- uint32) (func(payload) error, func(uint64) error, error) {
		ch := make(chan payload, buffer)
		var wg sync.WaitGroup
		wg.Go(func() {
			for p := range ch {
				back <- p.Number
			}
		})
		return func(p payload) error { ch <- p; return nil }, closing(&wg, ch), nil
	}}
}

func runnelTable() table {
	return table{name: "runnel", open: func(back chan<- uint32) (func(payload) error, func(uint64) error, error) {
		r := start(standardChain(), stage.Handle(keyedTopic, "handle", func(_ context.Context, e event.Event[payload]) error {
			back <- e.Payload.Number
			return nil
		}, stage.Workers(workers), stage.Buffer(buffer)))
		publisher := pipeline.NewPublisher(r.p, keyedTopic)
		return func(p payload) error { return publisher.Publish(context.Background(), p) }, r.stop, nil
	}}
}

func kelindarTable() table {
	return table{name: "kelindar/event", lacks: "no retry or dead letters", share: 20,
		open: func(back chan<- uint32) (func(payload) error, func(uint64) error, error) {
			d := kelindar.NewDispatcher()
			cancel := kelindar.Subscribe(d, func(e kelindarEvent) { back <- e.Number })
			end := func(uint64) error { cancel(); pause(kelindarTick); return d.Close() }
			return func(p payload) error { kelindar.Publish(d, kelindarEvent{p}); return nil }, end, nil
		}}
}

func concTable() table {
	return table{name: "conc pool, 8 goroutines", lacks: "no order, retry or dead letters",
		open: func(back chan<- uint32) (func(payload) error, func(uint64) error, error) {
			c := pool.New().WithMaxGoroutines(workers)
			return func(p payload) error { c.Go(func() { back <- p.Number }); return nil }, closed(c.Wait), nil
		}}
}

func pondTable() table {
	return table{name: "pond v2, 8 goroutines", lacks: "no order, retry or dead letters",
		open: func(back chan<- uint32) (func(payload) error, func(uint64) error, error) {
			c := pond.NewPool(workers, pond.WithQueueSize(buffer))
			return func(p payload) error { c.Submit(func() { back <- p.Number }); return nil }, closed(c.StopAndWait), nil
		}}
}

func eventBusTable() table {
	return table{name: "asaskevich/EventBus, async", lacks: "no order, no bound, no retry or dead letters",
		open: func(back chan<- uint32) (func(payload) error, func(uint64) error, error) {
			bus := EventBus.New()
			err := bus.SubscribeAsync("events", func(p payload) { back <- p.Number }, false)
			return func(p payload) error { bus.Publish("events", p); return nil }, closed(bus.WaitAsync), err
		}}
}

func watermillTable() table {
	return table{name: "Watermill GoChannel, no router", lacks: "no retry but at once, no dead letters", share: 4,
		open: func(back chan<- uint32) (func(payload) error, func(uint64) error, error) {
			g := newGoChannel(true)
			messages, err := g.Subscribe(context.Background(), watermillTopic)
			if err != nil {
				return nil, nil, err
			}
			go func() {
				for m := range messages {
					number, _ := numbersOf(m)
					back <- number
					m.Ack()
				}
			}()
			return func(p payload) error { return g.Publish(watermillTopic, messageOf(&p)) }, func(uint64) error { return g.Close() }, nil
		}}
}

// p14 is how long one event takes through a pipeline that has nothing else to do.
func p14(c *config) (*report, error) {
	tables := []table{runnelTable()}
	if c.peers {
		tables = append(tables, kelindarTable(), concTable(), pondTable(), eventBusTable(), watermillTable())
	}
	rallies := c.events(20_000)
	ratios := make([][]float64, len(tables))
	var own, base []float64
	for range c.rounds {
		for i, t := range tables {
			b, err := bareTable().play(rallies)
			if err != nil {
				return nil, err
			}
			o, err := t.play(rallies)
			if err != nil {
				return nil, err
			}
			ratios[i] = append(ratios[i], float64(o)/float64(b))
			if i == 0 {
				own, base = append(own, float64(o)), append(base, float64(b))
			}
		}
	}
	f := plainFigure("", atMost(2), ratios[0])
	f.ns, f.base = median(own), median(base)
	r := &report{figures: []figure{f}, notes: []string{"With the order of keys and the standard chain. The median of one event after the other."}}
	for i, t := range tables[1:] {
		r.peers = append(r.peers, peer{name: t.name, ratio: median(ratios[i+1]), allocs: noFigure, lacks: t.lacks})
	}
	return r, nil
}
