package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// eachTarget runs f in a bubble against a depot that runs, with each number of workers, and against one
// that does not: a maintenance job in a binary of its own.
func eachTarget(t *testing.T, f func(t *testing.T, again func(letterConfig) *depot)) {
	t.Helper()
	for _, w := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("it runs, %d workers", w), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(t, func(c letterConfig) *depot {
					c.workers = w
					return startDepot(t, c)
				})
			})
		})
	}
	t.Run("it does not run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f(t, func(c letterConfig) *depot { return newDepot(t, c) })
		})
	})
}

// deadLetters fills a store with the letters 1 to n of each key, of which the first was tried.
func deadLetters(t *testing.T, j *journal, n int, keys ...string) deadletter.Store {
	t.Helper()
	d := startDepot(t, letterConfig{journal: j, handle: func(context.Context, *call) error { return errBroken }})
	for _, i := range upTo(n) {
		for _, key := range keys {
			d.publish(key, i)
		}
	}
	d.settle()
	d.close()
	return d.letters
}

// closeAny is close for a depot that may not run.
func (d *depot) closeAny() {
	d.t.Helper()
	if d.run != nil {
		d.close()
		return
	}
	if err := d.p.Shutdown(context.Background()); err != nil {
		d.t.Errorf("Shutdown = %v, want nil", err)
	}
	if err := d.p.Snapshot().Sum(true); err != nil {
		d.t.Errorf("at the end: %v", err)
	}
}

// mixture is letters of two stages and several causes: what the selections choose from.
func mixture(t *testing.T) *depot {
	t.Helper()
	second := stage.Handle(parcels, "second", func(_ context.Context, e event.Event[parcel]) error {
		if e.Payload.N == 1 {
			panic("second stage")
		}
		return nil
	}, stage.Workers(1))
	var mended atomic.Bool
	d := startDepot(t, letterConfig{
		followers:  deadletter.Continue,
		moreStages: []*stage.Stage{second},
		handle: func(_ context.Context, c *call) error {
			switch {
			case mended.Load():
				return nil
			case c.n == 1:
				return stage.Permanent(errors.New("no such customer"))
			case c.n == 2:
				return errBroken
			}
			return nil
		},
	})
	d.publish("a", 1, 2)
	d.settle()
	time.Sleep(time.Hour)
	d.publish("b", 1, 2)
	d.settle()
	time.Sleep(time.Hour)
	mended.Store(true)
	return d // 1 and 2 of a and b at work; 1 of a and b at second
}

func TestX1_Selection(t *testing.T) {
	ago := func(h int) time.Time { return time.Now().Add(-time.Duration(h)*time.Hour - time.Minute) }
	for _, c := range []struct {
		name string
		opts func(d *depot) deadletter.DrainOptions
		want string // Selected, Succeeded, Remaining
	}{
		{"all", func(*depot) deadletter.DrainOptions { return deadletter.DrainOptions{} }, "6 4 2"},
		{"by stage", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{Stage: "work"}}
		}, "4 4 0"},
		{"by topic", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{Topic: "nothing"}}
		}, "0 0 0"},
		{"by key", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{Stage: "work", Key: new("a")}}
		}, "2 2 0"},
		{"by id", func(d *depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{IDs: ids(listed(d.t, d.letters, deadletter.Filter{Stage: "work"}))[2:3]}}
		}, "1 1 0"},
		{"by no id", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{IDs: []string{}}}
		}, "0 0 0"},
		{"by reason", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{Reason: deadletter.Permanent}}
		}, "2 2 0"},
		{"by fingerprint", func(d *depot) deadletter.DrainOptions {
			f := listed(d.t, d.letters, deadletter.Filter{ErrorText: "no such customer"})[0].Fingerprint
			return deadletter.DrainOptions{Filter: deadletter.Filter{Fingerprint: f}}
		}, "2 2 0"},
		{"by age, before", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{Stage: "work", Before: ago(1)}}
		}, "2 2 0"},
		{"by age, after", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{Stage: "work", After: ago(1)}}
		}, "2 2 0"},
		{"with a limit", func(*depot) deadletter.DrainOptions {
			return deadletter.DrainOptions{Filter: deadletter.Filter{Stage: "work"}, Limit: 3}
		}, "4 3 1"},
		{"a dry run", func(*depot) deadletter.DrainOptions { return deadletter.DrainOptions{DryRun: true} }, "6 0 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := mixture(t)
				r := d.drain(c.opts(d))
				if got := fmt.Sprint(r.Selected, r.Succeeded, r.Remaining); got != c.want {
					t.Errorf("selected, succeeded and remaining are %s, want %s: %v", got, c.want, r)
				}
				if r.Empty() != (r.Selected == 0) || r.Empty() && !strings.Contains(r.String(), "nothing to do") {
					t.Errorf("Empty = %v of %v", r.Empty(), r)
				}
				if failed := r.Selected == 6 && !r.DryRun; failed != (r.Failed == 2) {
					t.Errorf("%d failed: %v", r.Failed, r)
				}
				d.close()
			})
		})
	}
}

