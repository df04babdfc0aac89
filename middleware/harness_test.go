package middleware_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

type order struct {
	Number   string
	Customer string
}

// delivery makes a live delivery of an order with a given identity, in its customer's lane.
func delivery(number, customer string) *stage.Delivery {
	return stage.NewDelivery("charge", event.Event[order]{
		Meta:    event.Meta{GivenID: number, Topic: "orders", Key: customer, Seq: 7, Origin: 9, Time: time.Unix(1000, 0)},
		Payload: order{number, customer},
	})
}

// script is a handler that returns one result a call, the last one for ever.
type script struct {
	results []error
	calls   int
}

func (s *script) handle(context.Context, *stage.Delivery) error {
	s.calls++
	if len(s.results) == 0 {
		return nil
	}
	return s.results[min(s.calls, len(s.results))-1]
}

func always(err error) *script { return &script{results: []error{err}} }

func results(errs ...error) *script { return &script{results: errs} }

// engine does with verdicts what a stage does, without lanes: it repeats what is parked.
type engine struct {
	runs   int
	delays []time.Duration
	parked []stage.Verdict
}

// settle runs d through h until it is settled, at most 100 times.
func (e *engine) settle(t testing.TB, ctx context.Context, h stage.Handler, d *stage.Delivery) (stage.Verdict, error) {
	t.Helper()
	for e.runs < 100 {
		e.runs++
		err := h(ctx, d)
		v := stage.VerdictOf(err)
		switch v.Kind {
		case stage.KindRetry:
			d.Attempt++
		case stage.KindPostpone:
		default:
			return v, err
		}
		if v.Delay < time.Millisecond {
			t.Fatalf("run %d asks for a delay of %v", e.runs, v.Delay)
		}
		e.delays = append(e.delays, v.Delay)
		e.parked = append(e.parked, v)
	}
	t.Fatal("the event is not settled after 100 runs")
	return stage.Verdict{}, nil
}

func settle(t testing.TB, h stage.Handler, d *stage.Delivery) stage.Verdict {
	t.Helper()
	v, _ := new(engine).settle(t, context.Background(), h, d)
	return v
}

// interrupted is a context that a shutdown has ended.
func interrupted() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stage.ErrShutdown)
	return ctx
}

// same reports whether a verdict came through as the very value it was.
func same(got, want error) bool { return got == want } //nolint:errorlint // identity is the point

func wantKind(t testing.TB, v stage.Verdict, want stage.Kind) {
	t.Helper()
	if v.Kind != want {
		t.Errorf("verdict kind %d (%+v), want %d", v.Kind, v, want)
	}
}

var (
	errBoom  = errors.New("boom")
	errStore = errors.New("store is down")
	quiet    = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// keeper is a deadletter.Memory whose calls fail as scripted.
type keeper struct {
	*deadletter.Memory
	fail  map[string][]error // by method, one a call; nil passes
	after bool               // the scripted error comes after the call has worked: its reply was lost
	calls map[string]int
	last  *deadletter.Letter
	fails []deadletter.Failure
}

func newKeeper() *keeper {
	return &keeper{Memory: deadletter.NewMemory(), fail: map[string][]error{}, calls: map[string]int{}}
}

func (k *keeper) scripted(method string, work func() error) error {
	k.calls[method]++
	var err error
	if s := k.fail[method]; len(s) > 0 {
		err, k.fail[method] = s[0], s[1:]
	}
	if err != nil && !k.after {
		return err
	}
	return errors.Join(work(), err)
}

func (k *keeper) Put(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, err error) {
	k.last = l
	err = k.scripted("Put", func() error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r, err = k.Memory.Put(ctx, l)
		return err
	})
	return r, err
}

func (k *keeper) Divert(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	k.last = l
	err = k.scripted("Divert", func() error { r, held, err = k.Memory.Divert(ctx, l); return err })
	return r, held, err
}

func (k *keeper) Resolve(ctx context.Context, c deadletter.Claim, id string) error {
	return k.scripted("Resolve", func() error { return k.Memory.Resolve(ctx, c, id) })
}

func (k *keeper) Fail(ctx context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	k.fails = append(k.fails, f)
	return k.scripted("Fail", func() error { return k.Memory.Fail(ctx, c, id, f) })
}

// letters reads all of the store.
func (k *keeper) letters(t testing.TB) (all []deadletter.Letter) {
	t.Helper()
	for l, err := range k.List(context.Background(), deadletter.Filter{}) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		all = append(all, l)
	}
	return all
}
