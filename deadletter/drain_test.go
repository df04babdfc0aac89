package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

var errBoom = errors.New("boom")

// put stores letters written as "key/event".
func put(t testing.TB, s deadletter.Store, names ...string) (ids []string) {
	t.Helper()
	for _, name := range names {
		key, event, _ := strings.Cut(name, "/")
		r, err := s.Put(context.Background(), &deadletter.Letter{
			Stage: "charge", Topic: "orders", Key: key, Ordered: true, Holds: true, EventID: event,
			Reason: deadletter.Exhausted, Error: "boom", Fingerprint: "f", Payload: []byte(event),
		})
		if err != nil {
			t.Fatalf("Put(%s) = %v", name, err)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func handled(target *deadlettertest.Target) (names []string) {
	for _, l := range target.History() {
		names = append(names, l.Key+"/"+l.EventID)
	}
	return names
}

func wantHandled(t *testing.T, target *deadlettertest.Target, want ...string) {
	t.Helper()
	if got := handled(target); !slices.Equal(got, want) {
		t.Errorf("redriven %q, want %q", got, want)
	}
}

// failing is a target that fails the events that are named.
func failing(s deadletter.Keeper, names ...string) *deadlettertest.Target {
	return deadlettertest.NewTarget(s, 0, func(_ context.Context, l deadletter.Letter) error {
		if slices.Contains(names, l.EventID) {
			return errBoom
		}
		return nil
	})
}

func drain(t *testing.T, s deadletter.Store, target deadletter.Target, o deadletter.DrainOptions) deadletter.Report {
	t.Helper()
	r, err := deadletter.Drain(t.Context(), s, target, o)
	if err != nil {
		t.Errorf("Drain = %v", err)
	}
	wantSum(t, r)
	return r
}

func wantSum(t *testing.T, r deadletter.Report) {
	t.Helper()
	if c := r.Counts; c.Selected != c.Succeeded+c.Failed+c.Skipped+c.Blocked+c.Interrupted+c.Untouched {
		t.Errorf("the counts do not add up: %+v", c)
	}
}

func wantCounts(t *testing.T, r deadletter.Report, stopped deadletter.Stopped, want deadletter.Counts) {
	t.Helper()
	if r.Counts != want || r.Stopped != stopped {
		t.Errorf("%+v, %s, want %+v, %s", r.Counts, r.Stopped, want, stopped)
	}
}

func claimable(t *testing.T, s deadletter.Store, key string) {
	t.Helper()
	c, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: key}, "another", time.Minute)
	if err != nil {
		t.Errorf("Claim after the drain = %v: its claim was not given back", err)
	}
	_ = s.Release(t.Context(), c)
}

func TestX1_NothingToDoIsNotAFailure(t *testing.T) {
	s := deadletter.NewMemory()
	r := drain(t, s, failing(s), deadletter.DrainOptions{})
	if !r.Empty() || r.String() != "nothing to do: no letter matches" || r.Remaining != 0 {
		t.Errorf("report of an empty store: %v", r)
	}
	put(t, s, "ann/1")
	if r = drain(t, s, failing(s), deadletter.DrainOptions{Filter: deadletter.Filter{Stage: "email"}}); !r.Empty() {
		t.Errorf("report of a filter that matches nothing: %v", r)
	}
	r = drain(t, s, failing(s, "1"), deadletter.DrainOptions{Who: "me", Why: "test"})
	if r.Empty() || r.Failed != 1 || r.Remaining != 1 || r.Failures[0].Error != "boom" || r.Who != "me" {
		t.Errorf("report of a failure: %+v", r)
	}
	if !strings.Contains(r.String(), "redrove 1 of 1 letter in ") || !strings.HasSuffix(r.String(), ": 1 failed; 1 remain; finished") {
		t.Errorf("report: %v", r)
	}
}

func TestX1_DryRunTouchesNothing(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "bob/2")
	r := drain(t, s, nil, deadletter.DrainOptions{DryRun: true})
	if r.Selected != 2 || r.Untouched != 2 || r.Reasons[deadletter.Exhausted] != 2 || r.Fingerprints["f"] != 2 || r.Remaining != 2 {
		t.Errorf("report: %+v", r)
	}
	if want := "dry run: 2 letters of 1 cause (2 exhausted)"; r.String() != want {
		t.Errorf("report: %q, want %q", r, want)
	}
}

