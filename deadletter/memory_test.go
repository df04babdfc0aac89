package deadletter_test

import (
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/deadletter/deadlettertest"
)

func TestMemoryIsAStore(t *testing.T) {
	deadlettertest.Run(t, func(*testing.T) deadletter.Store { return deadletter.NewMemory() }, deadlettertest.Config{
		Bubble: true,
		Rounds: 5000,
		Limited: func(_ *testing.T, l deadlettertest.Limits) deadletter.Store {
			return deadletter.NewMemory(deadletter.MemoryConfig{
				MaxLetters: l.Letters, MaxPerSequence: l.PerSequence,
				MaxLetterBytes: l.LetterBytes, MaxSequences: l.Sequences,
			})
		},
	})
}

func TestMemoryKeepsOperations(t *testing.T) {
	deadlettertest.RunOperations(t, func(*testing.T) deadletter.RedriveStore { return deadletter.NewMemory() },
		deadlettertest.Config{Bubble: true})
}

func TestMemoryForgetsOldOperations(t *testing.T) {
	s := deadletter.NewMemory()
	first, err := s.AddOperation(t.Context(), deadletter.Operation{}, "", 0)
	for range deadletter.MaxEnded + 10 {
		var o deadletter.Operation
		if o, err = s.AddOperation(t.Context(), deadletter.Operation{}, "me", time.Hour); err == nil {
			err = s.EndOperation(t.Context(), o)
		}
	}
	n := 0
	for range s.Operations(t.Context()) {
		n++
	}
	if _, gone := s.Operation(t.Context(), first.ID); err != nil || gone != nil || n < deadletter.MaxEnded || n > deadletter.MaxEnded+3 {
		t.Errorf("%d operations are kept, the open one: %v, %v", n, gone, err)
	}
}

// TestD4_DivertIsDecidedBeforeOrAfterTheLastHolderIsGone: what a look at the store after that does not show was not
// diverted.
func TestD4_DivertIsDecidedBeforeOrAfterTheLastHolderIsGone(t *testing.T) {
	at := func(id string, holds bool) *deadletter.Letter {
		return &deadletter.Letter{Stage: "s", Key: "k", Ordered: true, Holds: holds, EventID: id}
	}
	ctx := t.Context()
	for range 200_000 {
		s := deadletter.NewMemory()
		holder, err := s.Put(ctx, at("holds", true))
		if _, e := s.Put(ctx, at("holds not", false)); err != nil || e != nil { // so that the sequence stays
			t.Fatal(err, e)
		}
		c, err := s.Claim(ctx, deadletter.Sequence{Stage: "s", Key: "k"}, "me", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var held bool
		var other sync.WaitGroup
		other.Go(func() { _, held, _ = s.Divert(ctx, at("follows", true)) })
		if err := s.Resolve(ctx, c, holder.ID); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for range s.List(ctx, deadletter.Filter{}) {
			seen++
		}
		other.Wait()
		if held && seen < 2 {
			t.Fatal("an event was diverted after the sequence was open")
		}
	}
}