func TestX1_RateSpreadsTheLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		letters := deadLetters(t, j, 1, "a", "b", "c", "d", "e")
		d := startDepot(t, letterConfig{journal: j, store: letters})
		began := time.Now()
		d.drain(deadletter.DrainOptions{Rate: 0.5, Parallel: 5})
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("five letters at one in two seconds took %v, want 8s", took)
		}
		d.close()
	})
}

func TestX2_LettersGoInOrderAndOneThatFailsStopsItsSequence(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 5, "a", "b")
		f := failing("a", 3)
		d := again(letterConfig{journal: j, store: letters, handle: f.handle})
		before := nthLetter(t, letters, "a", 2)
		var told []error
		r := d.drain(deadletter.DrainOptions{Parallel: 2, Who: "ann", Why: "mended", Progress: func(p deadletter.Progress) {
			if p.Letter != "" && p.Err != nil {
				told = append(told, p.Err)
			}
		}})
		d.wantTrace("a", "1- 1+r 2+r 3-r")
		d.wantTrace("b", "1- 1+r 2+r 3+r 4+r 5+r")
		d.wantLetters("a", "3 4f 5f")
		if r.Succeeded != 7 || r.Failed != 1 || r.Blocked != 2 || r.Remaining != 3 || len(r.Failures) != 1 {
			t.Errorf("%v, want 7 succeeded, 1 failed, 2 blocked, 3 remain", r)
		}
		if len(told) != 1 || !errors.Is(told[0], errBroken) || errors.Is(told[0], stage.ErrShutdown) {
			t.Errorf("Progress was told %v, want that the handler is broken", told)
		}
		l := nthLetter(t, letters, "a", 0)
		if l.ID != before.ID || l.Redrives != 1 || l.Attempts != 1 || l.Follower || l.Reason != deadletter.Exhausted || !strings.Contains(l.Error, errBroken.Error()) || len(l.History) != 1 {
			t.Errorf("the letter that failed is %+v, want it brought up to date", l)
		}
		if len(l.Notes) != 1 || l.Notes[0].Who != "ann" || l.Notes[0].Why != "mended" {
			t.Errorf("its notes are %+v, want who redrove it and why", l.Notes)
		}
		f.mend()
		d.drainDry()
		if got := d.done("work", "a"); !slices.Equal(got, upTo(5)) {
			t.Errorf("completed are %v, want 1 to 5", got)
		}
		d.closeAny()
	})
}

func TestX2_ARedriveIsRetriedLikeAnyEvent(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 2, "a")
		d := again(letterConfig{
			journal: j, store: letters, retry: middleware.Constant{Attempts: 3, Delay: time.Hour},
			handle: func(_ context.Context, c *call) error {
				if c.attempt < 3 {
					return errBroken
				}
				return nil
			},
		})
		r := d.drain(deadletter.DrainOptions{Lease: time.Minute})
		if r.Succeeded != 2 {
			t.Errorf("%v, want 2 succeeded", r)
		}
		d.wantTrace("a", "1- 1-r 1-r 1+r 2-r 2-r 2+r")
		d.closeAny()
	})
}

// threeStages are stages of one topic with chains of their own, and one after them.
func threeStages(j *journal, broken *atomic.Bool) (stages []*stage.Stage) {
	out := event.NewTopic[int]("out")
	for _, name := range []string{"first", "second"} {
		stages = append(stages, stage.Handle(parcels, name, recorded[parcel](j, func(context.Context, *call) error { return nil }), stage.Use(j.probe())))
	}
	handle := recorded[parcel](j, func(context.Context, *call) error {
		if broken.Load() {
			return errBroken
		}
		return nil
	})
	third := stage.Map(parcels, "third", out, func(ctx context.Context, e event.Event[parcel]) (int, error) {
		return e.Payload.N, handle(ctx, e)
	}, stage.Use(j.probe()))
	last := stage.Handle(out, "last", recorded[int](j, func(context.Context, *call) error { return nil }), stage.Use(j.probe()))
	return append(stages, third, last)
}