func TestX1_LimitAndRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		put(t, s, "ann/1", "bob/2", "ann/3", "bob/4", "cid/5")
		target := failing(s)
		r := drain(t, s, target, deadletter.DrainOptions{Limit: 3, Rate: 2, Parallel: 2, Lease: time.Millisecond * 90})
		wantCounts(t, r, deadletter.StoppedLimit, deadletter.Counts{Selected: 5, Succeeded: 3, Untouched: 2})
		if r.Elapsed != time.Second || r.Remaining != 2 {
			t.Errorf("3 letters at 2 a second took %v, %d remain", r.Elapsed, r.Remaining)
		}
		r = drain(t, s, target, deadletter.DrainOptions{Limit: 2})
		wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Succeeded: 2})
	})
}

// TestX1_ARateOfAlmostNothingIsSlow: one letter in three hundred years is more than a duration can say.
func TestX1_ARateOfAlmostNothingIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		put(t, s, "ann/1", "bob/2", "cid/3")
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		target := failing(s)
		r, err := deadletter.Drain(ctx, s, target, deadletter.DrainOptions{Rate: 1e-10})
		if !errors.Is(err, context.DeadlineExceeded) || r.Succeeded != 1 {
			t.Errorf("Drain for a day = %v, %v, want one redriven", r, err)
		}
		wantHandled(t, target, "ann/1")
	})
}

func TestX2_AFailureStopsOnlyItsSequence(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "bob/2", "ann/3", "bob/4", "ann/5")
	target := failing(s, "3")
	r := drain(t, s, target, deadletter.DrainOptions{})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 5, Succeeded: 3, Failed: 1, Blocked: 1})
	wantHandled(t, target, "ann/1", "ann/3", "bob/2", "bob/4")
	r = drain(t, s, failing(s), deadletter.DrainOptions{})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Succeeded: 2})
}

func TestX2_NoLetterGoesPastOneThatWasNotSelected(t *testing.T) {
	s := deadletter.NewMemory()
	ids := put(t, s, "ann/1", "ann/2", "bob/3", "ann/4")
	target := failing(s)
	r := drain(t, s, target, deadletter.DrainOptions{Filter: deadletter.Filter{IDs: ids[1:]}})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 3, Succeeded: 1, Blocked: 2})
	wantHandled(t, target, "bob/3")
	r = drain(t, s, target, deadletter.DrainOptions{Filter: deadletter.Filter{IDs: []string{ids[0], ids[3]}}})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Succeeded: 1, Blocked: 1})
}

func TestX3_AClaimedSequenceIsSkipped(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "ann/2", "bob/3")
	if _, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: "ann"}, "another", time.Hour); err != nil {
		t.Fatal(err)
	}
	r := drain(t, s, failing(s), deadletter.DrainOptions{Owner: "another"})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 3, Succeeded: 1, Skipped: 2})
}

func TestX5_TheLeaseIsRenewedWhileTheHandlerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		put(t, s, "ann/1", "ann/2")
		slow := deadlettertest.NewTarget(s, 0, func(context.Context, deadletter.Letter) error {
			time.Sleep(time.Hour)
			return nil
		})
		var drains sync.WaitGroup
		defer drains.Wait()
		drains.Go(func() {
			r := drain(t, s, slow, deadletter.DrainOptions{Lease: 30 * time.Second})
			wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Succeeded: 2})
		})
		for range 100 {
			time.Sleep(time.Minute)
			if r := drain(t, s, failing(s), deadletter.DrainOptions{}); r.Skipped != r.Selected {
				t.Fatalf("another drain got in: %v", r)
			}
		}
	})
}

// stolen is a store whose claims another takes as soon as they are renewed.
type stolen struct{ *deadletter.Memory }

func (s stolen) Renew(ctx context.Context, c deadletter.Claim, lease time.Duration) error {
	if _, err := s.Claim(ctx, c.Sequence, c.Owner, lease); err != nil {
		return err
	}
	return s.Memory.Renew(ctx, c, lease)
}

func TestX5_ALostClaimInterruptsAndIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stolen{deadletter.NewMemory()}
		put(t, s, "ann/1", "ann/2", "bob/3")
		target := deadlettertest.NewTarget(s, 0, func(ctx context.Context, l deadletter.Letter) error {
			if l.Key == "ann" {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Hour):
					t.Error("the redrive was not interrupted")
				}
			}
			return nil
		})
		r := drain(t, s, target, deadletter.DrainOptions{})
		wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 3, Succeeded: 1, Skipped: 1, Interrupted: 1})
	})
}

