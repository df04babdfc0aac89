package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// runLimit is how many events of one key a worker handles in a row while other keys wait; between two such
// runs a worker takes a new event, if one has come, or the next key that waits, in turn.
const runLimit = 8

// hotPlant is a plant with one worker and keys that each have n jobs waiting behind their first one. The
// first ones flop for a second, so that all else is in the keys' lanes when they come back.
func hotPlant(t *testing.T, n int, keys ...string) *plant {
	flopped := map[string]bool{}
	w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
		if e.Payload.N == 1 && !flopped[e.Key] && e.Key[0] == 'h' {
			flopped[e.Key] = true
			return stage.RetryAfter(time.Second, errFlop)
		}
		time.Sleep(time.Millisecond)
		return nil
	}, stage.Workers(1), stage.Buffer(4*n*len(keys))))
	for _, k := range keys {
		w.put(k, oneTo(n)...)
	}
	return w
}

func TestO5_AHotKeyGivesWayToAColdOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hot = 500
		w := hotPlant(t, hot, "hot")
		time.Sleep(time.Second) // the hot key comes back
		for i := range 10 {
			time.Sleep(13 * time.Millisecond)
			w.put(fmt.Sprintf("cold%d.", i), 1)
		}
		w.rest()
		waited := map[string]int{} // hot calls between a cold key's publish and its turn
		for _, e := range w.rec.History() {
			switch {
			case e.Key == "hot" && e.What == pipelinetest.Started:
				for k := range waited {
					waited[k]++
				}
			case e.What == pipelinetest.Accepted && e.Key != "hot":
				waited[e.Key] = 0
			case e.What == pipelinetest.Started:
				if n := waited[e.Key]; n > 2*runLimit {
					t.Errorf("%s waited for %d calls of the hot key, want at most %d", e.Key, n, 2*runLimit)
				}
				delete(waited, e.Key)
			}
		}
		if done := w.rec.Settled("work"); done[len(done)-1].Key != "hot" {
			t.Error("the hot key was done first, so nothing was proven")
		}
	})
}

func TestO5_HotKeysTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := []string{"h1.", "h2.", "h3.", "h4.", "h5."}
		w := hotPlant(t, 100, keys...)
		w.rest()
		last, calls := map[string]int{}, 0
		for _, e := range w.rec.Started("work") {
			if e.Attempt == 1 && e.ID == e.Key+"1" {
				continue // flops
			}
			calls++
			if gap := calls - last[e.Key] - 1; gap > (len(keys)-1)*runLimit {
				t.Errorf("%s waited for %d calls, want at most %d", e.ID, gap, (len(keys)-1)*runLimit)
			}
			last[e.Key] = calls
		}
	})
}