func TestX3_ARedriveRunsAtItsOwnStageOnly(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		j := &journal{}
		var broken atomic.Bool
		broken.Store(true)
		var outermost []string // what a middleware outside of all saw
		var mu sync.Mutex
		d := newDepot(t, letterConfig{workers: workers, journal: j, moreStages: threeStages(j, &broken)})
		d.p = pipeline.New(pipeline.Config{Logger: quiet, Observer: d.rec.Observer()})
		d.p.Use(stage.Middleware{Name: "outermost", Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				mu.Lock()
				if d.Redrive != nil {
					outermost = append(outermost, d.Stage)
				}
				mu.Unlock()
				return next(ctx, d)
			}
		}})
		d.p.Use(letterConfig{}.chain(d.letters)...)
		d.p.Add(threeStages(j, &broken)...)
		d.pub = pipeline.NewPublisher(d.p, parcels)
		d.start()
		d.publish("a", 1, 2)
		d.settle()
		if got := len(j.of("last", "")); got != 0 {
			t.Errorf("a failed attempt emitted %d events", got)
		}
		broken.Store(false)
		d.drainDry()
		d.settle()
		for stage, want := range map[string]string{"first": "1+ 2+", "second": "1+ 2+", "third": "1- 1+r 2+r"} {
			if got := d.traceAt(stage, "a"); got != want {
				t.Errorf("the calls at stage %s are %q, want %q", stage, got, want)
			}
		}
		if got := len(j.of("last", "")); got != 2 {
			t.Errorf("the redriven letters emitted %d events, want 2", got)
		}
		if want := []string{"third", "third"}; !slices.Equal(outermost, want) {
			t.Errorf("the chain ran for redrives at %v, want %v", outermost, want)
		}
		d.close()
	})
}

func TestX3_X7_EachLetterGoesToOneOfManyDrainers(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		keys := strings.Split("a b c d e f g h", " ")
		letters := deadLetters(t, j, 10, keys...)
		f := failing("c", 4)
		d := again(letterConfig{journal: j, store: letters, handle: func(ctx context.Context, c *call) error {
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
			return f.handle(ctx, c)
		}})
		const drainers = 5
		reports := make([]deadletter.Report, drainers)
		var all sync.WaitGroup
		for i := range drainers {
			all.Go(func() { reports[i] = d.drain(deadletter.DrainOptions{Parallel: 1 + i%3}) })
		}
		all.Wait()
		sum := deadletter.Counts{}
		for _, r := range reports {
			if r.Selected != r.Succeeded+r.Failed+r.Skipped+r.Blocked+r.Interrupted+r.Untouched || r.Interrupted+r.Untouched > 0 {
				t.Errorf("it does not add up: %v", r)
			}
			sum.Succeeded += r.Succeeded
			sum.Failed += r.Failed
			sum.Skipped += r.Skipped
		}
		if sum.Succeeded != 73 || sum.Failed < 1 || sum.Skipped == 0 {
			t.Errorf("in all %d succeeded, %d failed, %d skipped; want 73, at least 1, some", sum.Succeeded, sum.Failed, sum.Skipped)
		}
		for _, k := range keys {
			want := upTo(10)
			if k == "c" {
				want = upTo(3)
			}
			if got := d.done("work", k); !slices.Equal(got, want) {
				t.Errorf("key %s completed %v, want %v", k, got, want)
			}
		}
		if err := d.overlaps(); err != nil {
			t.Error(err)
		}
		d.closeAny()
	})
}

func TestX4_LiveEventsRunAfterAllLettersOfTheirKey(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		j := &journal{}
		letters := deadLetters(t, j, 20, "a", "b")
		d := startDepot(t, letterConfig{workers: workers, journal: j, store: letters, handle: func(context.Context, *call) error {
			time.Sleep(time.Millisecond)
			return nil
		}})
		var live sync.WaitGroup
		for _, k := range []string{"a", "b", "c"} {
			live.Go(func() {
				for n := range 20 {
					d.publish(k, 21+n)
					time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
				}
			})
		}
		for r := (deadletter.Report{Remaining: 1}); r.Remaining > 0; {
			r = d.drain(deadletter.DrainOptions{Parallel: 2})
		}
		live.Wait()
		d.settle()
		d.drainDry()
		for _, k := range []string{"a", "b"} {
			if got := d.done("work", k); !slices.Equal(got, upTo(40)) {
				t.Errorf("key %s completed %v, want 1 to 40", k, got)
			}
		}
		if got := d.done("work", "c"); len(got) != 20 {
			t.Errorf("key c completed %d, want 20", len(got))
		}
		d.close()
	})
}

func TestX5_ALetterLeavesAfterSuccessOnly(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 1, "a")
		var seen int
		for _, end := range []string{"panic", "goexit", "error", "success"} {
			d := again(letterConfig{journal: j, store: letters, handle: func(context.Context, *call) error {
				seen += len(listed(t, letters, deadletter.Filter{}))
				switch end {
				case "panic":
					crash(0)
				case "goexit":
					crash(2)
				case "error":
					return errBroken
				}
				return nil
			}})
			if end == "goexit" && d.run == nil {
				continue // it would end the goroutine of the job itself
			}
			before := seen
			d.drain(deadletter.DrainOptions{})
			left := len(listed(t, letters, deadletter.Filter{}))
			if want := min(1, len(end)-len("success")); seen-before != 1 || left != max(0, -want) && left != 1 {
				t.Errorf("%s: %d letters while it ran, %d after", end, seen-before, left)
			}
			if (left == 0) != (end == "success") {
				t.Errorf("after %s %d letters are left", end, left)
			}
			d.closeAny()
		}
	})
}