func TestX7_ADrainTouchesALetterOnce(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "bob/2")
	more := 0
	target := deadlettertest.NewTarget(s, 0, func(context.Context, deadletter.Letter) error {
		more++
		put(t, s, fmt.Sprintf("ann/new-%d", more), fmt.Sprintf("cid/new-%d", more))
		return errBoom
	})
	r := drain(t, s, target, deadletter.DrainOptions{})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Failed: 2})
	wantHandled(t, target, "ann/1", "bob/2")
	if r.Remaining != 4 { // cid/new-2, ann/new-1 …: the same event ids under two keys are one letter
		t.Errorf("%d remain, want 4", r.Remaining)
	}
}

func TestX7_ASuccessThatResolvesNothingIsNotRepeated(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "ann/2")
	r := drain(t, s, redrive(func(context.Context, deadletter.Letter, deadletter.Claim) error { return nil }), deadletter.DrainOptions{})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Failed: 1, Blocked: 1})
	if !strings.Contains(r.Failures[0].Error, "did not resolve it") {
		t.Errorf("failure %+v", r.Failures[0])
	}
}

func TestX7_AQuarantinedLetterIsTakenByNameOnly(t *testing.T) {
	s := deadletter.NewMemory()
	ids := put(t, s, "ann/1", "ann/2")
	target := deadlettertest.NewTarget(s, 2, func(context.Context, deadletter.Letter) error { return errBoom })
	drain(t, s, target, deadletter.DrainOptions{})
	drain(t, s, target, deadletter.DrainOptions{})
	both := []deadletter.State{deadletter.Active, deadletter.Quarantined}
	r := drain(t, s, target, deadletter.DrainOptions{Filter: deadletter.Filter{States: both}})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 1, Blocked: 1})
	only := deadletter.Filter{States: []deadletter.State{deadletter.Discarded}}
	if r = drain(t, s, target, deadletter.DrainOptions{Filter: only}); !r.Empty() {
		t.Errorf("discarded letters were selected: %v", r)
	}
	r = drain(t, s, failing(s), deadletter.DrainOptions{Filter: deadletter.Filter{IDs: ids}})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Succeeded: 2})
}

func TestX8_CancellingStopsBetweenLettersAndCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		ids := put(t, s, "ann/1", "ann/2", "bob/3", "cid/4")
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the night is over")
		target := deadlettertest.NewTarget(s, 0, func(ctx context.Context, l deadletter.Letter) error {
			if l.EventID == "2" {
				cancel(why)
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		r, err := deadletter.Drain(ctx, s, target, deadletter.DrainOptions{})
		if !errors.Is(err, why) {
			t.Errorf("Drain = %v, want %v", err, why)
		}
		wantCounts(t, r, deadletter.StoppedCancelled, deadletter.Counts{Selected: 4, Succeeded: 1, Interrupted: 1, Untouched: 2})
		if r.Remaining != 3 {
			t.Errorf("%d remain, want 3", r.Remaining)
		}
		if l, err := s.Get(t.Context(), ids[1]); err != nil || l.Redrives != 0 || l.Attempts != 0 {
			t.Errorf("the letter on its way: %+v, %v", l, err)
		}
		claimable(t, s, "ann")
	})
}

func TestX8_CancellingEndsTheWaitForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := deadletter.NewMemory()
		put(t, s, "ann/1", "ann/2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := deadletter.Drain(ctx, s, failing(s), deadletter.DrainOptions{Rate: 1.0 / 3600})
		if !errors.Is(err, context.DeadlineExceeded) || r.Elapsed != time.Minute {
			t.Errorf("Drain = %v after %v", err, r.Elapsed)
		}
		wantCounts(t, r, deadletter.StoppedCancelled, deadletter.Counts{Selected: 2, Succeeded: 1, Untouched: 1})
	})
}

func TestX8_APipelineThatStopsEndsTheDrain(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "bob/2")
	target := deadlettertest.NewTarget(s, 0, func(context.Context, deadletter.Letter) error {
		return fmt.Errorf("shutdown: %w", deadletter.ErrInterrupted)
	})
	r, err := deadletter.Drain(t.Context(), s, target, deadletter.DrainOptions{})
	if !errors.Is(err, deadletter.ErrInterrupted) {
		t.Errorf("Drain = %v", err)
	}
	wantCounts(t, r, deadletter.StoppedTarget, deadletter.Counts{Selected: 2, Interrupted: 1, Untouched: 1})
}

