package runnel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// This file is the specification by example: what a pipeline does, told from the front, with nothing but
// the public API. The numbered promises are proven one by one in the packages' own tests.

// # The nouns
//
// A shop. Topics are typed names, declared once, and belong to no pipeline: every test below makes its own.

type Order struct {
	Number   string
	Customer string
	Cents    int
}

type Receipt struct {
	Order    string
	Customer string
}

var (
	Orders = event.NewTopic("orders",
		event.KeyBy(func(o Order) string { return o.Customer }), // the ordering key
		event.IDBy(func(o Order) string { return o.Number }))    // the identity, used for idempotency
	Receipts = event.NewTopic("receipts",
		event.KeyBy(func(r Receipt) string { return r.Customer }))
)

var errMailServer = errors.New("the mail server is down")

// silent takes the log of failures that a test causes on purpose.
var silent = slog.New(slog.DiscardHandler)

// notes is what the handlers of a test did.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) want(t *testing.T, lines ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.lines, lines) {
		t.Errorf("noted %q, want %q", n.lines, lines)
	}
}

// sorted makes want indifferent to the order in which stages ran beside each other.
func (n *notes) sorted() *notes {
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.lines)
	return n
}

// # The event bus
//
// Something happened, and several parts of the program react, none knowing of the others. Each part is a stage
// of the topic.

// shop adds the four reactions to an order. The second one fails.
func shop(p *pipeline.Pipeline, did *notes) {
	react := func(name string, err error) *stage.Stage {
		return stage.Handle(Orders, name, func(_ context.Context, e event.Event[Order]) error {
			did.add("%s %s", name, e.Payload.Number)
			return err
		})
	}
	p.Add(react("stock", nil), react("email", errMailServer), react("loyalty", nil), react("report", nil))
}

func TestEventBus_OneFailsAndTheOthersRun(t *testing.T) {
	var did notes
	p := pipeline.New(pipeline.Config{Inline: true, Logger: silent})
	shop(p, &did)

	// Inline, Publish handles the event before it returns, and returns what the handlers did, for a
	// test to look at.
	err := pipeline.NewPublisher(p, Orders).Publish(t.Context(), Order{Number: "A1", Customer: "ann"})

	if !errors.Is(err, errMailServer) {
		t.Errorf("Publish = %v, want %v", err, errMailServer)
	}
	did.want(t, "stock A1", "email A1", "loyalty A1", "report A1")
}

func TestEventBus_PublishAndGoOn(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var did notes
		failed := make(chan error, 1)
		p := pipeline.New(pipeline.Config{
			Logger:      silent,
			OnUnhandled: func(_ *stage.Delivery, err error) { failed <- err },
		})
		shop(p, &did)
		run := pipelinetest.Start(t, p)

		// A publisher neither waits for the handlers nor hears of their failures.
		if err := pipeline.NewPublisher(p, Orders).Publish(t.Context(), Order{Number: "A1", Customer: "ann"}); err != nil {
			t.Errorf("Publish = %v, want nil", err)
		}
		run.Settle()

		did.sorted().want(t, "email A1", "loyalty A1", "report A1", "stock A1")
		if err := <-failed; !errors.Is(err, errMailServer) {
			t.Errorf("OnUnhandled got %v, want %v", err, errMailServer)
		}
	})
}

// # The queue bus
//
// Events are collected and handled later, when the program says so: at the end of a request, on a tick.

func TestQueueBus_NothingIsHandledBeforeDrain(t *testing.T) {
	var did notes
	p := pipeline.New(pipeline.Config{})
	p.Add(note(&did, "stock"))
	publish(t, p, Order{Number: "A1", Customer: "ann"}, Order{Number: "B1", Customer: "bob"}, Order{Number: "A2", Customer: "ann"})

	did.want(t)
	if n := pipelinetest.Drain(t, p); n != 3 {
		t.Errorf("Drain = %d, want 3", n)
	}
	did.want(t, "stock A1", "stock B1", "stock A2")
	if n := pipelinetest.Drain(t, p); n != 0 {
		t.Errorf("Drain of an empty pipeline = %d, want 0", n)
	}
}

