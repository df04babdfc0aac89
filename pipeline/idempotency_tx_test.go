package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// book is a store with a transaction: what is written in it is in rows once it is committed.
type book struct {
	*idempotency.Memory
	mu     sync.Mutex
	rows   []string
	commit []error // of each commit, in order
	stands bool    // a commit that fails has happened: its answer was lost
}

type pageKey struct{}

func (b *book) InTx(ctx context.Context, c idempotency.Claim, f func(context.Context) error) error {
	var page []string
	if err := f(context.WithValue(ctx, pageKey{}, &page)); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	if len(b.commit) > 0 {
		err, b.commit = b.commit[0], b.commit[1:]
	}
	if err != nil && !b.stands {
		return err
	}
	if lost := b.Confirm(ctx, c); lost != nil {
		return lost
	}
	b.rows = append(b.rows, page...)
	return err
}

func (b *book) written() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rows)
}

type bill struct{ Number string }

var (
	bills    = event.NewTopic("bills", event.IDBy(func(b bill) string { return b.Number }))
	receipts = event.NewTopic("receipts", event.IDBy(func(b bill) string { return b.Number }))
)

// till is a pipeline whose first stage writes a row and emits some events for each, which the second one has.
type till struct {
	book  *book
	emits string             // letters that it adds to the number, one for each
	shuts *deadletter.Memory // gets a letter that holds the first stage while it handles
	calls int
	got   []string
	p     *pipeline.Pipeline
}

// run publishes a bill, and another time, and waits until nothing is left.
func (x *till) run(t *testing.T, opts ...stage.Option) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	p := pipeline.New(pipeline.Config{Logger: quiet})
	x.p = p
	var pay []stage.Option
	if x.shuts != nil {
		pay = []stage.Option{stage.WithOrder(stage.Serial)}
		p.Use(middleware.DeadLetter(x.shuts))
	}
	p.Use(middleware.Idempotent(x.book, middleware.InTx(), middleware.WithLogger(quiet)), middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Second}))
	p.Add(
		stage.Expand(bills, "pay", receipts, func(ctx context.Context, e event.Event[bill]) ([]bill, error) {
			x.calls++
			if x.shuts != nil {
				if _, err := x.shuts.Put(ctx, &deadletter.Letter{Stage: "pay", EventID: "0", Ordered: true, Holds: true}); err != nil {
					t.Error(err)
				}
			}
			page := ctx.Value(pageKey{}).(*[]string)
			*page = append(*page, e.Payload.Number)
			var out []bill
			for _, letter := range x.emits {
				out = append(out, bill{e.Payload.Number + string(letter)})
			}
			return out, nil
		}, append(pay, stage.Workers(1))...),
		stage.Handle(receipts, "print", func(_ context.Context, e event.Event[bill]) error {
			if len(x.book.written()) == 0 {
				t.Errorf("%s was published before the commit", e.Payload.Number)
			}
			<-time.After(time.Minute)
			x.got = append(x.got, e.Payload.Number)
			return nil
		}, append([]stage.Option{stage.WithOrder(stage.Serial)}, opts...)...))
	pub := pipeline.NewPublisher(p, bills)
	ctx, stop := context.WithCancel(t.Context())
	var over sync.WaitGroup
	over.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	for range 2 {
		if err := pub.Publish(t.Context(), bill{"1"}); err != nil {
			t.Error(err)
		}
	}
	<-time.After(24 * time.Hour)
	stop()
	over.Wait()
}

func (x *till) want(t *testing.T, calls int, rows, got string) {
	t.Helper()
	if r, g := strings.Join(x.book.written(), " "), strings.Join(x.got, " "); x.calls != calls || r != rows || g != got {
		t.Errorf("%d calls, rows %q, emitted %q; want %d, %q, %q", x.calls, r, g, calls, rows, got)
	}
}

var errCommit = errors.New("the commit failed")

func TestI4_WhatIsEmittedComesAfterTheCommit(t *testing.T) {
	for name, c := range map[string]struct {
		commit error
		stands bool
		calls  int
	}{
		"at once":                                {nil, false, 1},
		"after a commit that failed":             {errCommit, false, 2},
		"after a commit whose answer was lost":   {errCommit, true, 1},
		"after a claim that another had by then": {idempotency.ErrLost, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &till{book: &book{Memory: idempotency.NewMemory(), commit: []error{c.commit}, stands: c.stands}, emits: "ab"}
				x.run(t)
				x.want(t, c.calls, "1", "1a 1b")
			})
		})
	}
}

// TestI4_APublishThatFailsAfterTheCommitIsRepeated: there is room for three of eight. The handler is not called again,
// and no effect is lost.
func TestI4_APublishThatFailsAfterTheCommitIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &till{book: &book{Memory: idempotency.NewMemory()}, emits: "abcdefgh"}
		x.run(t, stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.Reject))
		x.want(t, 1, "1", "1a 1b 1c 1d 1e 1f 1g 1h")
	})
}

// TestI4_WhatIsCommittedIsNotPutBehindALetter: what it emits waits for room when a letter comes to hold its lane.
func TestI4_WhatIsCommittedIsNotPutBehindALetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &till{book: &book{Memory: idempotency.NewMemory()}, emits: "abcdefgh", shuts: deadletter.NewMemory()}
		x.run(t, stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.Reject))
		x.want(t, 1, "1", "1a 1b 1c 1d 1e 1f 1g 1h")
	})
}

func TestI4_WhatTheStoreRefusesHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &till{book: &book{Memory: idempotency.NewMemory(), commit: []error{
			fmt.Errorf("%w: a constraint", idempotency.ErrRefused), fmt.Errorf("%w: a constraint", idempotency.ErrRefused),
		}}}
		x.run(t)
		x.want(t, 2, "", "")
		if got, _ := x.p.Snapshot().Stage("pay"); got.Failed != 2 {
			t.Errorf("%+v, want both failed", got)
		}
	})
}

func TestABatchWithATransactionIsRefused(t *testing.T) {
	p := pipeline.New(pipeline.Config{})
	p.Use(middleware.Idempotent(&book{Memory: idempotency.NewMemory()}, middleware.InTx()))
	p.Add(stage.Batch(bills, "pay", stage.Limits{}, func(context.Context, []event.Event[bill]) error { return nil }))
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "Batch with middleware idempotent") {
		t.Errorf("Check = %v", err)
	}
}