func TestX5_ALeaseIsRenewedWhileTheHandlerRuns(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 1, "a")
		d := again(letterConfig{journal: j, store: letters, handle: func(context.Context, *call) error {
			time.Sleep(time.Hour)
			return nil
		}})
		drained := make(chan deadletter.Report)
		go func() { drained <- d.drain(deadletter.DrainOptions{Lease: time.Second}) }()
		for range 59 {
			time.Sleep(time.Minute)
			if r := d.drain(deadletter.DrainOptions{}); r.Skipped != 1 {
				t.Fatalf("a second drainer: %v, want 1 skipped", r)
			}
		}
		if r := <-drained; r.Succeeded != 1 {
			t.Errorf("the first drainer: %v, want 1 succeeded", r)
		}
		d.wantTrace("a", "1- 1+r")
		d.closeAny()
	})
}

// stalled is a store whose renewals do not come through, as after a SIGSTOP.
type stalled struct{ deadletter.Store }

func (stalled) Renew(context.Context, deadletter.Claim, time.Duration) error {
	return errors.New("no answer")
}

// overrun has a second drainer take a letter from one that stalls beyond its lease, and returns what was
// left in the store when the first had come back.
func overrun(t *testing.T, ids idempotency.Store) (*depot, string) {
	j := &journal{}
	f := failing("a", 1)
	first := startDepot(t, letterConfig{journal: j, ids: ids, handle: f.handle})
	first.send("one", "a", 1)
	first.settle()
	f.mend()
	var calls atomic.Int64
	slow := startDepot(t, letterConfig{journal: j, store: first.letters, ids: ids, handle: func(context.Context, *call) error {
		if calls.Add(1) == 1 {
			time.Sleep(time.Minute)
		}
		return nil
	}})
	drained := make(chan deadletter.Report)
	go func() {
		r, _ := deadletter.Drain(t.Context(), stalled{slow.letters}, slow.p, deadletter.DrainOptions{Lease: time.Second})
		drained <- r
	}()
	time.Sleep(10 * time.Second)
	claim, err := slow.letters.Claim(t.Context(), deadletter.Sequence{Stage: "work", Key: "a"}, "another", time.Hour)
	if err != nil {
		t.Fatalf("Claim after the lease ended = %v", err)
	}
	<-drained
	left := numbers(lettersOf(t, slow.letters, "a"))
	if err := slow.letters.Release(t.Context(), claim); err != nil {
		t.Error(err)
	}
	first.close()
	return slow, left
}

func TestX5_ADrainerThatLostItsClaimChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, left := overrun(t, nil)
		if left != "1" {
			t.Errorf("the letters are %q, want that the other drainer's is still there", left)
		}
		d.drainDry()
		d.wantTrace("a", "1- 1+r 1+r")
		d.close()
	})
}

func TestX5_I1_WithIdempotencyALostClaimRunsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, left := overrun(t, idempotency.NewMemory())
		if left != "1" {
			t.Errorf("the letters are %q, want that the other drainer's is still there", left)
		}
		d.drainDry()
		d.wantTrace("a", "1- 1+r")
		d.wantLetters("a", "")
		d.close()
	})
}

func TestX6_IdentitySurvives(t *testing.T) {
	ownKey := stage.KeyBy(func(p parcel) string { return fmt.Sprint("own-", p.N%2) })
	for name, c := range map[string]struct {
		publish []event.PublishOption
		options []stage.Option
		lane    string
	}{
		"a given identity":      {[]event.PublishOption{event.WithID("order-1"), event.WithHeader("tenant", "x"), event.WithCorrelation("c")}, nil, "a"},
		"a generated one":       {nil, nil, "a"},
		"a key of the stage":    {[]event.PublishOption{event.WithTime(time.Unix(1, 2))}, []stage.Option{ownKey}, "own-1"},
		"no order":              {nil, []stage.Option{stage.WithOrder(stage.Unordered)}, ""},
		"one order for all":     {nil, []stage.Option{stage.WithOrder(stage.Serial)}, ""},
		"a key given by option": {[]event.PublishOption{event.WithKey("z\x00é")}, nil, "z\x00é"},
	} {
		t.Run(name, func(t *testing.T) {
			eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
				j := &journal{}
				d := startDepot(t, letterConfig{journal: j, options: c.options, handle: func(context.Context, *call) error { return errBroken }})
				for range 3 {
					d.publish("before", 2)
				}
				if err := d.pub.Publish(t.Context(), parcel{"a", 1}, c.publish...); err != nil {
					t.Fatal(err)
				}
				d.settle()
				d.close()
				other := again(letterConfig{journal: j, store: d.letters, options: c.options})
				other.drainDry()
				other.closeAny()
				var metas []event.Meta
				var lanes []string
				for _, call := range j.calls {
					if call.n == 1 {
						metas = append(metas, call.meta)
						lanes = append(lanes, call.key)
					}
				}
				if name == "one order for all" { // it was a follower, and only the redrive was tried
					if len(metas) != 1 || metas[0].Seq != 4 || metas[0].Key != "a" {
						t.Errorf("the follower came as %+v", metas)
					}
					return
				}
				if len(metas) != 2 {
					t.Fatalf("there are %d calls, want 2", len(metas))
				}
				was, is := metas[0], metas[1]
				if was.ID() != is.ID() || was.GivenID != is.GivenID || was.Key != is.Key || was.Seq != is.Seq || was.Topic != is.Topic || !was.Time.Equal(is.Time) || fmt.Sprint(was.Header) != fmt.Sprint(is.Header) {
					t.Errorf("redriven as %+v, want %+v", is, was)
				}
				if lanes[0] != c.lane || lanes[1] != c.lane {
					t.Errorf("the lanes are %q, want %q", lanes, c.lane)
				}
			})
		})
	}
}

