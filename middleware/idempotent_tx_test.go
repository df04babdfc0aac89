package middleware_test

import (
	"context"
	"errors"
	"testing"

	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// ledger is a store with a transaction: what is written in it lands in rows when it commits.
type ledger struct {
	*memory
	rows   []string
	commit []error // one a commit; nil passes
	after  bool    // the error comes after the commit: its reply was lost
}

type txKey struct{}

func (l *ledger) InTx(ctx context.Context, c idempotency.Claim, f func(context.Context) error) error {
	var tx []string
	if err := f(context.WithValue(ctx, txKey{}, &tx)); err != nil {
		return err
	}
	var err error
	if len(l.commit) > 0 {
		err, l.commit = l.commit[0], l.commit[1:]
	}
	if err != nil && !l.after {
		return err
	}
	if lost := l.Memory.Confirm(ctx, c); lost != nil {
		return lost
	}
	l.rows = append(l.rows, tx...)
	return err
}

// writing is a handler that writes a row and then returns what s does.
func writing(s *script) stage.Handler {
	return func(ctx context.Context, d *stage.Delivery) error {
		tx := ctx.Value(txKey{}).(*[]string)
		*tx = append(*tx, d.ID())
		return s.handle(ctx, d)
	}
}

func transacted(l *ledger, s *script) stage.Handler {
	return stage.Chain(writing(s), idempotent(l, middleware.InTx()), middleware.Retry(middleware.Exponential{}))
}

func (l *ledger) want(t *testing.T, rows int, state idempotency.State) {
	t.Helper()
	if len(l.rows) != rows || l.state() != state {
		t.Errorf("%d rows and state %d, want %d and %d", len(l.rows), l.state(), rows, state)
	}
}

func TestI4_TheMarkCommitsWithTheEffect(t *testing.T) {
	for _, verdict := range []error{nil, stage.Skip("old")} {
		l := &ledger{memory: newMemory()}
		if v := settle(t, transacted(l, always(verdict)), delivery("1", "ann")); v != stage.VerdictOf(verdict) {
			t.Errorf("verdict %+v, want the handler's", v)
		}
		l.want(t, 1, idempotency.Done)
		if l.calls["Confirm"] != 0 {
			t.Error("the mark was made outside of the transaction")
		}
	}
}

func TestI4_AFailedAttemptLeavesNoEffect(t *testing.T) {
	s, l := results(errBoom, errBoom, nil), &ledger{memory: newMemory()}
	d := delivery("1", "ann")
	wantKind(t, settle(t, transacted(l, s), d), stage.KindDone)
	if s.calls != 3 || d.Attempt != 3 {
		t.Errorf("%d calls, attempt %d, want 3 of both", s.calls, d.Attempt)
	}
	l.want(t, 1, idempotency.Done)

	l = &ledger{memory: newMemory()}
	wantKind(t, settle(t, transacted(l, always(stage.Permanent(errBoom))), delivery("1", "ann")), stage.KindPermanent)
	l.want(t, 0, idempotency.Claimed)
}

func TestI4_ACommitThatFailsRunsTheHandlerAgainAndCountsNoAttempt(t *testing.T) {
	s, l := results(), &ledger{memory: newMemory(), commit: []error{errStore, errStore}}
	d := delivery("1", "ann")
	wantKind(t, settle(t, transacted(l, s), d), stage.KindDone)
	if s.calls != 3 || d.Attempt != 1 {
		t.Errorf("%d calls, attempt %d, want 3 and 1", s.calls, d.Attempt)
	}
	l.want(t, 1, idempotency.Done)
}

func TestI4_ACommitWhoseReplyWasLostIsNotRepeated(t *testing.T) {
	s, l := results(), &ledger{memory: newMemory(), commit: []error{errStore}, after: true}
	v := settle(t, transacted(l, s), delivery("1", "ann"))
	if v.Reason != stage.ReasonDuplicate || s.calls != 1 {
		t.Errorf("%+v after %d calls, want that the store knows it as done", v, s.calls)
	}
	l.want(t, 1, idempotency.Done)
}

func TestI4_APanicLeavesNoEffectAndNoClaim(t *testing.T) {
	l := &ledger{memory: newMemory()}
	h := stage.Chain(writing(&script{results: []error{nil}}), idempotent(l, middleware.InTx()),
		stage.Middleware{Name: "bomb", Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error { _ = next(ctx, d); panic("boom") }
		}})
	func() {
		defer func() { _ = recover() }()
		_ = h(context.Background(), delivery("1", "ann"))
	}()
	l.want(t, 0, idempotency.Claimed)
}

func TestR4_ATransactionThatAShutdownEndedIsPassedOn(t *testing.T) {
	l := &ledger{memory: newMemory(), commit: []error{errStore}}
	err := transacted(l, results())(interrupted(), delivery("1", "ann"))
	if !errors.Is(err, errStore) || stage.VerdictOf(err).Kind != stage.KindFailed {
		t.Errorf("verdict %v, want the error", err)
	}
	l.want(t, 0, idempotency.Claimed)
}

func TestInTxNeedsAStoreThatCan(t *testing.T) {
	for _, m := range []stage.Middleware{
		idempotent(newMemory(), middleware.InTx()),
		idempotent(&ledger{memory: newMemory()}, middleware.InTx(), middleware.FailOpen()),
	} {
		if m.Fault == nil {
			t.Errorf("%s: no fault", m.Promise)
		}
	}
	if m := idempotent(&ledger{memory: newMemory()}, middleware.InTx()); m.Fault != nil {
		t.Error(m.Fault)
	}
}

// driver is a ledger whose transactions panic as often as told, before or after their work.
type driver struct {
	*ledger
	before, after int
}

func (x *driver) InTx(ctx context.Context, c idempotency.Claim, f func(context.Context) error) error {
	if x.before--; x.before >= 0 {
		panic("the driver")
	}
	return x.ledger.InTx(ctx, c, func(ctx context.Context) error {
		err := f(ctx)
		if x.after--; x.after >= 0 {
			panic("the driver")
		}
		return err
	})
}

func TestFault31_ATransactionThatPanicsHasFailed(t *testing.T) {
	for name, c := range map[string]struct{ before, after, calls int }{
		"before the handler": {4, 0, 1}, "after the handler": {0, 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			s, l, k := results(), &ledger{memory: newMemory()}, newKeeper()
			h := stage.Chain(writing(s), middleware.DeadLetter(k), idempotent(&driver{l, c.before, c.after}, middleware.InTx()),
				middleware.Retry(middleware.Constant{Attempts: 1}), middleware.Recover())
			d := delivery("1", "ann")
			wantKind(t, settle(t, h, d), stage.KindDone)
			if s.calls != c.calls || d.Attempt != 1 || len(k.letters(t)) != 0 {
				t.Errorf("%d calls, attempt %d, %d letters; want %d, 1 and none", s.calls, d.Attempt, len(k.letters(t)), c.calls)
			}
			l.want(t, 1, idempotency.Done)
		})
	}
}
