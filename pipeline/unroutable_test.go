package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestD7_WhatCannotBeRoutedBecomesALetter brings in what has no key, no identity, or too long a one, between two events
// that are well and of another key. Without the bytes that arrived it would be an empty letter, and is refused.
func TestD7_WhatCannotBeRoutedBecomesALetter(t *testing.T) {
	long := strings.Repeat("x", event.MaxTextBytes+1)
	topic := event.NewTopic("parcels", event.KeyBy(func(c crate) string { return c.Key }),
		event.IDBy(func(c crate) string {
			if c.N < 0 {
				return ""
			}
			return c.id()
		}))
	for name, test := range map[string]struct {
		bad  crate
		want error
	}{
		"without a key":        {crate{"", 1}, event.ErrNoKey},
		"with too long a key":  {crate{long, 1}, event.ErrTooLong},
		"without an identity":  {crate{"b", -1}, event.ErrNoID},
		"refused, without Raw": {crate{"", 0}, event.ErrNoKey},
	} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				raw := []byte("as it came")
				if test.bad.N == 0 {
					raw = nil
				}
				letters := deadletter.NewMemory()
				handled := 0
				p := pipeline.New(pipeline.Config{StopAfterSources: true})
				p.Use(middleware.DeadLetter(letters))
				p.Add(stage.Handle(topic, "unpack", func(context.Context, event.Event[crate]) error { handled++; return nil }))
				var mu sync.Mutex
				var answers []error
				answer := func(err error) {
					mu.Lock()
					defer mu.Unlock()
					answers = append(answers, err)
				}
				pipeline.From(p, topic, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
					for _, c := range []crate{{"a", 1}, test.bad, {"a", 2}} {
						in := event.Incoming[crate]{Payload: c, Raw: raw, Settled: answer}
						if err := emit(ctx, in); err != nil {
							return err
						}
					}
					return nil
				}))
				err := p.Run(t.Context())
				if raw == nil {
					if !errors.Is(err, test.want) {
						t.Errorf("Run = %v, want %v", err, test.want)
					}
					return
				}
				if err != nil || handled != 2 || len(answers) != 3 || errors.Join(answers...) != nil {
					t.Errorf("Run = %v, %d were handled, the source was told %v", err, handled, answers)
				}
				for l, err := range letters.List(t.Context(), deadletter.Filter{}) {
					if err != nil || string(l.Payload) != "as it came" || l.Reason != deadletter.Undecodable || !strings.Contains(l.Error, test.want.Error()) {
						t.Errorf("the letter: %q of %s, %q, %v", l.Payload, l.Reason, l.Error, err)
					}
				}
				if n, err := letters.Stats(t.Context()); err != nil || n.Active != 1 {
					t.Errorf("%d letters, %v", n.Active, err)
				}
			})
		})
	}
}

// TestD7_TooLongAKeyOfTheSourceBecomesALetter has the source give the key or the identity.
func TestD7_TooLongAKeyOfTheSourceBecomesALetter(t *testing.T) {
	long := strings.Repeat("x", event.MaxTextBytes+1)
	for name, opt := range map[string]event.PublishOption{"key": event.WithKey(long), "identity": event.WithID(long)} {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				letters, handled := deadletter.NewMemory(), 0
				p := pipeline.New(pipeline.Config{Logger: quiet, StopAfterSources: true})
				p.Use(middleware.DeadLetter(letters))
				p.Add(work(func(context.Context, event.Event[job]) error { handled++; return nil }))
				pipeline.From(p, jobs, event.FromReceive(func(ctx context.Context, emit event.Emit[job]) error {
					in := event.Incoming[job]{Payload: job{"a", 1}, Raw: []byte("as it came"), Options: []event.PublishOption{opt}}
					return errors.Join(emit(ctx, in), emit(ctx, event.Incoming[job]{Payload: job{"b", 2}}))
				}))
				err := p.Run(t.Context())
				if n, _ := letters.Stats(t.Context()); err != nil || handled != 1 || n.Active != 1 {
					t.Errorf("Run = %v, %d handled, %d letters; want nil, 1, 1", err, handled, n.Active)
				}
			})
		})
	}
}

// TestD3_WhatHasAKeyAndNoIdentityHoldsItsKey: the key that is known has its place, and its followers stay behind it.
func TestD3_WhatHasAKeyAndNoIdentityHoldsItsKey(t *testing.T) {
	topic := event.NewTopic("parcels", event.KeyBy(func(c crate) string { return c.Key }),
		event.IDBy(func(c crate) string {
			if c.N == 1 {
				return ""
			}
			return c.id()
		}))
	pipelinetest.Bubble(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		var handled []int
		p := pipeline.New(pipeline.Config{Logger: quiet, StopAfterSources: true})
		p.Use(middleware.DeadLetter(letters))
		p.Add(stage.Handle(topic, "unpack", func(_ context.Context, e event.Event[crate]) error {
			handled = append(handled, e.Payload.N)
			return nil
		}))
		pipeline.From(p, topic, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
			for n := 1; n <= 2; n++ {
				if err := emit(ctx, event.Incoming[crate]{Payload: crate{"a", n}, Raw: []byte("raw")}); err != nil {
					return err
				}
			}
			return nil
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for l := range letters.List(t.Context(), deadletter.Filter{}) {
			t.Logf("letter key %q ordered %v reason %s", l.Key, l.Ordered, l.Reason)
		}
		if len(handled) != 0 {
			t.Errorf("handled %v past the letter of their key", handled)
		}
	})
}

// TestO1_ALetterWithoutAnIdentityKeepsItsKey redrives such a letter beside a live event of its key.
func TestO1_ALetterWithoutAnIdentityKeepsItsKey(t *testing.T) {
	topic := event.NewTopic("parcels", event.KeyBy(func(c crate) string { return c.Key }),
		event.IDBy(func(c crate) string {
			if c.N == 1 {
				return ""
			}
			return c.id()
		}))
	pipelinetest.Bubble(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		running, most := 0, 0
		p := pipeline.New(pipeline.Config{Logger: quiet})
		p.Use(middleware.DeadLetter(letters, middleware.WithPolicy(deadletter.Continue)))
		p.Add(stage.Handle(topic, "unpack", func(context.Context, event.Event[crate]) error {
			running++
			most = max(most, running)
			time.Sleep(time.Second)
			running--
			return nil
		}))
		pipeline.From(p, topic, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
			raw, _ := json.Marshal(crate{"a", 1})
			return emit(ctx, event.Incoming[crate]{Payload: crate{"a", 1}, Raw: raw})
		}))
		pipelinetest.Start(t, p).Settle()
		if err := pipeline.NewPublisher(p, topic).Publish(t.Context(), crate{"a", 2}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // at work
		r, err := deadletter.Drain(t.Context(), letters, p, deadletter.DrainOptions{})
		if err != nil || r.Succeeded != 1 {
			t.Fatalf("Drain = %+v, %v", r, err)
		}
		if most != 1 {
			t.Errorf("%d handlers of one key ran at once, want 1", most)
		}
	})
}
