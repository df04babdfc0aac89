package event_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/runnel-go/runnel/event"
)

var errRefused = errors.New("no room")

// into collects what a source brings in, and refuses the event after the first most.
func into(got *[]int, most int) event.Emit[int] {
	return func(_ context.Context, in event.Incoming[int]) error {
		if len(*got) == most {
			return errRefused
		}
		*got = append(*got, in.Payload)
		return nil
	}
}

// sources are three ways to bring in 0, 1, 2.
func sources() map[string]event.Source[int] {
	ch := make(chan int, 3)
	for i := range 3 {
		ch <- i
	}
	close(ch)
	next := 0
	return map[string]event.Source[int]{
		"FromChan": event.FromChan(ch),
		"FromSeq":  event.FromSeq(slices.Values([]int{0, 1, 2})),
		"FromFunc": event.FromFunc(func(context.Context) (int, bool, error) { next++; return next - 1, next <= 3, nil }),
		"FromReceive": event.FromReceive(func(ctx context.Context, emit event.Emit[int]) error {
			for i := range 3 {
				if err := emit(ctx, event.Incoming[int]{Payload: i}); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func TestSourcesBringInAllInOrder(t *testing.T) {
	for name, s := range sources() {
		var got []int
		if err := s.Receive(t.Context(), into(&got, 100)); err != nil || !slices.Equal(got, []int{0, 1, 2}) {
			t.Errorf("%s: Receive = %v, brought in %v, want 0, 1, 2", name, err, got)
		}
	}
}

func TestSourcesStopWhenAnEventIsRefused(t *testing.T) {
	for name, s := range sources() {
		var got []int
		if err := s.Receive(t.Context(), into(&got, 1)); !errors.Is(err, errRefused) || !slices.Equal(got, []int{0}) {
			t.Errorf("%s: Receive = %v, brought in %v, want %v after the first", name, err, got, errRefused)
		}
	}
}

// TestFromChanStops when its context ends, with the context's cause, and nobody sends.
func TestFromChanStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		over := make(chan error)
		go func() { over <- event.FromChan(make(chan int)).Receive(ctx, into(new([]int), 100)) }()
		synctest.Wait()
		cancel(errRefused)
		if err := <-over; !errors.Is(err, errRefused) {
			t.Errorf("Receive = %v, want the context's cause", err)
		}
	})
}

func TestFromFuncReturnsItsError(t *testing.T) {
	broken := errors.New("broken pipe")
	s := event.FromFunc(func(context.Context) (int, bool, error) { return 7, true, broken })
	var got []int
	if err := s.Receive(t.Context(), into(&got, 100)); !errors.Is(err, broken) || len(got) != 0 {
		t.Errorf("Receive = %v, brought in %v, want %v and nothing", err, got, broken)
	}
}

// TestFromSeqEndsItsSequence: the iterator's clean-up runs when an event is refused.
func TestFromSeqEndsItsSequence(t *testing.T) {
	cleaned := false
	s := event.FromSeq(func(yield func(int) bool) {
		defer func() { cleaned = true }()
		for i := 0; yield(i); i++ {
		}
	})
	if err := s.Receive(t.Context(), into(new([]int), 3)); !errors.Is(err, errRefused) || !cleaned {
		t.Errorf("Receive = %v, cleaned up: %v", err, cleaned)
	}
}
