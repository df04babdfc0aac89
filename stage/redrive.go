package stage

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/runnel-go/runnel/event"
)

// Redriven is a dead letter on its way into its stage.
type Redriven struct {
	Redrive
	Meta    event.Meta
	Key     string // the key whose order the stage keeps for it
	Payload []byte
	Codec   string
	Value   any // the payload itself, where it could not be encoded
}

// Errors of a redrive.
var (
	// ErrNoRedrive refuses a letter of a stage that cannot settle it.
	ErrNoRedrive = errors.New("the stage has no middleware that settles redriven letters; add middleware.DeadLetter")
	// ErrUnsettled is a redrive whose letter's middleware let it end without having handled it.
	ErrUnsettled = errors.New("the redriven letter was not handled")
)

// Gate calls enter, and returns what that says, or false without calling it.
type Gate func(enter func() bool) bool

// Redrive is described at Runtime. It waits while as many redrives are under way as the stage has
// workers, until ctx ends. Once it has begun, the end of ctx interrupts the handler if that has been
// called, and takes the letter back out of its lane if not: there is nothing to wait for.
func (s *running[T]) Redrive(ctx context.Context, l Redriven, gate Gate) (<-chan error, error) {
	if !s.SettlesLetters() {
		return nil, fmt.Errorf("stage: %s: %w", s.name, ErrNoRedrive)
	}
	it := s.restore(ctx, l)
	select {
	case s.redrives <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("stage: %s: redrive: %w", s.name, errors.Join(ErrShutdown, context.Cause(ctx)))
	}
	ended := make(chan error, 1)
	withdraw := func() {
		mine := func(o **item[T]) bool { return *o == it }
		if s.engine.Withdraw(mine, uint8(OutcomeCancelled)) {
			s.ended(it, OutcomeCancelled, context.Cause(ctx))
		}
	}
	stop := context.AfterFunc(ctx, withdraw)
	it.x.receipt = &receipt{each: func(_ string, o Outcome, err error) {
		stop()
		<-s.redrives
		ended <- redriveResult(o, err)
	}}
	it.x.receipt.left.Store(1)
	if !gate(func() bool { return s.engine.Redrive(it) }) {
		stop()
		<-s.redrives
		return nil, fmt.Errorf("stage: %s: redrive: %w", s.name, errors.Join(ErrShutdown, ErrClosed))
	}
	if ctx.Err() != nil { // it may have ended before there was anything to withdraw
		withdraw()
	}
	return ended, nil
}

// redriveResult is nil when the letter was handled, an ErrShutdown when nothing was counted, and the
// failure otherwise.
func redriveResult(o Outcome, err error) error {
	switch o {
	case OutcomeDone:
		return nil
	case OutcomeCancelled, OutcomeReturned:
		return fmt.Errorf("stage: redrive: %w", errors.Join(ErrShutdown, err))
	}
	if err == nil {
		err = ErrUnsettled
	}
	return &redriveError{err}
}

// redriveError is the failure of a redriven letter. It answers errors.Is by a walk of its own, because the
// handler's error may be one whose methods panic or never end, and is no ErrShutdown whatever it wraps: the
// letter has failed.
type redriveError struct{ err error }

func (e *redriveError) Error() string { return ErrorText(e.err) }

func (e *redriveError) Is(target error) bool {
	if target == ErrShutdown || !reflect.TypeOf(target).Comparable() {
		return false
	}
	_, found := findError(e.err, func(err error) bool { return err == target })
	return found
}

// SettlesLetters is described at Runtime.
func (s *running[T]) SettlesLetters() bool {
	for _, m := range s.names {
		if m.Redrives {
			return true
		}
	}
	return false
}

// restore makes an item of a letter. One that cannot be decoded fails at its stage like any other such event,
// so that the failure is recorded with the letter.
func (s *running[T]) restore(ctx context.Context, l Redriven) *item[T] {
	payload, err := s.decode(l)
	it := &item[T]{event: event.Event[T]{Meta: l.Meta, Payload: payload}}
	it.x = &extra{letter: &letter{Redrive: l.Redrive, ctx: ctx, lane: l.Key}}
	if err != nil {
		it.x.arrived = &arrived{raw: l.Payload, bad: err}
	}
	return it
}

func (s *running[T]) decode(l Redriven) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the codec panicked: %s", valueText(p))
		}
	}()
	codec := s.plain.topic.Codec()
	if l.Codec == "" && l.Value != nil {
		v, ok := l.Value.(T)
		if !ok {
			return v, fmt.Errorf("its value is a %T, the stage takes %T", l.Value, v)
		}
		return v, nil
	}
	if l.Codec != "" && l.Codec != codec.Name() {
		return v, fmt.Errorf("it is written as %s, the topic's codec is %s", l.Codec, codec.Name())
	}
	return codec.Decode(l.Payload)
}
