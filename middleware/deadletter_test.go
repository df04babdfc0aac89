package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func lettered(k deadletter.Keeper, s *script, opts ...middleware.DeadLetterOption) stage.Handler {
	return stage.Chain(s.handle, middleware.DeadLetter(k, append(opts, middleware.WithLogger(quiet))...))
}

func TestD2_AFailureIsStoredBeforeItSettles(t *testing.T) {
	for _, failure := range []error{errBoom, stage.Permanent(errBoom), context.Canceled} {
		k := newKeeper()
		v := settle(t, lettered(k, always(failure)), delivery("1", "ann"))
		wantKind(t, v, stage.KindStored)
		all := k.letters(t)
		if len(all) != 1 || all[0].ID != v.Letter || all[0].EventID != "1" || !all[0].Holds {
			t.Fatalf("verdict %+v, letters %+v", v, all)
		}
		if !errors.Is(v.Cause, failure) {
			t.Errorf("the cause %v is not the failure", v.Cause)
		}
	}
}

func TestDeadLetterPassesOnWhatIsNoFailure(t *testing.T) {
	for _, err := range []error{
		nil, stage.Skip("old"), stage.RetryAfter(time.Second, errBoom), stage.Postpone(time.Second, errBoom),
		stage.Hold(errBoom), stage.Halt(errBoom), stage.Stored("l", errBoom), stage.Diverted("l"),
	} {
		k := newKeeper()
		if got := lettered(k, always(err))(context.Background(), delivery("1", "ann")); !same(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		if n := len(k.letters(t)); n != 0 {
			t.Errorf("%v made %d letters", err, n)
		}
	}
}

func TestR4_WhatAShutdownInterruptedMakesNoLetter(t *testing.T) {
	for _, err := range []error{errBoom, context.Canceled, stage.Permanent(errBoom)} {
		k := newKeeper()
		if got := lettered(k, always(err))(interrupted(), delivery("1", "ann")); !same(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		if n := len(k.letters(t)); n != 0 {
			t.Errorf("%v made %d letters", err, n)
		}
	}
}

func TestR4_AFollowerIsNotDivertedDuringAShutdown(t *testing.T) {
	k, s := newKeeper(), results(errBoom)
	h := lettered(k, s)
	settle(t, h, delivery("1", "ann"))
	err := h(interrupted(), delivery("2", "ann"))
	if v := stage.VerdictOf(err); v.Kind != stage.KindFailed || k.calls["Divert"] != 0 || s.calls != 1 {
		t.Errorf("verdict %+v, %d diverts, %d calls", v, k.calls["Divert"], s.calls)
	}
}

func TestD3_ParkDivertsFollowersOfTheKeyUntried(t *testing.T) {
	k, s := newKeeper(), results(errBoom, nil)
	h := lettered(k, s)
	head := settle(t, h, delivery("1", "ann"))
	follower := settle(t, h, delivery("2", "ann"))
	wantKind(t, follower, stage.KindDiverted)
	if s.calls != 1 {
		t.Errorf("%d calls: the follower was tried", s.calls)
	}
	wantKind(t, settle(t, h, delivery("3", "bob")), stage.KindDone)
	all := k.letters(t)
	if len(all) != 2 || all[0].ID != head.Letter || all[1].ID != follower.Letter || !all[1].Follower {
		t.Fatalf("letters %+v", all)
	}
	if f := all[1]; f.Reason != deadletter.Follows || f.Fingerprint != all[0].Fingerprint || f.Attempts != 0 {
		t.Errorf("the follower %+v, want the head's fingerprint and no attempt", f)
	}
}

func TestD3_ContinueRunsFollowers(t *testing.T) {
	k, s := newKeeper(), results(errBoom, nil)
	h := lettered(k, s, middleware.WithPolicy(deadletter.Continue))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindStored)
	wantKind(t, settle(t, h, delivery("2", "ann")), stage.KindDone)
	if k.letters(t)[0].Holds {
		t.Error("the letter holds its key")
	}
}

func TestD3_BlockHoldsTheKeyAndHaltStageStops(t *testing.T) {
	for policy, want := range map[deadletter.Policy]stage.Kind{
		deadletter.Block: stage.KindHold, deadletter.HaltStage: stage.KindHalt,
	} {
		for _, failure := range []error{errBoom, stage.Permanent(errBoom)} {
			k := newKeeper()
			v := settle(t, lettered(k, always(failure), middleware.WithPolicy(policy)), delivery("1", "ann"))
			wantKind(t, v, want)
			if len(k.letters(t)) != 0 || !errors.Is(v.Cause, errBoom) {
				t.Errorf("%s: %d letters, cause %v", policy, len(k.letters(t)), v.Cause)
			}
		}
	}
}

func TestD3_EventsWithoutAnOrderHaveNoFollowers(t *testing.T) {
	for policy, want := range map[deadletter.Policy]stage.Kind{
		deadletter.Park: stage.KindStored, deadletter.Block: stage.KindStored, deadletter.HaltStage: stage.KindHalt,
	} {
		k, s := newKeeper(), always(errBoom)
		h := lettered(k, s, middleware.WithPolicy(policy))
		for range 2 {
			d := stage.NewDelivery("charge", event.Event[order]{Meta: event.Meta{Seq: uint64(s.calls + 1)}})
			wantKind(t, settle(t, h, d), want)
		}
		for _, l := range k.letters(t) {
			if l.Holds || l.Ordered {
				t.Errorf("%s: letter %+v holds a sequence", policy, l)
			}
		}
	}
}

func TestD2_AStoreThatFailsDelaysTheLetterAndNeverTheHandlerAgain(t *testing.T) {
	for _, lost := range []bool{false, true} { // whether it was stored, and only the reply was lost
		k, s := newKeeper(), always(errBoom)
		k.fail["Put"], k.after = []error{errStore, errStore, errStore, errStore}, lost
		var e engine
		d := delivery("1", "ann")
		v, _ := e.settle(t, context.Background(), lettered(k, s), d)
		wantKind(t, v, stage.KindStored)
		if s.calls != 1 || d.Attempt != 1 || len(k.letters(t)) != 1 || !errors.Is(v.Cause, errBoom) {
			t.Errorf("%d calls, attempt %d, %d letters, cause %v", s.calls, d.Attempt, len(k.letters(t)), v.Cause)
		}
		if e.delays[3] < 2*e.delays[0] {
			t.Errorf("delays %v do not grow", e.delays)
		}
		for _, p := range e.parked {
			if !errors.Is(p.Cause, errStore) || !strings.Contains(p.Cause.Error(), "boom") {
				t.Errorf("postponed because of %v, want the store's error and the failure", p.Cause)
			}
		}
	}
}

func TestD2_AStoreThatPanicsHasFailed(t *testing.T) {
	v := stage.VerdictOf(lettered(brokenKeeper{}, always(errBoom))(context.Background(), delivery("1", "ann")))
	wantKind(t, v, stage.KindPostpone)
}

type brokenKeeper struct{ deadletter.Keeper }

func (brokenKeeper) MayHold(string, string) bool { return false }

func TestFault41_AShutdownDoesNotEndAPut(t *testing.T) {
	k := newKeeper()
	ctx, cancel := context.WithCancel(context.Background())
	h := stage.Chain(func(context.Context, *stage.Delivery) error { cancel(); return errBoom }, middleware.DeadLetter(k))
	wantKind(t, stage.VerdictOf(h(ctx, delivery("1", "ann"))), stage.KindStored)
}

func TestALetterPutEarlierMakesTheEventADuplicate(t *testing.T) {
	k, s := newKeeper(), always(errBoom)
	h := lettered(k, s, middleware.WithPolicy(deadletter.Continue))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindStored)
	if v := settle(t, h, delivery("1", "ann")); v.Reason != stage.ReasonDuplicate || len(k.letters(t)) != 1 {
		t.Errorf("again: %+v, want a duplicate", v)
	}
	k, s = newKeeper(), always(errBoom)
	h = lettered(k, s)
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindStored)
	if v := settle(t, h, delivery("1", "ann")); v.Reason != stage.ReasonDuplicate || s.calls != 1 {
		t.Errorf("again under Park: %+v after %d calls, want an untried duplicate", v, s.calls)
	}
}

