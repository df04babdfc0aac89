package pipeline_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// meddlers call free again and again, until they are told to stop, and add up how many events it took.
func meddlers(free func(stage, key string) (int, error)) (stop func() uint64) {
	var over atomic.Bool
	var freed atomic.Uint64
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for !over.Load() {
				n, _ := free("work", "a")
				freed.Add(uint64(n))
				runtime.Gosched()
			}
		})
	}
	return func() uint64 {
		over.Store(true)
		group.Wait()
		return freed.Load()
	}
}

// TestD1_ASkipBesideARelease: of the two, one has the held event and says so, and it is dropped only if that was the
// Skip. Nothing is left behind: an event that is held later, and only released, is not dropped.
func TestD1_ASkipBesideARelease(t *testing.T) {
	events := 3000
	if underRace {
		events = 500
	}
	held := map[int]bool{}
	w := newPlantIn(t, pipeline.Config{}, nil, work(func(_ context.Context, e event.Event[job]) error {
		if n := e.Payload.N; !held[n] {
			held[n] = true
			return stage.Hold(errFlop)
		}
		return nil
	}, stage.Workers(2)))
	w.run()
	await := func(reached func(stage.Snapshot) bool) {
		for !reached(w.figures()) {
			runtime.Gosched()
		}
	}
	atRest := func(s stage.Snapshot) bool { return s.Resident() == 0 }
	skips, releases := meddlers(w.p.Skip), meddlers(w.p.Release)
	w.put("a", oneTo(events)...)
	await(atRest)
	skipped, released := skips(), releases()
	if s := w.figures(); skipped+released != uint64(events) || s.Dropped != skipped || s.Done != released {
		t.Errorf("%d were skipped and %d released, but %d dropped and %d done", skipped, released, s.Dropped, s.Done)
	}
	w.put("a", events+1)
	await(func(s stage.Snapshot) bool { return s.Held == 1 })
	if n, err := w.p.Release("work", "a"); n != 1 || err != nil {
		t.Errorf("Release = %d, %v, want 1, nil", n, err)
	}
	await(atRest)
	if s := w.figures(); s.Dropped != skipped || s.Done != released+1 {
		t.Errorf("after the last release %d were dropped and %d done, want %d and %d", s.Dropped, s.Done, skipped, released+1)
	}
}
