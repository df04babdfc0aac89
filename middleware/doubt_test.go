package middleware_test

import (
	"context"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

// The store has the letter and its answer was lost: the event is still in its lane, so a redrive of its letter
// would handle it before it is a dead letter, and again afterwards.
func TestFault41_ALetterIsNotRedrivenWhileItsEventIsInDoubt(t *testing.T) {
	for _, method := range []string{"Put", "Divert"} {
		k, s := newKeeper(), always(errBoom)
		h := lettered(k, s)
		number := "1"
		if method == "Divert" {
			settle(t, h, delivery("1", "ann"))
			number = "2"
		}
		k.fail[method], k.after = []error{errStore}, true
		d := delivery(number, "ann")
		_ = h(context.Background(), d) // parked: the store did not say that it has the letter
		if method == "Divert" {
			if n, err := k.Discard(context.Background(), []string{k.letters(t)[0].ID}, deadletter.Note{}); n != 1 || err != nil {
				t.Fatalf("Discard = %d, %v", n, err)
			}
		}
		calls := s.calls
		re := redelivery(t, k, number, "ann", 1)
		if err := h(context.Background(), re); err == nil || !strings.Contains(err.Error(), "still being stored") || s.calls != calls {
			t.Errorf("%s: a redrive in doubt = %v after %d calls, want it refused untried", method, err, s.calls-calls)
		}
		if l := k.letters(t); l[len(l)-1].Redrives != 0 {
			t.Errorf("%s: the refused redrive was counted", method)
		}
		settle(t, h, d)
		if _ = h(context.Background(), re); s.calls != calls+1 {
			t.Errorf("%s: once the event is stored its letter was not redriven", method)
		}
	}
}

// answering is a keeper that does something before it answers a Put that has worked.
type answering struct {
	*keeper
	before func()
}

func (a *answering) Put(ctx context.Context, l *deadletter.Letter) (deadletter.Receipt, error) {
	r, err := a.keeper.Put(ctx, l)
	a.before()
	return r, err
}

func TestFault41_ALetterIsNotRedrivenBeforeTheStoreHasAnswered(t *testing.T) {
	k, s := newKeeper(), always(errBoom)
	a := &answering{keeper: k}
	h := lettered(a, s)
	var re *stage.Delivery
	a.before = func() {
		a.before = func() {}
		re = redelivery(t, k, "1", "ann", 1)
		calls := s.calls
		v := stage.VerdictOf(h(context.Background(), re))
		if wantKind(t, v, stage.KindPostpone); s.calls != calls {
			t.Error("the letter was redriven while it was being stored")
		}
	}
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindStored)
	calls := s.calls
	if _ = h(context.Background(), re); s.calls != calls+1 {
		t.Error("once it was stored the letter was not redriven")
	}
}