func TestX9_WhoAndWhyAreNotedAndDiscardingOpensTheKey(t *testing.T) {
	s := deadletter.NewMemory()
	ids := put(t, s, "ann/1")
	drain(t, s, failing(s, "1"), deadletter.DrainOptions{Who: "ann", Why: "card service is back"})
	if err := s.Edit(t.Context(), ids[0], []byte("{}"), deadletter.Note{Who: "ann"}); err != nil {
		t.Errorf("Edit = %v", err)
	}
	if _, err := s.Discard(t.Context(), ids, deadletter.Note{Who: "bob", Why: "a test order"}); err != nil {
		t.Errorf("Discard = %v", err)
	}
	l, err := s.Get(t.Context(), ids[0])
	if err != nil || len(l.Notes) != 3 {
		t.Fatalf("notes = %v, %v", l.Notes, err)
	}
	for i, want := range []deadletter.Note{
		{What: "redrive", Who: "ann", Why: "card service is back"}, {What: "edit", Who: "ann"}, {What: "discard", Who: "bob", Why: "a test order"},
	} {
		got := l.Notes[i]
		if got.At.IsZero() || got.What != want.What || got.Who != want.Who || got.Why != want.Why {
			t.Errorf("note %d = %+v, want %+v", i, got, want)
		}
	}
	if s.MayHold("charge", "ann") {
		t.Error("the key is still held")
	}
}

// redrive is a target of one function.
type redrive func(context.Context, deadletter.Letter, deadletter.Claim) error

func (f redrive) Redrive(ctx context.Context, l deadletter.Letter, c deadletter.Claim) error {
	return f(ctx, l, c)
}

func TestDrainOutlivesAPanicOfItsTarget(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "bob/2")
	target := deadlettertest.NewTarget(s, 0, func(_ context.Context, l deadletter.Letter) error {
		if l.Key == "ann" {
			panic("boom")
		}
		return nil
	})
	r := drain(t, s, target, deadletter.DrainOptions{})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 2, Succeeded: 1, Failed: 1})
	claimable(t, s, "ann")
}

func TestDrainOutlivesATargetThatEndsItsGoroutine(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "bob/2")
	var sub testing.T
	target := redrive(func(context.Context, deadletter.Letter, deadletter.Claim) error { sub.FailNow(); return nil })
	r, err := deadletter.Drain(t.Context(), s, target, deadletter.DrainOptions{})
	if !errors.Is(err, deadletter.ErrInterrupted) || r.Untouched != 2 {
		t.Errorf("Drain = %v, %v", r, err)
	}
	claimable(t, s, "ann")
}

func TestAPanicOfProgressReachesTheCallerAndLosesNoClaim(t *testing.T) {
	s := deadletter.NewMemory()
	put(t, s, "ann/1", "ann/2", "bob/3", "bob/4")
	defer func() {
		if p := recover(); p != "progress" {
			t.Errorf("recovered %v", p)
		}
		claimable(t, s, "ann")
		claimable(t, s, "bob")
	}()
	first := redrive(func(context.Context, deadletter.Letter, deadletter.Claim) error { return errBoom })
	_, _ = deadletter.Drain(t.Context(), s, first, deadletter.DrainOptions{
		Parallel: 2, Progress: func(deadletter.Progress) { panic("progress") },
	})
	t.Error("Drain returned")
}

func TestProgressIsToldOfEachLetterOneAtATime(t *testing.T) {
	s := deadletter.NewMemory()
	for i := range 200 {
		put(t, s, fmt.Sprintf("key-%d/%d", i%20, i))
	}
	var inside atomic.Int32
	letters, untouched := 0, 200
	r := drain(t, s, failing(s), deadletter.DrainOptions{Parallel: 8, Progress: func(p deadletter.Progress) {
		if inside.Add(1) != 1 {
			t.Error("Progress is called twice at once")
		}
		defer inside.Add(-1)
		letters++
		untouched--
		if p.Letter == "" || p.Err != nil || p.Succeeded != letters || p.Untouched != untouched || p.Selected != 200 {
			t.Errorf("progress %+v", p)
		}
	}})
	if letters != 200 || r.Succeeded != 200 {
		t.Errorf("Progress was told of %d letters: %v", letters, r)
	}
}