func TestQueueBus_DrainWithALimit(t *testing.T) {
	var did notes
	p := pipeline.New(pipeline.Config{})
	p.Add(note(&did, "stock"))
	publish(t, p, Order{Number: "A1", Customer: "ann"}, Order{Number: "B1", Customer: "bob"}, Order{Number: "A2", Customer: "ann"})

	if n, err := p.Drain(t.Context(), 2); n != 2 || err != nil {
		t.Errorf("Drain = %d, %v, want 2, nil", n, err)
	}
	did.want(t, "stock A1", "stock B1")
	if s, _ := p.Snapshot().Stage("stock"); s.Done != 2 || s.Queued != 1 {
		t.Errorf("%d done and %d queued, want 2 and 1", s.Done, s.Queued)
	}
}

func TestQueueBus_AFailureIsADeadLetterAndTheOthersRun(t *testing.T) {
	var did notes
	letters := deadletter.NewMemory()
	p := pipeline.New(pipeline.Config{})
	p.Use(middleware.DeadLetter(letters))
	shop(p, &did)
	publish(t, p, Order{Number: "A1", Customer: "ann", Cents: 995})

	if n := pipelinetest.Drain(t, p); n != 4 {
		t.Errorf("Drain = %d, want 4", n)
	}
	did.want(t, "stock A1", "email A1", "loyalty A1", "report A1")
	got := all(t, letters)
	if len(got) != 1 {
		t.Fatalf("%d letters, want 1", len(got))
	}
	l := got[0]
	if l.Stage != "email" || l.EventID != "A1" || l.Key != "ann" || l.Error != errMailServer.Error() {
		t.Errorf("letter of %s, %s, key %s, error %q; want email, A1, ann, %q", l.Stage, l.EventID, l.Key, l.Error, errMailServer)
	}
	if want := `{"Number":"A1","Customer":"ann","Cents":995}`; string(l.Payload) != want {
		t.Errorf("payload %s, want %s", l.Payload, want)
	}
}

// # The service
//
// The whole of it: middleware around every stage, one stage feeding the next, run until it is told to stop.

func TestService(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var charged, mailed notes
		rec := pipelinetest.NewRecorder()
		letters := deadletter.NewMemory()
		bankIsClosed := 2

		charge := func(_ context.Context, e event.Event[Order]) (Receipt, error) {
			if e.Payload.Customer == "ann" && bankIsClosed > 0 {
				bankIsClosed--
				return Receipt{}, errors.New("the bank is closed")
			}
			charged.add("%s", e.Payload.Number)
			return Receipt{Order: e.Payload.Number, Customer: e.Payload.Customer}, nil
		}
		email := func(_ context.Context, e event.Event[Receipt]) error {
			mailed.add("%s", e.Payload.Order)
			return nil
		}

		p := pipeline.New(pipeline.Config{Logger: silent, Observer: rec.Observer()})
		p.Use(
			middleware.DeadLetter(letters), // outermost: sees only what nothing inside could mend
			middleware.Idempotent(idempotency.NewMemory()),
			middleware.Retry(middleware.Exponential{Attempts: 5}),
			middleware.Recover(), // innermost: a panic becomes an error that Retry sees
		)
		p.Add(
			stage.Map(Orders, "charge", Receipts, charge, stage.Workers(8), stage.Use(middleware.Timeout(2*time.Second))),
			stage.Handle(Receipts, "email", email, stage.Workers(32)),
		)
		run := pipelinetest.Start(t, p)
		publish(t, p,
			Order{Number: "A1", Customer: "ann"}, // fails twice
			Order{Number: "A2", Customer: "ann"}, // waits for A1
			Order{Number: "B1", Customer: "bob"}, // does not
			Order{Number: "B1", Customer: "bob"}, // the same order again
		)
		run.Settle()

		charged.want(t, "B1", "A1", "A2")
		mailed.want(t, "B1", "A1", "A2")
		pipelinetest.ExpectOrder(t, rec, "charge", "ann", "A1", "A2")
		if err := rec.CheckRest(); err != nil {
			t.Error(err)
		}
		if s, _ := p.Snapshot().Stage("charge"); s.Done != 3 || s.Duplicate != 1 || s.Retries != 2 {
			t.Errorf("%d done, %d duplicate, %d retries; want 3, 1, 2", s.Done, s.Duplicate, s.Retries)
		}
		if n := len(all(t, letters)); n != 0 {
			t.Errorf("%d letters, want none", n)
		}

		// Shutting down finishes what was accepted; afterwards a publish is refused.
		publish(t, p, Order{Number: "C1", Customer: "cyd"})
		if err := run.Stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		err := pipeline.NewPublisher(p, Orders).Publish(t.Context(), Order{Number: "C2", Customer: "cyd"})
		if !errors.Is(err, pipeline.ErrClosed) {
			t.Errorf("Publish after the shutdown = %v, want ErrClosed", err)
		}
		if s, _ := p.Snapshot().Stage("email"); s.Done != 4 {
			t.Errorf("%d emails, want 4", s.Done)
		}
	})
}

