package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// letterOf is the letter that a failure makes, within the standard chain.
func letterOf(t *testing.T, h stage.Handler, d *stage.Delivery) deadletter.Letter {
	t.Helper()
	k := newKeeper()
	chain := middleware.Standard(middleware.StandardConfig{Letters: k, Retry: middleware.Constant{Attempts: 1}})
	wantKind(t, settle(t, stage.Chain(h, chain...), d), stage.KindStored)
	return k.letters(t)[0]
}

func TestALetterHasAllOfItsEvent(t *testing.T) {
	d := delivery("1", "ann")
	d.Header = event.Header{"a": "b"}
	d.Lane = "own key"
	l := letterOf(t, always(errBoom).handle, d)
	if l.Stage != "charge" || l.Topic != "orders" || l.Key != "own key" || l.TopicKey != "ann" || !l.Ordered {
		t.Errorf("where it comes from: %+v", l)
	}
	if l.EventID != "1" || l.GivenID != "1" || l.Seq != 7 || l.Origin != 9 || !l.Time.Equal(time.Unix(1000, 0)) || l.Header["a"] != "b" {
		t.Errorf("the event: %+v", l)
	}
	if string(l.Payload) != `{"Number":"1","Customer":"ann"}` || l.Codec != "json" || l.Value != nil {
		t.Errorf("the payload: %q in %q, value %v", l.Payload, l.Codec, l.Value)
	}
	if l.State != deadletter.Active || l.DeadAt.IsZero() || l.Follower || l.Redrives != 0 {
		t.Errorf("its state: %+v", l)
	}
}

func TestALetterOfAnEventWithoutAnOrderKeepsItsTopicsKey(t *testing.T) {
	d := delivery("1", "ann")
	d.Ordered, d.Lane = false, "nothing"
	if l := letterOf(t, always(errBoom).handle, d); l.Key != "ann" || l.TopicKey != "ann" || l.Ordered || l.Holds {
		t.Errorf("the letter %+v", l)
	}
}

func TestALetterSaysWhatWentWrong(t *testing.T) {
	root := &rootError{}
	l := letterOf(t, always(fmt.Errorf("charge: %w", fmt.Errorf("card\n%w", root))).handle, delivery("1", "ann"))
	if l.Error != "charge: card; root" || l.ErrorType != "*middleware_test.rootError" {
		t.Errorf("error %q of type %q", l.Error, l.ErrorType)
	}
	want := []deadletter.Cause{
		{Type: "*fmt.wrapError", Text: "charge: card\nroot"}, {Type: "*fmt.wrapError", Text: "card\nroot"},
		{Type: "*middleware_test.rootError", Text: "root"},
	}
	if !reflect.DeepEqual(l.Causes, want) {
		t.Errorf("causes %+v, want %+v", l.Causes, want)
	}
	if l.Attempts != 1 || len(l.History) != 1 || l.History[0].Number != 1 || l.History[0].At.IsZero() {
		t.Errorf("attempts %d, history %+v", l.Attempts, l.History)
	}
}

type rootError struct{}

func (*rootError) Error() string { return "root" }

func TestALettersReason(t *testing.T) {
	for _, c := range []struct {
		err      error
		want     deadletter.Reason
		attempts int
	}{
		{errBoom, deadletter.Exhausted, 1},
		{context.DeadlineExceeded, deadletter.Exhausted, 1},
		{stage.Permanent(errBoom), deadletter.Permanent, 1},
		{fmt.Errorf("x: %w", stage.Permanent(errBoom)), deadletter.Permanent, 1},
		{&stage.PanicError{Value: 1}, deadletter.Panicked, 1},
		{fmt.Errorf("x: %w", stage.ErrGoexit), deadletter.Panicked, 1},
		{&middleware.TimeoutError{After: 1}, deadletter.TimedOut, 1},
		{stage.Permanent(fmt.Errorf("x: %w", stage.ErrUndecodable)), deadletter.Undecodable, 0},
	} {
		if l := letterOf(t, always(c.err).handle, delivery("1", "ann")); l.Reason != c.want || l.Attempts != c.attempts {
			t.Errorf("%v: reason %s and %d attempts, want %s and %d", c.err, l.Reason, l.Attempts, c.want, c.attempts)
		}
	}
}

