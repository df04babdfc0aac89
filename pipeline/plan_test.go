package pipeline_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// planned is a pipeline with a stage of every order.
func planned() *pipeline.Pipeline {
	fine := func(context.Context, event.Event[job]) error { return nil }
	pass := func(_ context.Context, e event.Event[job]) (job, error) { return e.Payload, nil }
	p := pipeline.New(pipeline.Config{})
	p.Use(
		middleware.DeadLetter(deadletter.NewMemory()),
		middleware.Idempotent(idempotency.NewMemory()),
		middleware.Retry(middleware.Exponential{}),
		middleware.Recover(),
	)
	p.Add(
		stage.Map(jobs, "charge", parts, pass, stage.Workers(4), stage.Buffer(100), stage.MaxPerKey(10),
			stage.Use(middleware.Timeout(2*time.Second))),
		stage.Handle(parts, "ledger", fine, stage.WithOrder(stage.Serial), stage.OnDrain(stage.GiveUp)),
		stage.Handle(parts, "email", fine, stage.WithOrder(stage.Unordered), stage.WithOverflow(stage.Reject), stage.Workers(32)),
		stage.Handle(parts, "ship", fine, stage.KeyBy(func(j job) string { return j.id() })),
	)
	return p
}

// TestPlanPrints pins how a plan reads. The words that middleware says of itself are its own matter, so
// their lines are left out.
func TestPlanPrints(t *testing.T) {
	const want = `jobs → charge → parts  (map)
  order       per key (the topic's): events of one key one at a time, in accept order, across retries; other keys go on
  delayed     an event that is put off keeps its place, and its key waits behind it, unless it is event.Unordered
  room        100 waiting, 4 at work; at most 108 in all; when full: block
              at most 10 of one key
  middleware  deadletter → idempotent → retry → emit → recover → timeout → handler
  on drain    parked events: wait until due

parts → ledger  (handle)
  order       serial: all events one at a time, in accept order, across retries
  delayed     an event that is put off keeps its place, and all wait behind it, unless it is event.Unordered
  room        1024 waiting, 1 at work; at most 1026 in all; when full: block
  middleware  deadletter → idempotent → retry → recover → handler
  on drain    parked events: give up

parts → email  (handle)
  order       unordered: only the attempts of one event never overlap
  delayed     an event that is put off holds up no other
  room        1024 waiting, 32 at work; at most 1088 in all; when full: reject
  middleware  deadletter → idempotent → retry → recover → handler
  on drain    parked events: wait until due

parts → ship  (handle)
  order       per key (the stage's own): events of one key one at a time, in accept order, across retries; other keys go on
  delayed     an event that is put off keeps its place, and its key waits behind it, unless it is event.Unordered
  room        1024 waiting, 8 at work; at most 1040 in all; when full: block
  middleware  deadletter → idempotent → retry → recover → handler
  on drain    parked events: wait until due
`
	var got []string
	for line := range strings.Lines(planned().Plan().String()) {
		promise := strings.HasPrefix(line, "              ") && strings.Contains(line, ": ")
		if !promise {
			got = append(got, line)
		}
	}
	if text := strings.Join(got, ""); text != want {
		t.Errorf("the plan prints\n%s\nwant\n%s", text, want)
	}
}

// TestPlanSaysWhatMiddlewarePromises: every middleware that says something is heard, in its place.
func TestPlanSaysWhatMiddlewarePromises(t *testing.T) {
	text := planned().Plan()[0].String()
	at := 0
	for _, name := range []string{"deadletter: ", "retry: ", "emit: publishes to parts", "recover: ", "timeout: an attempt fails after 2s"} {
		i := strings.Index(text[at:], "              "+name)
		if i < 0 {
			t.Fatalf("the plan prints\n%s\nwant %q in it, in this order", text, name)
		}
		at += i
	}
}

// TestPlanAgreesWithTheSnapshot: the capacity that is promised is the one that is counted against.
func TestPlanAgreesWithTheSnapshot(t *testing.T) {
	p := planned()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	for i, s := range p.Snapshot().Stages {
		if plan := p.Plan()[i]; plan.Stage != s.Name || plan.Topic != s.Topic || plan.Capacity != s.Capacity || plan.Workers != s.Workers {
			t.Errorf("planned %+v, but the snapshot says %+v", plan, s)
		}
	}
}

// TestPlanOfAWrongDescription: it can be looked at before it is mended.
func TestPlanOfAWrongDescription(t *testing.T) {
	p := pipeline.New(pipeline.Config{})
	p.Add(nil, stage.Handle[job](nil, "", nil), stage.Map[job, job](jobs, "charge", nil, nil))
	if n := len(p.Plan()); n != 2 {
		t.Errorf("%d stages are planned, want the 2 that are there", n)
	}
	if err := p.Check(); err == nil {
		t.Error("Check = nil, want its faults")
	}
}

// TestL2_SingleMayBeOfAnyType has some that cannot be compared, by their type or by what is in them.
func TestL2_SingleMayBeOfAnyType(t *testing.T) {
	for name, single := range map[string]any{"by its type": []string{"x"}, "by what is in it": struct{ v any }{[]string{"x"}}} {
		t.Run(name, func(t *testing.T) {
			m := stage.Middleware{Name: "m", Single: single, Wrap: func(h stage.Handler) stage.Handler { return h }}
			s := work(func(context.Context, event.Event[job]) error { return nil }, stage.Use(m))
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("Check panics: %v", v)
				}
			}()
			if faults := s.Check([]stage.Middleware{m}); len(faults) > 0 {
				t.Errorf("Check = %v, want none: they may be different", faults)
			}
		})
	}
}
