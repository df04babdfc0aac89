package pipelinetest_test

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// act is what one call of a handler does.
type act struct {
	what  int
	takes time.Duration
	n     int
}

const (
	actDone = iota
	actFail
	actPermanent
	actPanic
	actGoexit
	actSlow
	actStubborn
	actPublish
	actHold
	actRetryAfter
	actPostpone
	actSkip
	actTerrible
	actCancelled
	actSlowFail
	actStop
	actChain // publishes a task that does the same, n times
	acts
)

// script reads up to three acts; the last one is repeated for ever when it is a failure.
func (p *tape) script() []act {
	n := p.pick(8)
	if n < 3 {
		return nil // nothing goes wrong
	}
	script := make([]act, 0, 3)
	for range 1 + n%3 {
		a := act{what: p.pick(acts), n: p.pick(4)}
		a.takes = []time.Duration{time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond, 2 * time.Second}[a.n]
		if a.what == actChain || a.what == actStop && !p.rare(8) {
			a.what = actFail
		}
		if a.what == actStubborn && p.rare(8) {
			a.takes = time.Minute
		}
		script = append(script, a)
	}
	return script
}

// terrible is an error whose text cannot be had.
type terrible struct{}

func (terrible) Error() string { panic("no text") }
func (terrible) Unwrap() error { return terrible{} }

// expand is the handler of the first stage.
func (w *world) expand(ctx context.Context, e event.Event[task]) ([]yield, error) {
	n, a := w.called(e)
	began := time.Now()
	err := w.act(ctx, e, a)
	var out []yield
	if err == nil {
		for i := range e.Payload.N % 3 {
			out = append(out, yield{e.Payload.N, n, i, e.Payload.Key})
		}
	}
	late := w.timeout && time.Since(began) >= modelTimeout
	w.mu.Lock()
	w.calls[e.Payload.N][n] = call{yields: len(out), failed: err != nil || late && w.stopping.IsZero() && w.policy != deadletter.HaltStage} // a shutdown outranks a timeout
	w.mu.Unlock()
	return out, err
}

// called notes a call of the handler and returns which one of its task it is, and what it does.
func (w *world) called(e event.Event[task]) (n int, a act) {
	w.early(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	n = len(w.calls[e.Payload.N])
	w.calls[e.Payload.N] = append(w.calls[e.Payload.N], call{failed: true})
	if script := w.scripts[e.Payload.N]; n < len(script) {
		a = script[n]
	} else if len(script) > 0 && script[len(script)-1].n == 3 {
		a = act{what: actFail}
	}
	return n, a
}

// early checks that an event which was put off is not handled before its time, but in a hurry to end.
func (w *world) early(e event.Event[task]) {
	due, delayed := e.NotBefore()
	if !delayed || !time.Now().Before(due) {
		return
	}
	w.mu.Lock()
	stopping := !w.stopping.IsZero()
	w.mu.Unlock()
	if !stopping || w.onDrain == stage.WaitUntilDue {
		w.fault("R2: task %d was handled %v before it was due", e.Payload.N, time.Until(due))
	}
}

func (w *world) act(ctx context.Context, e event.Event[task], a act) error {
	switch a.what {
	case actFail:
		return errBoom
	case actPermanent:
		return stage.Permanent(errBoom)
	case actPanic:
		panic("boom")
	case actGoexit:
		runtime.Goexit()
	case actSlow, actSlowFail:
		if err := w.pass(ctx, a.takes); err != nil {
			return err
		}
		if a.what == actSlowFail {
			return errBoom
		}
	case actStubborn:
		<-time.After(a.takes)
	case actPublish:
		key := e.Payload.Key
		if a.n%2 == 1 {
			key = modelTaskKeys[a.n%len(modelTaskKeys)]
		}
		if err := w.send(ctx, w.newTask(key, nil), false); err != nil && a.n > 1 {
			return err
		}
	case actHold:
		return stage.Hold(errBoom)
	case actRetryAfter:
		return stage.RetryAfter(a.takes, errBoom)
	case actPostpone:
		return stage.Postpone(a.takes, errBoom)
	case actSkip:
		return stage.Skip("not today")
	case actTerrible:
		return terrible{}
	case actCancelled:
		return context.Canceled
	case actChain:
		<-time.After(a.takes)
		if a.n > 0 {
			_ = w.send(ctx, w.newTask(e.Payload.Key, []act{{what: actChain, takes: a.takes, n: a.n - 1}}), false)
		}
	case actStop:
		w.stopIsComing()
		_ = w.p.Shutdown(ctx)
	}
	return nil
}

// pass lets time pass, unless the handler's context ends, which must be for a known cause.
func (w *world) pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		cause := context.Cause(ctx)
		if !errors.Is(cause, stage.ErrShutdown) && (!w.timeout || !errors.Is(cause, context.DeadlineExceeded)) {
			w.fault("S3: a handler's context ended with the cause %v", cause)
		}
		return ctx.Err()
	}
}

func (w *world) stopIsComing() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping.IsZero() {
		w.stopping = time.Now()
	}
}
