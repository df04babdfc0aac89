package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"
	"weak"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// eventBytes is the size of what a handler gets: the payload and what is known about it.
const eventBytes = float64(unsafe.Sizeof(event.Event[payload]{}))

// idleKeyBytes is what a quick run, of fewer keys, may hold for each: what does not grow with the keys
// weighs more there.
const idleKeyBytes = 16

// p7 asks what a key holds when it is idle, and what a queued event holds.
func p7(c *config) (*report, error) {
	var s scale
	var idle, queued, behind []float64
	for range min(c.rounds, longRounds) {
		b, err := s.bytesOfIdleKeys(c.keys(1_000_000))
		if err != nil {
			return nil, err
		}
		idle = append(idle, max(b, 0))
		for _, q := range []struct {
			keys int
			into *[]float64
		}{{0, &queued}, {1, &behind}} {
			b, err := s.bytesOfQueued(c.events(200_000), q.keys)
			if err != nil {
				return nil, err
			}
			*q.into = append(*q.into, b/eventBytes)
		}
	}
	first := plainFigure("bytes held for each of the keys when all are idle", goal{limit: 0.5, kind: most, slack: idleKeyBytes}, idle)
	first.unit = "B"
	return &report{
		figures: []figure{
			first,
			plainFigure("bytes for each queued event, each of its own key ÷ the size of an event", atMost(2), queued),
			plainFigure("bytes for each queued event, all of one key that is busy ÷ the size of an event", atMost(2), behind),
		},
		notes: []string{fmt.Sprintf("0 bytes a key is the goal; under 0.5 is met. An event is %.0f bytes: the payload and its meta. The stage is filled until it takes no more, and its empty room is counted too.", eventBytes)},
	}, nil
}

// scale weighs one pipeline after the other.
type scale struct {
	last weak.Pointer[pipeline.Pipeline]
}

// empty waits until the last pipeline is off the heap, so that the next weighing does not see it go: a timer
// that was stopped stays with its processor, and all that it leads to, until that one looks for work again.
func (s *scale) empty() {
	for deadline := time.Now().Add(5 * time.Second); s.last.Value() != nil && time.Now().Before(deadline); pause(time.Millisecond) {
		runtime.GC()
	}
}

// put starts the pipeline that is weighed.
func (s *scale) put(use []stage.Middleware, on *stage.Stage) *running {
	r := start(use, on)
	s.last = weak.Make(r.p)
	return r
}

// bytesOfIdleKeys touches each key once and weighs the pipeline when it has come to rest.
func (s *scale) bytesOfIdleKeys(keys int) (float64, error) {
	s.empty()
	f, p := newFeed(keys, 0), &probe{}
	r := s.put(standardChain(), probing(keyedTopic, "handle", p))
	publish := publishing(f, pipeline.NewPublisher(r.p, keyedTopic))
	rest := func(n int) error {
		p.expect(n, 1)
		if err := publish(n); err != nil {
			return err
		}
		return p.wait()
	}
	if err := rest(buffer); err != nil { // what it holds whether or not there were keys
		return 0, err
	}
	before := weigh(r)
	if err := rest(keys); err != nil {
		return 0, err
	}
	grown := weigh(r) - before
	runtime.KeepAlive(f)
	return grown / float64(keys), r.stop(uint64(keys + buffer))
}

// weigh waits until nothing runs and returns what the process holds.
func weigh(r *running) float64 {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); pause(time.Millisecond) {
		if s, _ := r.p.Snapshot().Stage("handle"); s.Resident() == 0 && s.Lanes == 0 {
			break
		}
	}
	return held()
}

// bytesOfQueued fills a stage whose handlers wait, until it takes no more. Of no keys, each event has its own.
func (s *scale) bytesOfQueued(events, keys int) (float64, error) {
	s.empty()
	if keys == 0 {
		keys = events
	}
	f := newFeed(keys, 0)
	gate := make(chan struct{})
	before := held()
	r := s.put(nil, stage.Handle(keyedTopic, "handle", func(ctx context.Context, _ event.Event[payload]) error {
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return nil
	}, stage.Workers(workers), stage.Buffer(events), stage.WithOverflow(stage.Reject)))
	queued, err := fill(f, pipeline.NewPublisher(r.p, keyedTopic))
	grown := held() - before
	runtime.KeepAlive(f)
	close(gate)
	if queued < events/2 {
		err = errors.Join(err, fmt.Errorf("a stage with room for %d events took %d", events, queued))
	}
	return grown / float64(queued), errors.Join(err, r.stop(uint64(queued)))
}

