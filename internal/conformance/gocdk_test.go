package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"gocloud.dev/gcerrors"
	"gocloud.dev/pubsub/driver"
	"gocloud.dev/pubsub/drivertest"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

var errNoTopic = errors.New("there is no such topic")

// cdkTopic is Go CDK's driver.Topic: a runnel topic and the pipeline that has its stages. A nil one does not
// exist.
type cdkTopic struct {
	sends  *event.Topic[[]byte]
	p      *pipeline.Pipeline
	pub    event.Publisher[[]byte]
	begin  sync.Once
	subs   int
	result chan error
}

func newCDKTopic(name string) *cdkTopic {
	t := &cdkTopic{sends: event.NewTopic[[]byte](name), result: make(chan error, 1)}
	t.p = pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler), Grace: time.Nanosecond})
	t.p.Use(middleware.Retry(middleware.Constant{Attempts: 1000, Delay: time.Millisecond}))
	t.pub = pipeline.NewPublisher(t.p, t.sends)
	return t
}

// run has the pipeline run. A suite makes all subscriptions of a topic before it sends or receives.
func (t *cdkTopic) run() {
	t.begin.Do(func() { go func() { t.result <- t.p.Run(context.Background()) }() })
}

func (t *cdkTopic) close() {
	if t.subs == 0 {
		return
	}
	t.run()
	_ = t.p.Shutdown(context.Background())
	<-t.result
}

// SendBatch implements driver.Topic. The metadata of a message are the headers of its event.
func (t *cdkTopic) SendBatch(ctx context.Context, all []*driver.Message) error {
	if t == nil {
		return errNoTopic
	}
	t.run()
	as := func(any) bool { return false }
	for _, m := range all {
		if m.BeforeSend != nil {
			if err := m.BeforeSend(as); err != nil {
				return err
			}
		}
		if err := t.pub.Publish(ctx, m.Body, event.WithHeaders(m.Metadata)); err != nil {
			return err
		}
		if m.AfterSend != nil {
			if err := m.AfterSend(as); err != nil {
				return err
			}
		}
	}
	return nil
}

// cdkSubscription is Go CDK's driver.Subscription: a stage of the topic. Its handler hands a message on and waits:
// an acknowledgement is its success, a refusal its failure, and the next attempt hands the message on again.
type cdkSubscription struct {
	topic *cdkTopic
	out   chan *handed

	mu   sync.Mutex // guards all below
	last int
	open map[driver.AckID]*handed // that are neither acknowledged nor refused
}

type handed struct {
	msg     *driver.Message
	verdict chan error // gets one
}

func newCDKSubscription(t *cdkTopic) *cdkSubscription {
	s := &cdkSubscription{topic: t, out: make(chan *handed), open: map[driver.AckID]*handed{}}
	if t != nil {
		t.subs++
		t.p.Add(stage.Handle(t.sends, "subscription "+strconv.Itoa(t.subs), s.hand, stage.WithOrder(stage.Unordered), stage.Workers(32)))
	}
	return s
}

// hand is the handler.
func (s *cdkSubscription) hand(ctx context.Context, e event.Event[[]byte]) error {
	h := s.keep(e)
	defer s.settle(h.msg.AckID)
	select {
	case s.out <- h:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-h.verdict:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *cdkSubscription) keep(e event.Event[[]byte]) *handed {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	h := &handed{verdict: make(chan error, 1), msg: &driver.Message{
		Body: e.Payload, Metadata: e.Header, AckID: s.last, LoggableID: fmt.Sprintf("event %d", e.Seq),
		AsFunc: func(any) bool { return false },
	}}
	s.open[h.msg.AckID] = h
	return h
}

// settle forgets a message that was handed on and returns it, or nil if it was forgotten before.
func (s *cdkSubscription) settle(id driver.AckID) *handed {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.open[id]
	delete(s.open, id)
	return h
}

// ReceiveBatch implements driver.Subscription: it waits a second for the first message.
func (s *cdkSubscription) ReceiveBatch(ctx context.Context, most int) ([]*driver.Message, error) {
	if s.topic == nil {
		return nil, errNoTopic
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.topic.run()
	var all []*driver.Message
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	select {
	case h := <-s.out:
		all = append(all, h.msg)
	case <-patience.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for len(all) > 0 && len(all) < most {
		select {
		case h := <-s.out:
			all = append(all, h.msg)
		default:
			return all, nil
		}
	}
	return all, nil
}

// SendAcks implements driver.Subscription.
func (s *cdkSubscription) SendAcks(_ context.Context, ids []driver.AckID) error {
	return s.answer(ids, nil)
}

// SendNacks implements driver.Subscription.
func (s *cdkSubscription) SendNacks(_ context.Context, ids []driver.AckID) error {
	return s.answer(ids, errNacked)
}

func (s *cdkSubscription) answer(ids []driver.AckID, verdict error) error {
	if s.topic == nil {
		return errNoTopic
	}
	for _, id := range ids {
		if h := s.settle(id); h != nil {
			h.verdict <- verdict
		}
	}
	return nil
}

// The rest is the same for both, and has nothing to do with runnel.

func (*cdkTopic) Close() error                                  { return nil }
func (*cdkTopic) IsRetryable(error) bool                        { return false }
func (*cdkTopic) As(any) bool                                   { return false }
func (*cdkTopic) ErrorAs(error, any) bool                       { return false }
func (*cdkTopic) ErrorCode(err error) gcerrors.ErrorCode        { return codeOf(err) }
func (*cdkSubscription) Close() error                           { return nil }
func (*cdkSubscription) CanNack() bool                          { return true }
func (*cdkSubscription) IsRetryable(error) bool                 { return false }
func (*cdkSubscription) As(any) bool                            { return false }
func (*cdkSubscription) ErrorAs(error, any) bool                { return false }
func (*cdkSubscription) ErrorCode(err error) gcerrors.ErrorCode { return codeOf(err) }

func codeOf(err error) gcerrors.ErrorCode {
	switch {
	case errors.Is(err, errNoTopic):
		return gcerrors.NotFound
	case errors.Is(err, context.Canceled):
		return gcerrors.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return gcerrors.DeadlineExceeded
	}
	return gcerrors.Unknown
}

// cdkHarness makes what a test of the suite needs.
type cdkHarness struct{}

func (cdkHarness) CreateTopic(_ context.Context, name string) (driver.Topic, func(), error) {
	t := newCDKTopic(name)
	return t, t.close, nil
}

func (cdkHarness) MakeNonexistentTopic(context.Context) (driver.Topic, error) {
	return (*cdkTopic)(nil), nil
}

func (cdkHarness) CreateSubscription(_ context.Context, t driver.Topic, _ string) (driver.Subscription, func(), error) {
	return newCDKSubscription(t.(*cdkTopic)), func() {}, nil
}

func (cdkHarness) MakeNonexistentSubscription(context.Context) (driver.Subscription, func(), error) {
	return newCDKSubscription(nil), func() {}, nil
}

func (cdkHarness) Close()                              {}
func (cdkHarness) MaxBatchSizes() (int, int)           { return 0, 0 }
func (cdkHarness) SupportsMultipleSubscriptions() bool { return true }

func TestGoCDKDrivertest(t *testing.T) {
	drivertest.RunConformanceTests(t, func(context.Context, *testing.T) (drivertest.Harness, error) {
		return cdkHarness{}, nil
	}, nil)
}