func TestALetterOfAPanicHasItsStack(t *testing.T) {
	l := letterOf(t, func(context.Context, *stage.Delivery) error { panic(errBoom) }, delivery("1", "ann"))
	if l.Reason != deadletter.Panicked || !strings.Contains(l.Stack, "TestALetterOfAPanicHasItsStack") || l.Error != "panic: boom" {
		t.Errorf("reason %s, error %q, stack %.200q", l.Reason, l.Error, l.Stack)
	}
}

func TestLettersOfOneCauseHaveOneFingerprint(t *testing.T) {
	fail := func(text string) string {
		return letterOf(t, always(fmt.Errorf("charge: %w", errors.New(text))).handle, delivery("1", "ann")).Fingerprint
	}
	if a, b := fail("order 17 is gone"), fail("order 4711 is gone"); a == "" || a != b {
		t.Errorf("fingerprints %q and %q of one cause", a, b)
	}
	if a, b := fail("order 17 is gone"), fail("card declined"); a == b {
		t.Errorf("one fingerprint %q of two causes", a)
	}
}

// The errors that no code expects.
type (
	panicsInError  struct{}
	panicsInUnwrap struct{}
	endless        struct{}
	typedNil       struct{ text string }
	uncomparable   struct{ list []error }
)

func (panicsInError) Error() string         { panic("in Error") }
func (panicsInUnwrap) Error() string        { return "unwrap panics" }
func (panicsInUnwrap) Unwrap() error        { panic("in Unwrap") }
func (endless) Error() string               { return "endless" }
func (e endless) Unwrap() error             { return e }
func (e *typedNil) Error() string           { return e.text }
func (u uncomparable) Error() string        { return "uncomparable" }
func (u uncomparable) Unwrap() []error      { return u.list }
func (u uncomparable) Is(target error) bool { panic("in Is") }

func TestFault18_ALetterIsMadeOfAnyError(t *testing.T) {
	huge := strings.Repeat("x", 100<<20)
	deepChain := errBoom
	for range 1000 {
		deepChain = fmt.Errorf("%w", deepChain)
	}
	for name, err := range map[string]error{
		"Error panics":       panicsInError{},
		"Unwrap panics":      panicsInUnwrap{},
		"Unwrap never ends":  endless{},
		"a typed nil":        (*typedNil)(nil),
		"100 MB":             errors.New(huge),
		"NUL and bad UTF-8":  errors.New("a\x00b\xff"),
		"%!":                 errors.New("%!d(MISSING)"),
		"no text":            errors.New(""),
		"uncomparable":       uncomparable{[]error{errBoom, panicsInError{}}},
		"a thousand deep":    deepChain,
		"permanent endless":  stage.Permanent(endless{}),
		"exhausted nothing":  &middleware.ExhaustedError{},
		"nil of a verdict":   stage.Permanent(nil),
		"a panic of a panic": &stage.PanicError{Value: panicsInError{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := letterOf(t, always(err).handle, delivery("1", "ann"))
			size := len(l.Error) + len(l.Stack)
			for _, c := range l.Causes {
				size += len(c.Text)
			}
			if size > 100<<10 || l.ErrorType == "" || l.Fingerprint == "" {
				t.Errorf("%d bytes, type %q, fingerprint %q", size, l.ErrorType, l.Fingerprint)
			}
		})
	}
}

func TestD5_ALetterIsMadeOfAnyPayload(t *testing.T) {
	unwritable := make(chan int)
	d := stage.NewDelivery("charge", event.Event[chan int]{Payload: unwritable})
	l := letterOf(t, always(errBoom).handle, d)
	if l.Value != unwritable || l.Payload != nil || l.Codec != "" || len(l.Notes) != 1 || l.Notes[0].What != "encode" {
		t.Errorf("the letter keeps %v, %q, %q, notes %+v", l.Value, l.Payload, l.Codec, l.Notes)
	}
	l = letterOf(t, always(errBoom).handle, stage.NewDelivery("charge", event.Event[panicsInCodec]{}))
	if l.Payload != nil || len(l.Notes) != 1 || l.EventID == "" {
		t.Errorf("a codec that panics makes %+v", l)
	}
}

type panicsInCodec struct{}

func (panicsInCodec) MarshalJSON() ([]byte, error) { panic("in MarshalJSON") }