// fill publishes until there has been no room for a while, in which the stage might have made some, and
// returns how many events were taken.
func fill(f *feed, publisher event.Publisher[payload]) (taken int, err error) {
	var p payload
	f.next(&p)
	for until := time.Now().Add(fullAfter); time.Now().Before(until); {
		switch err := publisher.Publish(context.Background(), p); {
		case err == nil:
			taken++
			f.next(&p)
			until = time.Now().Add(fullAfter)
		case errors.Is(err, pipeline.ErrFull):
			pause(time.Millisecond)
		default:
			return taken, err
		}
	}
	return taken, nil
}

const fullAfter = 100 * time.Millisecond

const parkedLimit = 512 // bytes, beside the event

// errLater is what parks P8's events.
var errLater = errors.New("later")

// p8 parks events for an hour and asks what waits with them.
func p8(c *config) (*report, error) {
	n := c.events(100_000)
	var s scale
	var goroutines, bytes, plain []float64
	for range min(c.rounds, longRounds) {
		g, b, err := s.parked(n, []stage.Middleware{middleware.Retry(middleware.Constant{Delay: time.Hour}), middleware.Recover()}, errLater)
		if err != nil {
			return nil, err
		}
		goroutines, bytes = append(goroutines, float64(g)/(workers+8)), append(bytes, b/(parkedLimit+eventBytes))
		_, b, err = s.parked(n, nil, stage.RetryAfter(time.Hour, errLater))
		if err != nil {
			return nil, err
		}
		plain = append(plain, b/(parkedLimit+eventBytes))
	}
	return &report{
		figures: []figure{
			plainFigure("bytes an event, by Retry ÷ (512 + the event)", atMost(1), bytes).
				noted("%s bytes", short(median(bytes)*(parkedLimit+eventBytes))),
			plainFigure("bytes an event, by stage.RetryAfter ÷ (512 + the event)", atMost(1), plain).
				noted("%s bytes", short(median(plain)*(parkedLimit+eventBytes))),
			plainFigure("goroutines ÷ (workers + 8)", atMost(1), goroutines).
				noted("%s goroutines", short(median(goroutines)*(workers+8))),
		},
		notes: []string{fmt.Sprintf("%d events of as many keys, parked for an hour in a stage with room for twice as many; that room, which is there before, is not counted. The pipeline is then shut down, and hands all of them back.", n)},
	}, nil
}

// parked returns the goroutines of a pipeline whose events are all parked, and the bytes held for each.
func (s *scale) parked(events int, chain []stage.Middleware, fail error) (goroutines int, bytes float64, err error) {
	s.empty()
	f := newFeed(events, 0)
	running := runtime.NumGoroutine()
	r := s.put(chain, stage.Handle(keyedTopic, "handle", func(context.Context, event.Event[payload]) error { return fail },
		stage.Workers(workers), stage.Buffer(2*events), stage.OnDrain(stage.Return)))
	pause(10 * time.Millisecond) // for the workers to start
	before := held()
	if err := publishing(f, pipeline.NewPublisher(r.p, keyedTopic))(events); err != nil {
		return 0, 0, err
	}
	all := false
	for deadline := time.Now().Add(patience); !all && time.Now().Before(deadline); pause(time.Millisecond) {
		now, _ := r.p.Snapshot().Stage("handle")
		all = now.Parked == events
	}
	grown := held() - before
	goroutines = runtime.NumGoroutine() - running
	runtime.KeepAlive(f)
	_ = r.p.Shutdown(context.Background())
	<-r.ended
	var unfinished *pipeline.UnfinishedError
	switch {
	case !all:
		return 0, 0, fmt.Errorf("not all of %d events were parked: %w", events, errLost)
	case !errors.As(r.err, &unfinished) || len(unfinished.Events) != events:
		return 0, 0, fmt.Errorf("the shutdown did not hand back %d events: %w", events, r.err)
	}
	return goroutines, grown / float64(events), nil
}