func TestX7_OneDrainTouchesALetterOnceAndMaxRedrivesQuarantines(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 3, "a")
		f := failing("a", 1)
		d := again(letterConfig{journal: j, store: letters, redrives: 3, handle: f.handle})
		for range 10 {
			r := d.drain(deadletter.DrainOptions{})
			if r.Failed+r.Blocked != r.Selected {
				t.Errorf("%v, want each letter failed or blocked", r)
			}
		}
		d.wantTrace("a", "1- 1-r 1-r 1-r")
		head := nthLetter(t, letters, "a", 0)
		if head.State != deadletter.Quarantined || head.Redrives != 3 || !letters.MayHold("work", "a") {
			t.Errorf("the letter is %s after %d redrives, held %v; want quarantined, 3, true", head.State, head.Redrives, letters.MayHold("work", "a"))
		}
		f.mend()
		if r := d.drain(deadletter.DrainOptions{}); r.Succeeded != 0 {
			t.Errorf("%v: a quarantined letter was taken without being named", r)
		}
		d.drain(deadletter.DrainOptions{Filter: deadletter.Filter{IDs: []string{head.ID}}})
		d.drainDry()
		if got := d.done("work", "a"); !slices.Equal(got, upTo(3)) {
			t.Errorf("completed are %v, want 1 to 3", got)
		}
		d.closeAny()
	})
}

// TestX7_ALetterThatCannotBeDecodedFailsLikeAnyOther: the handler is not called, the failure is recorded, and in
// the end the letter is quarantined.
func TestX7_ALetterThatCannotBeDecodedFailsLikeAnyOther(t *testing.T) {
	for name, damaged := range map[string]deadletter.Letter{
		"no JSON":       {Codec: "json", Payload: []byte("\x00 not json")},
		"another codec": {Codec: "gob", Payload: []byte("{}")},
		"another type":  {Value: crate{"a", 1}},
	} {
		t.Run(name, func(t *testing.T) {
			eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
				letters := deadletter.NewMemory()
				damaged.Stage, damaged.Topic, damaged.Key, damaged.TopicKey = "work", "parcels", "a", "a"
				damaged.Ordered, damaged.Holds, damaged.EventID, damaged.Reason = true, true, "a1", deadletter.Exhausted
				if _, err := letters.Put(t.Context(), &damaged); err != nil {
					t.Fatal(err)
				}
				d := again(letterConfig{store: letters, redrives: 2})
				for range 3 {
					d.drain(deadletter.DrainOptions{})
				}
				l := nthLetter(t, letters, "a", 0)
				if l.State != deadletter.Quarantined || l.Redrives != 2 || l.Reason != deadletter.Undecodable || string(l.Payload) != string(damaged.Payload) {
					t.Errorf("the letter is %s, %s, after %d redrives, with payload %q; want quarantined, undecodable, 2, as it was", l.State, l.Reason, l.Redrives, l.Payload)
				}
				d.wantTrace("a", "")
				d.closeAny()
			})
		})
	}
}