// faulty is a store that fails where it is told to.
type faulty struct {
	*deadletter.Memory
	list, claim, head, groups error
}

func (f faulty) List(ctx context.Context, q deadletter.Filter) iter.Seq2[deadletter.Letter, error] {
	if f.list != nil {
		return func(yield func(deadletter.Letter, error) bool) { yield(deadletter.Letter{}, f.list) }
	}
	return f.Memory.List(ctx, q)
}

func (f faulty) Claim(ctx context.Context, s deadletter.Sequence, owner string, d time.Duration) (deadletter.Claim, error) {
	if f.claim != nil {
		return deadletter.Claim{}, f.claim
	}
	return f.Memory.Claim(ctx, s, owner, d)
}

func (f faulty) Head(ctx context.Context, c deadletter.Claim) (deadletter.Letter, error) {
	if f.head != nil {
		return deadletter.Letter{}, f.head
	}
	return f.Memory.Head(ctx, c)
}

func (f faulty) Groups(ctx context.Context, q deadletter.Filter) ([]deadletter.Group, error) {
	if f.groups != nil {
		return nil, f.groups
	}
	return f.Memory.Groups(ctx, q)
}

func TestDrainReportsAStoreThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		store     faulty
		err       error
		untouched int
		remaining int
	}{
		"at List":   {faulty{list: errBoom}, errBoom, 0, -1},
		"at Claim":  {faulty{claim: errBoom}, errBoom, 2, 2},
		"at Head":   {faulty{head: errBoom}, errBoom, 2, 2},
		"at Groups": {faulty{groups: errBoom}, nil, 0, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.store
			s.Memory = deadletter.NewMemory()
			put(t, s, "ann/1", "bob/2")
			r, err := deadletter.Drain(t.Context(), s, failing(s), deadletter.DrainOptions{})
			if !errors.Is(err, test.err) || r.Untouched != test.untouched || r.Remaining != test.remaining {
				t.Errorf("Drain = %+v, %v", r, err)
			}
			if err != nil && r.Stopped != deadletter.StoppedStore {
				t.Errorf("stopped: %s", r.Stopped)
			}
		})
	}
}

func TestALetterThatIsGoneIsSkipped(t *testing.T) {
	s := deadletter.NewMemory()
	ids := put(t, s, "ann/1", "ann/2", "ann/3", "bob/4")
	target := deadlettertest.NewTarget(s, 0, func(ctx context.Context, l deadletter.Letter) error {
		if l.EventID == "1" {
			_, err := s.Discard(ctx, []string{ids[1], ids[3]}, deadletter.Note{})
			return err
		}
		return nil
	})
	r := drain(t, s, target, deadletter.DrainOptions{})
	wantCounts(t, r, deadletter.StoppedFinished, deadletter.Counts{Selected: 4, Succeeded: 2, Skipped: 2})
	wantHandled(t, target, "ann/1", "ann/3")
}

func TestAFailureListIsBounded(t *testing.T) {
	s := deadletter.NewMemory()
	for i := range 150 {
		put(t, s, fmt.Sprintf("key-%d/%d", i, i))
	}
	target := redrive(func(context.Context, deadletter.Letter, deadletter.Claim) error { return deadletter.ErrNoStage })
	r := drain(t, s, target, deadletter.DrainOptions{})
	if r.Failed != 150 || len(r.Failures) != deadletter.MaxFailures {
		t.Errorf("%d failed, %d are listed", r.Failed, len(r.Failures))
	}
}

// rude is an error whose methods panic.
type rude struct{}

func (rude) Error() string   { panic("Error") }
func (rude) Is(error) bool   { panic("Is") }
func (rude) Unwrap() []error { panic("Unwrap") }

// TestDrain_AnErrorThatPanicsHasFailed, also when the drain is cancelled meanwhile.
func TestDrain_AnErrorThatPanicsHasFailed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := deadletter.NewMemory()
	put(t, s, "a/1", "a/2")
	target := deadlettertest.NewTarget(s, 0, func(context.Context, deadletter.Letter) error {
		cancel()
		return rude{}
	})
	r, _ := deadletter.Drain(ctx, s, target, deadletter.DrainOptions{})
	if r.Failed != 1 || r.Interrupted != 0 {
		t.Errorf("%+v, want one failed and none interrupted", r)
	}
}
