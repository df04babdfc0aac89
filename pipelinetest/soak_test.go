package pipelinetest_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestSoak runs a pipeline of five stages in real time for RUNNEL_SOAK, a second by default, while handlers fail,
// panic and leave, stores fail, stages are paused and get more and fewer workers, and drains redrive what died. Each
// second the figures must add up (D1); no event is lost, repeated out of its place or overtaken; in the end nothing is
// left, and neither goroutines nor memory have grown.
func TestSoak(t *testing.T) {
	lasts, err := time.ParseDuration(cmp.Or(os.Getenv("RUNNEL_SOAK"), "1s"))
	if err != nil {
		t.Fatalf("RUNNEL_SOAK: %v", err)
	}
	if testing.Short() {
		lasts = min(lasts, 200*time.Millisecond)
	}
	before := runtime.NumGoroutine()
	w := newSoak(t)
	w.start()
	flat := w.watch(lasts)
	w.stop()
	flat.judge(t, lasts)
	for i := 0; runtime.NumGoroutine() > before && i < 1000; i++ {
		<-time.After(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines are left, there were %d before", n, before)
	}
	w.judge()
	t.Logf("%v: %s; %v", lasts, w.summary(), flat)
}

// watch looks at the pipeline each second until the time is over.
func (w *soak) watch(lasts time.Duration) *samples {
	s := &samples{}
	end := time.After(lasts)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stuck, last := 0, uint64(0)
	for {
		select {
		case <-end:
			return s
		case <-tick.C:
		}
		n := w.p.Snapshot()
		if err := n.Sum(false); err != nil {
			w.t.Errorf("D1: %v", err)
		}
		w.sums++
		s.take()
		done := uint64(0)
		for _, st := range n.Stages {
			done += st.Done
		}
		if stuck++; done > last {
			stuck, last = 0, done
		}
		if stuck > 120 {
			w.t.Errorf("nothing was done for two minutes: %+v", n)
			w.parkedLast.Range(func(stage, text any) bool {
				w.t.Errorf("%s parked last: %s", stage, text)
				return true
			})
			return s
		}
	}
}

// samples are goroutines and live bytes, one of each a second.
type samples struct{ goroutines, heap []int }

func (s *samples) take() {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	s.goroutines, s.heap = append(s.goroutines, runtime.NumGoroutine()), append(s.heap, int(m.HeapAlloc)) //nolint:gosec // bytes
}

// judge compares the end of the run with its beginning, without the first tenth.
func (s *samples) judge(t *testing.T, lasts time.Duration) {
	t.Helper()
	if lasts < 10*time.Second {
		return
	}
	// How many there are at a moment is chance, with the drains and the workers of that moment; what leaks is there
	// always, and in a short run shows when it is over.
	early, late := s.ends(s.goroutines)
	if lasts >= 10*time.Minute && slices.Min(late) > slices.Min(early)+16 {
		t.Errorf("goroutines: at least %d in the beginning, at least %d in the end", slices.Min(early), slices.Min(late))
	}
	// It takes most of a minute until there are as many letters and marks as there ever are.
	slack := 4 << 20
	if lasts < time.Minute {
		slack *= 3
	}
	early, late = s.ends(s.heap)
	if a, b := median(early), median(late); b > a+a/4+slack {
		t.Errorf("bytes held: %d in the beginning, %d in the end", a, b)
	}
}

// ends are a third of the samples after the first tenth, and the last third.
func (s *samples) ends(all []int) (early, late []int) {
	all = all[len(all)/10:]
	return all[:max(1, len(all)/3)], all[len(all)-max(1, len(all)/3):]
}

func (s *samples) String() string {
	if len(s.heap) == 0 {
		return "no samples"
	}
	g, l := s.ends(s.goroutines)
	h, i := s.ends(s.heap)
	return fmt.Sprintf("at least %d goroutines in the first third, %d in the last; %d KiB held in the first third, %d in the last",
		slices.Min(g), slices.Min(l), median(h)>>10, median(i)>>10)
}

func median(all []int) int {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// stop ends the traffic, lets everything come to rest, redrives what is left, and shuts down.
func (w *soak) stop() {
	w.cancel()
	w.helpers.Wait()
	w.outage.over()
	for _, s := range w.p.Stages() {
		_ = w.p.Resume(s)
	}
	w.redriveAll()
	if err := w.p.Shutdown(context.Background()); err != nil {
		w.t.Errorf("Shutdown = %v, want nil", err)
	}
	if err := <-w.runs; err != nil {
		w.t.Errorf("Run = %v, want nil", err)
	}
}