func TestD4_ADivertThatFailsLeavesTheEventUnharmed(t *testing.T) {
	for _, lost := range []bool{false, true} {
		k, s := newKeeper(), results(errBoom, nil)
		h := lettered(k, s)
		settle(t, h, delivery("1", "ann"))
		k.fail["Divert"], k.after = []error{errStore, errStore}, lost
		d := delivery("2", "ann")
		v := settle(t, h, d)
		wantKind(t, v, stage.KindDiverted)
		if s.calls != 1 || d.Attempt != 1 || len(k.letters(t)) != 2 {
			t.Errorf("%d calls, attempt %d, %d letters, want 1, 1, 2", s.calls, d.Attempt, len(k.letters(t)))
		}
	}
}

func TestD4_AnEventWhoseSequenceOpenedMeanwhileRuns(t *testing.T) {
	k, s := newKeeper(), results(errBoom, stage.RetryAfter(time.Second, errBoom), nil)
	h := lettered(k, s)
	head := settle(t, h, delivery("1", "ann"))
	k.fail["Divert"] = []error{errStore}
	d := delivery("2", "ann")
	wantKind(t, stage.VerdictOf(h(context.Background(), d)), stage.KindPostpone)
	if n, err := k.Purge(context.Background(), deadletter.Filter{IDs: []string{head.Letter}}); n != 1 || err != nil {
		t.Fatalf("Purge = %d, %v", n, err)
	}
	wantKind(t, settle(t, h, d), stage.KindDone)
	if s.calls != 3 || k.calls["Divert"] != 2 {
		t.Errorf("%d calls and %d diverts, want the second event to run, twice, and no more diverts", s.calls, k.calls["Divert"])
	}
}

