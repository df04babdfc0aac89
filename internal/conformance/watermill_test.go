package conformance

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// messages is the topic of all subscriptions: each has a pipeline of its own.
var messages = event.NewTopic("messages", event.WithCodec(event.Codec[*message.Message](nilCodec{})))

// nilCodec is never asked: there are no dead letters here.
type nilCodec struct{ event.Codec[*message.Message] }

// pubSub is Watermill's Publisher and Subscriber. Each subscription is a pipeline with one Serial stage that
// gets all messages of its topic, those from before it too; its handler hands one on and waits until it is
// acknowledged.
type pubSub struct {
	over sync.WaitGroup // the pipelines

	mu     sync.Mutex // guards all below
	topics map[string]*topic
	closed bool
}

type topic struct {
	all  []*message.Message
	subs []*subscription
}

type subscription struct {
	ctx context.Context // of the messages
	p   *pipeline.Pipeline
	pub event.Publisher[*message.Message]
	out chan *message.Message
}

var (
	errNacked = errors.New("the subscriber refused the message")
	errClosed = errors.New("it is closed")
)

func newPubSub(*testing.T) (message.Publisher, message.Subscriber) {
	s := &pubSub{topics: map[string]*topic{}}
	return s, s
}

func (s *pubSub) topic(name string) *topic {
	if s.topics[name] == nil {
		s.topics[name] = &topic{}
	}
	return s.topics[name]
}

// Publish implements message.Publisher.
func (s *pubSub) Publish(name string, all ...*message.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	t := s.topic(name)
	for _, msg := range all {
		msg = msg.Copy()
		t.all = append(t.all, msg)
		for _, sub := range t.subs {
			if err := sub.publish(msg); err != nil {
				return err
			}
		}
	}
	return nil
}

// publish gives a subscription a message, unless its own context has ended it.
func (sub *subscription) publish(msg *message.Message) error {
	if err := sub.pub.Publish(context.Background(), msg); !errors.Is(err, pipeline.ErrClosed) {
		return err
	}
	return nil
}

// Subscribe implements message.Subscriber.
func (s *pubSub) Subscribe(ctx context.Context, name string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	sub := &subscription{ctx: ctx, out: make(chan *message.Message)}
	sub.p = pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler), Grace: time.Nanosecond})
	sub.p.Use(middleware.Retry(middleware.Constant{Attempts: 1000, Delay: time.Millisecond}))
	sub.p.Add(stage.Handle(messages, "hand on", sub.hand, stage.WithOrder(stage.Serial), stage.Buffer(1<<16)))
	sub.pub = pipeline.NewPublisher(sub.p, messages)
	t := s.topic(name)
	for _, msg := range t.all {
		if err := sub.publish(msg); err != nil {
			return nil, err
		}
	}
	t.subs = append(t.subs, sub)
	s.over.Go(func() {
		defer close(sub.out)
		_ = sub.p.Run(ctx)
	})
	return sub.out, nil
}

// hand is the handler.
func (sub *subscription) hand(ctx context.Context, e event.Event[*message.Message]) error {
	own, cancel := context.WithCancel(sub.ctx)
	defer cancel()
	msg := e.Payload.Copy()
	msg.SetContext(own)
	select {
	case sub.out <- msg:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-msg.Acked():
		return nil
	case <-msg.Nacked():
		return errNacked
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close implements both.
func (s *pubSub) Close() error {
	defer s.over.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, t := range s.topics {
		for _, sub := range t.subs {
			s.over.Go(func() { _ = sub.p.Shutdown(context.Background()) })
		}
		t.subs = nil
	}
	return nil
}

var ordered = tests.Features{GuaranteedOrder: true, ExactlyOnceDelivery: true, RequireSingleInstance: true}

func TestWatermillPubSub(t *testing.T) {
	tests.TestPubSub(t, ordered, newPubSub, nil)
}

// TestWatermillPubSubStress is the set ten times at once, or as often as STRESS_TEST_COUNT says.
func TestWatermillPubSubStress(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	tests.TestPubSubStressTest(t, ordered, newPubSub, nil)
}