// # The operator
//
// What failed for good waits in the store, with what follows it, until somebody has mended the cause and
// sends it back.

func TestOperator_MendsTheCauseAndDrainsTheLetters(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var did notes
		rec := pipelinetest.NewRecorder()
		letters := deadletter.NewMemory()
		broken := true
		p := pipeline.New(pipeline.Config{Logger: silent, Observer: rec.Observer()})
		p.Use(middleware.DeadLetter(letters), middleware.Retry(middleware.Constant{Attempts: 3}))
		p.Add(stage.Handle(Orders, "email", func(_ context.Context, e event.Event[Order]) error {
			if broken && e.Payload.Number == "A1" {
				return errMailServer
			}
			did.add("email %s", e.Payload.Number)
			return nil
		}))
		run := pipelinetest.Start(t, p)
		publish(t, p, Order{Number: "A1", Customer: "ann"}, Order{Number: "A2", Customer: "ann"}, Order{Number: "B1", Customer: "bob"})
		run.Settle()
		did.want(t, "email B1")
		pipelinetest.ExpectOutcome(t, rec, "email", "A1", stage.OutcomeDeadLettered)
		pipelinetest.ExpectOutcome(t, rec, "email", "A2", stage.OutcomeDiverted)

		broken = false
		report, err := deadletter.Drain(t.Context(), letters, p, deadletter.DrainOptions{Why: "the mail server is back"})
		if err != nil || report.Succeeded != 2 || report.Remaining != 0 {
			t.Errorf("Drain = %v, %v, want 2 succeeded, none remaining", report, err)
		}
		publish(t, p, Order{Number: "A3", Customer: "ann"})
		run.Settle()
		pipelinetest.ExpectOrder(t, rec, "email", "ann", "A1", "A2", "A3")
	})
}

// # The author of middleware

// audit notes how each attempt ended. It needs no type parameter: a Delivery looks the same whatever its
// payload is.
func audit(did *notes) stage.Middleware {
	return stage.Middleware{Name: "audit", Wrap: func(next stage.Handler) stage.Handler {
		return func(ctx context.Context, d *stage.Delivery) error {
			err := next(ctx, d)
			did.add("%s %s attempt %d: %v", d.Stage, d.ID(), d.Attempt, err)
			return err
		}
	}}
}