func TestD4_AMayHoldThatIsWrongLetsTheEventRun(t *testing.T) {
	k := newKeeper()
	v := settle(t, lettered(suspicious{k}, results()), delivery("1", "ann"))
	wantKind(t, v, stage.KindDone)
	if k.calls["Divert"] != 1 {
		t.Errorf("%d diverts, want 1 that says the sequence is open", k.calls["Divert"])
	}
}

type suspicious struct{ *keeper }

func (suspicious) MayHold(string, string) bool { return true }

func TestD6_AFullSequenceKeepsItsKeyWaitingAndSaysSoOnce(t *testing.T) {
	for _, full := range []error{deadletter.ErrSequenceFull, deadletter.ErrFull} {
		k := newKeeper()
		k.fail["Put"] = []error{full, full, full}
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		h := stage.Chain(always(errBoom).handle, middleware.DeadLetter(k, middleware.WithLogger(log)))
		var e engine
		v, _ := e.settle(t, context.Background(), h, delivery("1", "ann"))
		wantKind(t, v, stage.KindStored)
		if e.runs != 4 || strings.Count(out.String(), "level=WARN") != 1 || !strings.Contains(out.String(), "key=ann") {
			t.Errorf("%d runs and log %q, want 4 and one warning", e.runs, out.String())
		}
	}
}

func TestFault39_AStoreThatFailsForSecondsIsToldOfOnceAnEvent(t *testing.T) {
	for failures, want := range map[int]int{5: 0, 20: 1} {
		k := newKeeper()
		k.fail["Put"] = slices.Repeat([]error{errStore}, failures)
		var out bytes.Buffer
		h := stage.Chain(always(errBoom).handle, middleware.DeadLetter(k, middleware.WithLogger(slog.New(slog.NewTextHandler(&out, nil)))))
		var e engine
		v, _ := e.settle(t, context.Background(), h, delivery("1", "ann"))
		wantKind(t, v, stage.KindStored)
		if n := strings.Count(out.String(), "level=WARN"); n != want || n > 0 && !strings.Contains(out.String(), "key=ann") {
			t.Errorf("after %d failures the log has %d warnings, want %d: %s", failures, n, want, out.String())
		}
	}
}

func TestFault43_ALetterTooLargeIsCutAndThenHeld(t *testing.T) {
	k, s := newKeeper(), always(&stage.PanicError{Value: "x", Stack: []byte("stack")})
	k.fail["Put"] = []error{deadletter.ErrTooLarge}
	wantKind(t, settle(t, lettered(k, s), delivery("1", "ann")), stage.KindStored)
	if l := k.letters(t)[0]; l.Stack != "" || l.Causes != nil || len(l.Payload) == 0 || l.Error != "panic: x" {
		t.Errorf("the letter %+v, want it without stack and causes", l)
	}
	k, s = newKeeper(), always(errBoom)
	k.fail["Put"] = []error{deadletter.ErrTooLarge, deadletter.ErrTooLarge}
	v := settle(t, lettered(k, s), delivery("1", "ann"))
	wantKind(t, v, stage.KindHold)
	if s.calls != 1 || !errors.Is(v.Cause, deadletter.ErrTooLarge) || !strings.Contains(v.Cause.Error(), "boom") {
		t.Errorf("held after %d calls because of %v, want 1, the store's error and the failure", s.calls, v.Cause)
	}
}

func TestADeadLetteredEventHasReleasedItsClaim(t *testing.T) {
	k, s, m := newKeeper(), results(errBoom, nil), newMemory()
	h := stage.Chain(s.handle, middleware.DeadLetter(k), idempotent(m), middleware.Retry(middleware.Constant{Attempts: 1}))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindStored)
	if m.state() != idempotency.Claimed {
		t.Fatal("the claim is still there")
	}
	d := redelivery(t, k, "1", "ann", 1)
	wantKind(t, settle(t, h, d), stage.KindDone)
	if s.calls != 2 || len(k.letters(t)) != 0 || m.state() != idempotency.Done {
		t.Errorf("%d calls, %d letters: the redrive was taken for a duplicate", s.calls, len(k.letters(t)))
	}
}