func TestX8_ACancelledDrainCountsNothing(t *testing.T) {
	for _, where := range []string{"in the handler", "in backoff"} {
		t.Run(where, func(t *testing.T) {
			eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
				j := &journal{}
				letters := deadLetters(t, j, 4, "a")
				ctx, cancel := context.WithCancel(t.Context())
				var mended atomic.Bool
				d := again(letterConfig{
					journal: j, store: letters, retry: middleware.Constant{Attempts: 2, Delay: time.Hour},
					handle: func(ctx context.Context, c *call) error {
						if c.n != 2 || mended.Load() {
							return nil
						}
						time.AfterFunc(time.Minute, cancel)
						if where == "in backoff" {
							return errBroken
						}
						<-ctx.Done()
						return fmt.Errorf("stopped: %w", ctx.Err())
					},
				})
				before := nthLetter(t, letters, "a", 1)
				began := time.Now()
				r, err := deadletter.Drain(ctx, letters, d.p, deadletter.DrainOptions{})
				if !errors.Is(err, context.Canceled) || r.Stopped != deadletter.StoppedCancelled {
					t.Errorf("Drain = %v, stopped because %q; want the cancellation", err, r.Stopped)
				}
				if took := time.Since(began); took != time.Minute {
					t.Errorf("it ended after %v, want at once, after 1m", took)
				}
				if r.Succeeded != 1 || r.Interrupted != 1 || r.Untouched != 2 || r.Failed != 0 {
					t.Errorf("%v, want 1 succeeded, 1 interrupted, 2 untouched", r)
				}
				d.wantTrace("a", "1- 1+r 2-r")
				d.wantLetters("a", "2f 3f 4f")
				if l := nthLetter(t, letters, "a", 0); l.Redrives != before.Redrives || l.Attempts != before.Attempts || len(l.History) != len(before.History) || l.State != deadletter.Active {
					t.Errorf("the letter in flight is %+v, want it as it was", l)
				}
				mended.Store(true)
				if r := d.drain(deadletter.DrainOptions{}); r.Succeeded != 3 { // at once: no claim is left behind
					t.Errorf("the next drain: %v, want 3 succeeded", r)
				}
				d.wantTrace("a", "1- 1+r 2-r 2+r 3+r 4+r")
				d.closeAny()
			})
		})
	}
}

func TestX8_SuccessStandsThoughTheDrainWasCancelled(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 2, "a")
		ctx, cancel := context.WithCancel(t.Context())
		d := again(letterConfig{journal: j, store: letters, handle: func(context.Context, *call) error {
			cancel()
			return nil
		}})
		r, err := deadletter.Drain(ctx, letters, d.p, deadletter.DrainOptions{})
		if !errors.Is(err, context.Canceled) || r.Succeeded != 1 || r.Untouched != 1 {
			t.Errorf("Drain = %v, %v; want cancelled, 1 succeeded, 1 untouched", r, err)
		}
		d.wantLetters("a", "2f")
		d.closeAny()
	})
}

func TestX8_ARecordedFailureIsNoInterruption(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		store := &flaky{Store: deadLetters(t, j, 2, "a"), left: map[string]int{"fail": 1}, calls: map[string]int{}, after: true}
		ctx, cancel := context.WithCancel(t.Context())
		store.how = func(context.Context) error { // the failure is in the store, and its answer on the way
			cancel()
			time.Sleep(time.Second)
			return nil
		}
		d := again(letterConfig{journal: j, store: store, handle: failing("a", 1).handle})
		r, err := deadletter.Drain(ctx, store, d.p, deadletter.DrainOptions{})
		if r.Failed != 1 || r.Interrupted != 0 || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Drain = %v, %v; want 1 failed", r, err)
		}
		if l := nthLetter(t, store, "a", 0); l.Redrives != 1 {
			t.Errorf("the letter has %d redrives, want 1", l.Redrives)
		}
		d.closeAny()
	})
}

func TestX8_AShutdownInterruptsADrain(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		j := &journal{}
		letters := deadLetters(t, j, 3, "a")
		d := startDepot(t, letterConfig{
			workers: workers, journal: j, store: letters, config: pipeline.Config{Grace: time.Minute},
			handle: func(ctx context.Context, c *call) error {
				if c.n == 2 {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			},
		})
		drained := make(chan error)
		go func() {
			r, err := deadletter.Drain(context.Background(), letters, d.p, deadletter.DrainOptions{})
			if r.Stopped != deadletter.StoppedTarget || r.Interrupted != 1 {
				t.Errorf("%v, want that the pipeline stopped it", r)
			}
			drained <- err
		}()
		time.Sleep(time.Second)
		err := d.run.Stop()
		if err := <-drained; !errors.Is(err, deadletter.ErrInterrupted) {
			t.Errorf("Drain = %v, want ErrInterrupted", err)
		}
		if us := unfinished(err); len(us) != 1 || us[0].Letter == "" {
			t.Errorf("Run = %v: %+v, want the letter in flight", err, us)
		}
		d.wantLetters("a", "2f 3f")
		if l := nthLetter(t, letters, "a", 0); l.Redrives != 0 || l.Attempts != 0 {
			t.Errorf("the letter has %d redrives and %d attempts, want none", l.Redrives, l.Attempts)
		}
		if r, err := deadletter.Drain(context.Background(), letters, d.p, deadletter.DrainOptions{}); !errors.Is(err, deadletter.ErrInterrupted) || r.Failed != 0 {
			t.Errorf("Drain after the end = %v, %v; want ErrInterrupted", r, err)
		}
	})
}

