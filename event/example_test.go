package event_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/event"
)

type Payment struct {
	Number  string
	Account string
}

// A topic is declared once: how the key and the identity of a payload are read cannot be forgotten at
// a publish.
func ExampleNewTopic() {
	payments := event.NewTopic("payments",
		event.KeyBy(func(p Payment) string { return p.Account }),
		event.IDBy(func(p Payment) string { return p.Number }))

	var m event.Meta
	err := payments.Describe(&m, Payment{Number: "P1", Account: "ann"}, nil)
	fmt.Println(m.Topic, m.Key, m.ID(), err)
	fmt.Println(payments.Describe(&m, Payment{Number: "P2"}, nil))
	// Output:
	// payments ann P1 <nil>
	// event: publish to payments: the key is empty; give the payload a key, or declare the topic with event.AllowNoKey
}

// fake is what a service's test passes instead of a pipeline's publisher.
type fake []Payment

func (f *fake) Publish(_ context.Context, p Payment, _ ...event.PublishOption) error {
	*f = append(*f, p)
	return nil
}

func ExamplePublisher() {
	var sent fake
	var payments event.Publisher[Payment] = &sent
	fmt.Println(payments.Publish(context.Background(), Payment{Number: "P1"}), sent)
	// Output: <nil> [{P1 }]
}

// CausedBy links an event to the one that led to it.
func ExampleCausedBy() {
	topic := event.NewTopic[string]("talk")
	var question, answer event.Meta
	_ = topic.Describe(&question, "why?", []event.PublishOption{event.WithID("q1")})
	_ = topic.Describe(&answer, "because", []event.PublishOption{event.CausedBy(question)})
	fmt.Println(answer.Header[event.HeaderCausation], answer.Header[event.HeaderCorrelation])
	// Output: q1 q1
}

// A sequence is a source, such as the lines of a file.
func ExampleFromSeq() {
	source := event.FromSeq(slices.Values([]string{"one", "two"}))
	_ = source.Receive(context.Background(), func(_ context.Context, in event.Incoming[string]) error {
		fmt.Println(in.Payload)
		return nil
	})
	// Output:
	// one
	// two
}

// FromReceive is for a source that knows more than the payload: here a key and an acknowledgement.
func ExampleFromReceive() {
	source := event.FromReceive(func(ctx context.Context, emit event.Emit[string]) error {
		return emit(ctx, event.Incoming[string]{
			Payload: "one",
			Options: []event.PublishOption{event.WithKey("ann")},
			Settled: func(err error) { fmt.Println("acknowledged:", err) },
		})
	})
	_ = source.Receive(context.Background(), func(_ context.Context, in event.Incoming[string]) error {
		in.Settled(nil) // a pipeline calls it when every stage of the topic has settled the event
		return nil
	})
	// Output: acknowledged: <nil>
}

// An event that is put off is accepted now, and handled when it is due.
func ExampleAfter() {
	topic := event.NewTopic[string]("reminders")
	var m event.Meta
	_ = topic.Describe(&m, "pay", []event.PublishOption{event.After(time.Hour)})
	due, delayed := m.NotBefore()
	fmt.Println(delayed, time.Until(due) > 59*time.Minute)
	// Output: true true
}
