package pipelinetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// delay puts an event off, now and then.
func (p *tape) delay() []event.PublishOption {
	switch n := p.pick(16); {
	case n < 13:
		return nil
	case n == 13:
		return []event.PublishOption{event.After(10 * time.Second)}
	default:
		return []event.PublishOption{event.After(time.Duration(1+p.pick(12)) * 9 * time.Millisecond)}
	}
}

// letGo releases or drops what a key holds.
func (w *world) letGo() {
	p := w.tape
	do := w.p.Release
	if p.flip() {
		do = w.p.Skip
	}
	if _, err := do("first", modelTaskKeys[p.pick(len(modelTaskKeys))]); err != nil {
		w.fault("Release or Skip = %v", err)
	}
}

// byHand has an operator discard, restore or edit a letter.
func (w *world) byHand() {
	p, ctx := w.tape, context.Background()
	what, place := p.pick(4), p.pick(8)
	var all []deadletter.Letter
	states := []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}
	for l, err := range w.letters.List(ctx, deadletter.Filter{States: states}) {
		if err != nil {
			w.fault("List = %v", err)
			return
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return
	}
	w.mu.Lock()
	w.edited = true
	w.mu.Unlock()
	l, by := all[place%len(all)], deadletter.Note{Who: "model"}
	var err error
	switch what {
	case 0:
		_, err = w.letters.Discard(ctx, []string{l.ID}, by)
	case 1:
		_, err = w.letters.Restore(ctx, []string{l.ID}, by)
	default:
		err = w.edit(ctx, l.ID, what == 3, by)
	}
	if err != nil && !errors.Is(err, deadletter.ErrNotFound) {
		w.fault("an operator's %d of letter %s: %v", what, l.ID, err)
	}
}

// edit writes a letter's payload anew, so that it can be decoded or not.
func (w *world) edit(ctx context.Context, id string, spoil bool, by deadletter.Note) error {
	l, err := w.letters.Get(ctx, id)
	if err != nil {
		return err
	}
	var v task
	payload := []byte("{spoilt")
	if original := l.Original; !spoil && json.Unmarshal(l.Payload, &v) != nil && original != nil {
		payload = original
	} else if !spoil {
		payload = append(l.Payload, ' ')
	}
	return w.letters.Edit(ctx, id, payload, by)
}

// chainReaction publishes a task that leads to many others of its key.
func (w *world) chainReaction() {
	p := w.tape
	key := modelTaskKeys[p.pick(len(modelTaskKeys))]
	v := w.newTask(key, []act{{what: actChain, takes: time.Millisecond, n: 25 * (1 + p.pick(8))}})
	w.queues[p.pick(len(w.queues))] <- func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.send(ctx, v, true)
	}
}

// judgeOpen checks that exactly the keys are held that have a letter which holds: X9.
func (w *world) judgeOpen() {
	holds := map[string]bool{}
	for l, err := range w.letters.List(context.Background(), deadletter.Filter{Stage: "first"}) {
		if err != nil {
			w.fault("List = %v", err)
			return
		}
		if l.Holds && l.Ordered {
			holds[l.Key] = true
		}
	}
	for _, key := range append(modelTaskKeys, "") {
		if held := w.letters.MayHold("first", key); held != holds[key] {
			w.fault("X9: key %q is held: %v, want %v", key, held, holds[key])
		}
	}
}