// A letter that has not begun is nobody's to wait for: neither a paused stage nor a busy lane keeps a
// cancelled drain.
func TestX8_CancellingDoesNotWaitForALaneToComeFree(t *testing.T) {
	for _, why := range []string{"the stage is paused", "the key is busy", "the workers are busy"} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				letters := deadLetters(t, j, 1, "a")
				d := startDepot(t, letterConfig{
					workers: 1, journal: j, store: letters, followers: deadletter.Continue,
					handle: func(_ context.Context, c *call) error {
						if c.n > 1 {
							time.Sleep(10 * time.Hour)
						}
						return nil
					},
				})
				switch why {
				case "the stage is paused":
					if err := d.p.Pause("work"); err != nil {
						t.Fatal(err)
					}
				case "the key is busy":
					d.publish("a", 2)
				case "the workers are busy":
					d.publish("b", 2)
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				r, err := deadletter.Drain(ctx, letters, d.p, deadletter.DrainOptions{})
				if took := time.Since(began); took > time.Hour {
					t.Errorf("it ended after %v, want after 1m", took)
				}
				if !errors.Is(err, context.DeadlineExceeded) || r.Interrupted != 1 {
					t.Errorf("Drain = %v, %v; want 1 interrupted by the deadline", r, err)
				}
				_ = d.p.Resume("work")
				time.Sleep(24 * time.Hour)
				if d.trace("a") != "1-" && d.trace("a") != "1- 2+" {
					t.Errorf("the calls for key a are %q: the letter ran after its drain had ended", d.trace("a"))
				}
				d.drainDry()
				d.close()
			})
		})
	}
}

// A redrive by hand at a paused stage leaves nothing behind in it: the next one would run the letter twice.
func TestX8_ADrainByHandOfAPausedStageLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		letters := deadLetters(t, j, 2, "a")
		d := newDepot(t, letterConfig{journal: j, store: letters})
		if err := d.p.Pause("work"); err != nil {
			t.Fatal(err)
		}
		claim, err := letters.Claim(t.Context(), deadletter.Sequence{Stage: "work", Key: "a"}, "me", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.p.Redrive(t.Context(), nthLetter(t, letters, "a", 0), claim); !errors.Is(err, deadletter.ErrInterrupted) {
			t.Errorf("Redrive = %v, want ErrInterrupted", err)
		}
		if err := letters.Release(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r, err := deadletter.Drain(t.Context(), letters, d.p, deadletter.DrainOptions{})
			if !errors.Is(err, deadletter.ErrInterrupted) || r.Interrupted != 1 {
				t.Errorf("Drain = %v, %v; want interrupted", r, err)
			}
		}
		if err := d.p.Resume("work"); err != nil {
			t.Fatal(err)
		}
		d.drainDry()
		d.wantTrace("a", "1- 1+r 2+r")
		d.closeAny()
	})
}

func TestX9_DiscardingTheLastHolderOpensTheKey(t *testing.T) {
	eachCount(t, func(t *testing.T, workers int) {
		f := failing("a", 1)
		d := startDepot(t, letterConfig{workers: workers, handle: f.handle})
		d.publish("a", 1, 2)
		d.settle()
		by := deadletter.Note{Who: "ann", Why: "the order was cancelled"}
		ls := lettersOf(t, d.letters, "a")
		if n, err := d.letters.Discard(t.Context(), ids(ls)[:1], by); n != 1 || err != nil {
			t.Fatalf("Discard = %d, %v", n, err)
		}
		d.publish("a", 3)
		d.settle()
		d.wantLetters("a", "2f 3f") // 2 still holds
		if n, err := d.letters.Discard(t.Context(), ids(lettersOf(t, d.letters, "a")), by); n != 2 || err != nil {
			t.Fatalf("Discard = %d, %v", n, err)
		}
		d.publish("a", 4)
		d.settle()
		d.wantTrace("a", "1- 4+")
		l, err := d.letters.Get(t.Context(), ls[0].ID)
		if err != nil || l.State != deadletter.Discarded || len(l.Notes) != 1 || l.Notes[0].Who != "ann" || l.Notes[0].Why == "" || l.Notes[0].At.IsZero() {
			t.Errorf("the letter is %+v, %v; want discarded by ann, with why", l, err)
		}
		if n, err := d.letters.Restore(t.Context(), []string{l.ID}, deadletter.Note{Who: "bob", Why: "it was not"}); n != 1 || err != nil {
			t.Fatalf("Restore = %d, %v", n, err)
		}
		f.mend()
		d.publish("a", 5)
		d.settle()
		d.wantLetters("a", "1 5f")
		d.drainDry()
		d.wantTrace("a", "1- 4+ 1+r 5+r")
		d.close()
	})
}