func TestOwnMiddleware(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var did notes
		p := pipeline.New(pipeline.Config{})
		p.Use(middleware.Retry(middleware.Constant{Attempts: 2}), audit(&did))
		p.Add(stage.Handle(Orders, "charge", func(_ context.Context, e event.Event[Order]) error {
			if e.Payload.Cents == 0 {
				return stage.Skip("free of charge")
			}
			if e.Payload.Cents--; e.Time.Equal(time.Now()) {
				return errors.New("too early")
			}
			return nil
		}))
		run := pipelinetest.Start(t, p)
		publish(t, p, Order{Number: "A1", Customer: "ann", Cents: 1})
		publish(t, p, Order{Number: "A2", Customer: "ann"})
		run.Settle()
		did.want(t, "charge A1 attempt 1: too early", "charge A1 attempt 2: <nil>", "charge A2 attempt 1: stage: skipped: free of charge")
		if got, want := p.Plan()[0].Middleware, []string{"retry", "audit"}; !slices.Equal(got, want) {
			t.Errorf("the plan has middleware %q, want %q", got, want)
		}
	})
}

// # The description
//
// A pipeline is data before it runs: checked whole, and every fault reported at once.

func TestWrongDescription_IsReportedWhole(t *testing.T) {
	nobody := event.NewTopic[string]("nobody")
	p := pipeline.New(pipeline.Config{})
	p.Use(middleware.Retry(middleware.Exponential{Attempts: -1}), middleware.DeadLetter(deadletter.NewMemory()))
	p.Add(
		stage.Handle[Order](Orders, "charge", nil),
		stage.Handle(Orders, "charge", func(context.Context, event.Event[Order]) error { return nil }),
		stage.Map(Orders, "greet", nobody, func(context.Context, event.Event[Order]) (string, error) { return "hello", nil }),
		stage.Handle(event.NewTopic[int]("loose"), "count", func(context.Context, event.Event[int]) error { return nil },
			stage.WithOrder(stage.PerKey), stage.Workers(0)),
	)

	err := p.Run(t.Context())

	if err == nil {
		t.Fatal("Run = nil, want every fault")
	}
	for _, want := range []string{
		"charge: the handler is nil",
		"two stages are named charge",
		"greet publishes to topic nobody, but no stage handles it",
		"count: PerKey, but topic loose has no key",
		"Workers(0)",
		"Attempts is -1",
		"middleware retry must stand inside of deadletter",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v\nwant %q in it", err, want)
		}
	}
	if again := pipeline.NewPublisher(p, Orders).Publish(t.Context(), Order{}); again == nil || again.Error() != err.Error() {
		t.Errorf("Publish = %v, want the same faults", again)
	}
}

// # The producer
//
// A service holds an event.Publisher of its own event and nothing else, so a test of it needs no pipeline.

type checkout struct{ orders event.Publisher[Order] }

func (c checkout) buy(ctx context.Context, number, customer string) error {
	return c.orders.Publish(ctx, Order{Number: number, Customer: customer})
}

type fakeOrders []Order

func (f *fakeOrders) Publish(_ context.Context, o Order, _ ...event.PublishOption) error {
	*f = append(*f, o)
	return nil
}

func TestProducer_IsTestedWithAFakeOfTwoLines(t *testing.T) {
	var sent fakeOrders
	if err := (checkout{&sent}).buy(t.Context(), "A1", "ann"); err != nil {
		t.Fatal(err)
	}
	if len(sent) != 1 || sent[0].Number != "A1" {
		t.Errorf("sent %v, want order A1", sent)
	}
}

// # Helpers

func note(did *notes, name string) *stage.Stage {
	return stage.Handle(Orders, name, func(_ context.Context, e event.Event[Order]) error {
		did.add("%s %s", name, e.Payload.Number)
		return nil
	})
}

func publish(t *testing.T, p *pipeline.Pipeline, os ...Order) {
	t.Helper()
	pub := pipeline.NewPublisher(p, Orders)
	for _, o := range os {
		if err := pub.Publish(t.Context(), o); err != nil {
			t.Fatalf("Publish(%v) = %v, want nil", o, err)
		}
	}
}

func all(t *testing.T, store deadletter.Store) (letters []deadletter.Letter) {
	t.Helper()
	for l, err := range store.List(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, l)
	}
	return letters
}
