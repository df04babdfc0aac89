package middleware_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// redelivery is the letter at the head of a customer's sequence on its way back.
func redelivery(t *testing.T, k *keeper, number, customer string, count int) *stage.Delivery {
	t.Helper()
	ctx := context.Background()
	c, err := k.Claim(ctx, deadletter.Sequence{Stage: "charge", Key: customer}, "drainer", time.Minute)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	l, err := k.Head(ctx, c)
	if err != nil || l.EventID != number {
		t.Fatalf("Head = %s, %v, want %s", l.EventID, err, number)
	}
	d := delivery(number, customer)
	d.Redrive = &stage.Redrive{Letter: l.ID, Claim: c, Count: count}
	return d
}

// dead is a store with the letter of order 1 of ann, and the way back in.
func dead(t *testing.T, s *script, opts ...middleware.DeadLetterOption) (*keeper, stage.Handler, *stage.Delivery) {
	t.Helper()
	k := newKeeper()
	settle(t, lettered(k, always(errBoom)), delivery("1", "ann"))
	return k, lettered(k, s, opts...), redelivery(t, k, "1", "ann", 1)
}

func TestX5_ALetterIsRemovedAfterSuccessOnly(t *testing.T) {
	for _, success := range []error{nil, stage.Skip("old")} {
		k, h, d := dead(t, always(success))
		if err := h(context.Background(), d); !same(err, success) {
			t.Errorf("verdict %v, want the handler's %v", err, success)
		}
		if len(k.letters(t)) != 0 || k.MayHold("charge", "ann") {
			t.Error("the letter is still there, or holds")
		}
	}
	for _, other := range []error{stage.RetryAfter(time.Second, errBoom), stage.Postpone(time.Second, errBoom), stage.Halt(errBoom)} {
		k, h, d := dead(t, always(other))
		if err := h(context.Background(), d); !same(err, other) || len(k.letters(t)) != 1 || k.calls["Fail"] != 0 {
			t.Errorf("%v became %v", other, err)
		}
	}
}

func TestX2_ARedriveThatFailsUpdatesItsLetterInItsPlace(t *testing.T) {
	k, h, d := dead(t, always(stage.Permanent(errors.New("worse"))))
	v := settle(t, h, d)
	all := k.letters(t)
	if v.Kind != stage.KindStored || len(all) != 1 || v.Letter != all[0].ID {
		t.Fatalf("verdict %+v, letters %+v", v, all)
	}
	l := all[0]
	if l.Redrives != 1 || l.Attempts != 2 || l.Error != "worse" || l.Reason != deadletter.Permanent || len(l.History) != 2 {
		t.Errorf("the letter %+v, want the new cause, two attempts and their history", l)
	}
	if l.State != deadletter.Active || !l.Holds {
		t.Errorf("state %s, holds %v", l.State, l.Holds)
	}
}

func TestX3_ARedrivenLetterIsNotDivertedBehindItself(t *testing.T) {
	k, h, d := dead(t, results())
	wantKind(t, settle(t, h, d), stage.KindDone)
	if k.calls["Divert"] != 0 {
		t.Error("the store was asked to divert it")
	}
}

func TestX7_MaxRedrivesQuarantines(t *testing.T) {
	for _, c := range []struct {
		max, count int
		want       bool
	}{{3, 2, false}, {3, 3, true}, {3, 4, true}, {0, 1000, false}, {1, 1, true}} {
		k, h, d := dead(t, always(errBoom), middleware.MaxRedrives(c.max))
		d.Redrive.Count = c.count
		settle(t, h, d)
		if k.fails[0].Quarantine != c.want {
			t.Errorf("redrive %d of at most %d: quarantine %v", c.count, c.max, !c.want)
		}
	}
	k, h, d := dead(t, always(errBoom))
	d.Redrive.Count = middleware.DefaultMaxRedrives
	settle(t, h, d)
	if !k.fails[0].Quarantine {
		t.Error("the default does not quarantine")
	}
}

func TestX8_AnInterruptedRedriveChangesNothing(t *testing.T) {
	k, h, d := dead(t, always(context.Canceled))
	if err := h(interrupted(), d); !same(err, context.Canceled) {
		t.Errorf("verdict %v, want the error as it is", err)
	}
	if l := k.letters(t)[0]; l.Redrives != 0 || l.Attempts != 1 {
		t.Errorf("the letter counted it: %+v", l)
	}
}

func TestX5_WhatTheStoreDidNotRecordIsRecordedLaterWithoutTheHandler(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := results()
		k, h, d := dead(t, s)
		k.fail["Resolve"], k.after = []error{errStore, errStore}, lost
		wantKind(t, settle(t, h, d), stage.KindDone)
		if s.calls != 1 || d.Attempt != 1 || len(k.letters(t)) != 0 {
			t.Errorf("%d calls, attempt %d, %d letters", s.calls, d.Attempt, len(k.letters(t)))
		}
	}
	s := always(errBoom)
	k, h, d := dead(t, s)
	k.fail["Fail"] = []error{errStore, deadletter.ErrTooLarge}
	v := settle(t, h, d)
	if v.Kind != stage.KindStored || s.calls != 1 || !errors.Is(v.Cause, errBoom) || k.letters(t)[0].Redrives != 1 {
		t.Errorf("verdict %+v after %d calls", v, s.calls)
	}
}

func TestALostClaimChangesNoLetter(t *testing.T) {
	for _, c := range []struct {
		result error
		want   stage.Kind
	}{{nil, stage.KindDone}, {errBoom, stage.KindStored}} {
		k, h, d := dead(t, always(c.result))
		if err := k.Release(context.Background(), d.Redrive.Claim.(deadletter.Claim)); err != nil {
			t.Fatal(err)
		}
		redelivery(t, k, "1", "ann", 1) // another drainer has it now
		wantKind(t, settle(t, h, d), c.want)
		if l := k.letters(t)[0]; l.Redrives != 0 {
			t.Errorf("the letter was changed with a lost claim: %+v", l)
		}
	}
}

func TestALetterPurgedWhileItRanIsGone(t *testing.T) {
	for _, c := range []struct {
		result error
		want   stage.Kind
	}{{nil, stage.KindDone}, {errBoom, stage.KindFailed}} {
		k, h, d := dead(t, always(c.result))
		k.fail["Resolve"], k.fail["Fail"] = []error{deadletter.ErrNotFound}, []error{deadletter.ErrNotFound}
		wantKind(t, settle(t, h, d), c.want)
	}
}

func TestARedriveWithoutAClaimIsRefusedUntried(t *testing.T) {
	s := results()
	_, h, d := dead(t, s)
	d.Redrive.Claim = nil
	wantKind(t, settle(t, h, d), stage.KindFailed)
	if s.calls != 0 {
		t.Error("the handler ran for a letter that cannot be settled")
	}
}