func TestX9_SkippingALetterLetsItsFollowersGo(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 3, "a")
		d := again(letterConfig{journal: j, store: letters, handle: failing("a", 1).handle})
		by := deadletter.Note{Who: "ann", Why: "skip"}
		if n, err := letters.Discard(t.Context(), ids(lettersOf(t, letters, "a"))[:1], by); n != 1 || err != nil {
			t.Fatalf("Discard = %d, %v", n, err)
		}
		d.drainDry()
		d.wantTrace("a", "1- 2+r 3+r")
		d.closeAny()
	})
}

func TestX9_EditAndRedriveOpensTheKey(t *testing.T) {
	eachTarget(t, func(t *testing.T, again func(letterConfig) *depot) {
		j := &journal{}
		letters := deadLetters(t, j, 1, "a")
		d := again(letterConfig{journal: j, store: letters, handle: failing("a", 1).handle})
		l := nthLetter(t, letters, "a", 0)
		if err := letters.Edit(t.Context(), l.ID, []byte(`{"Key":"a","N":77}`), deadletter.Note{Who: "ann", Why: "a typing error"}); err != nil {
			t.Fatal(err)
		}
		l, err := letters.Get(t.Context(), l.ID)
		if err != nil || string(l.Original) != `{"Key":"a","N":1}` || len(l.Notes) != 1 || l.Notes[0].Who != "ann" || l.Notes[0].Why != "a typing error" {
			t.Errorf("the letter is %+v, %v; want the first payload kept, and who and why", l, err)
		}
		d.drainDry()
		d.wantTrace("a", "1- 77+r")
		if c := d.of("work", "a"); c[1].meta.ID() != c[0].meta.ID() {
			t.Errorf("it was redriven as %s, want %s", c[1].meta.ID(), c[0].meta.ID())
		}
		if letters.MayHold("work", "a") {
			t.Error("the key is still held")
		}
		d.closeAny()
	})
}

// TestX8_ADrainThatBeginsBeforeTheRunGoesOn: the first letters are handled by the drain itself, the others by the
// workers, and none is interrupted because Run began between two of them.
func TestX8_ADrainThatBeginsBeforeTheRunGoesOn(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			letters := deadLetters(t, &journal{}, 50, "a", "b")
			d := newDepot(t, letterConfig{store: letters})
			report := make(chan deadletter.Report)
			go func() {
				r, err := deadletter.Drain(t.Context(), letters, d.p, deadletter.DrainOptions{Parallel: 2})
				if err != nil {
					t.Errorf("Drain = %v", err)
				}
				report <- r
			}()
			d.start()
			if r := <-report; r.Succeeded != 100 {
				t.Errorf("%v, want all 100 handled", r)
			}
			d.close()
		})
	}
}

// TestO8_ARedriveInAHandlerOfItsStageIsAnErrorNotADeadlock: the letter would wait for the worker, or for the goroutine,
// that waits for it. It stays a letter.
func TestO8_ARedriveInAHandlerOfItsStageIsAnErrorNotADeadlock(t *testing.T) {
	for _, runs := range []bool{true, false} {
		t.Run(fmt.Sprint("runs ", runs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				letters := deadLetters(t, &journal{}, 1, "a")
				var d *depot
				var refused error
				d = newDepot(t, letterConfig{store: letters, handle: func(ctx context.Context, _ *call) error {
					_, refused = deadletter.Drain(ctx, letters, d.p, deadletter.DrainOptions{})
					return nil
				}})
				d.publish("b", 1)
				if runs {
					d.start()
					d.settle()
				} else {
					pipelinetest.Drain(t, d.p)
				}
				if !errors.Is(refused, pipeline.ErrCycle) {
					t.Errorf("Drain in the handler = %v, want %v", refused, pipeline.ErrCycle)
				}
				d.wantTrace("b", "1+")
				d.wantLetters("a", "1")
			})
		})
	}
}

// TestS1_X8_ARedriveThatWaitsItsTurnIsDoneOrRefused when the pipeline comes to rest at that moment: it is not in
// flight where nobody waits for it.
func TestS1_X8_ARedriveThatWaitsItsTurnIsDoneOrRefused(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			j := &journal{}
			letters := deadLetters(t, j, 1, "a", "b", "c", "d")
			d := startDepot(t, letterConfig{journal: j, store: letters, handle: func(context.Context, *call) error {
				time.Sleep(time.Second)
				return nil
			}})
			drained := make(chan deadletter.Report)
			go func() {
				r, _ := deadletter.Drain(context.Background(), letters, d.p, deadletter.DrainOptions{Parallel: 4})
				drained <- r
			}()
			time.Sleep(time.Second / 2)
			if err := d.run.Stop(); err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			if r := <-drained; r.Succeeded == 0 || r.Succeeded+r.Interrupted+r.Untouched != 4 {
				t.Errorf("%v, want some redriven and the others left", r)
			}
		})
	}
}
