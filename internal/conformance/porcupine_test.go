package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/idempotency"
)

// asked is what a client asked of a store, of a key or a letter.
type asked struct {
	what  string
	on    string
	owner string
	token uint64
}

// told is what it was told.
type told struct {
	state idempotency.State
	token uint64
	id    string
	err   error
}

// log is the operations that several clients called at once.
type log struct {
	began time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func (l *log) do(client int, in asked, f func() told) told {
	called := time.Since(l.began).Nanoseconds()
	out := f()
	returned := time.Since(l.began).Nanoseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: called, Return: returned})
	return out
}

// clients runs f as several clients at once and checks what they saw.
func clients(t *testing.T, m porcupine.Model, seed uint64, f func(l *log, client int, r *rand.Rand)) {
	t.Helper()
	l := &log{began: time.Now()}
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() { f(l, i, rand.New(rand.NewPCG(seed, uint64(i)))) }) //nolint:gosec // no secret
	}
	all.Wait()
	if got := porcupine.CheckOperationsTimeout(m, l.ops, 20*time.Second); got != porcupine.Ok {
		t.Errorf("seed %d: %d operations are %s, want linearizable", seed, len(l.ops), got)
	}
}

// holding is the state of a key: who holds it, and whether it is done.
type holding struct {
	token uint64
	done  bool
}

var claims = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range all {
			byKey[op.Input.(asked).on] = append(byKey[op.Input.(asked).on], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return holding{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(holding), input.(asked), output.(told)
		mine := s.token == in.token && in.token != 0
		lost := errors.Is(out.err, idempotency.ErrLost)
		switch in.what {
		case "claim":
			switch out.state {
			case idempotency.Claimed:
				return s == holding{}, holding{token: out.token}
			case idempotency.Done:
				return s.done, s
			}
			return s.token != 0 && !s.done, s
		case "confirm":
			if mine {
				return out.err == nil, holding{s.token, true}
			}
			return lost, s
		case "renew":
			if mine && !s.done {
				return out.err == nil, s
			}
			return lost, s
		}
		if mine && !s.done { // release
			return out.err == nil, holding{}
		}
		return lost, s
	},
}

func TestIdempotencyMemoryIsLinearizable(t *testing.T) {
	for seed := range uint64(200) {
		store := idempotency.NewMemory()
		clients(t, claims, seed, func(l *log, client int, r *rand.Rand) {
			ctx, mine := context.Background(), map[string]idempotency.Claim{}
			for range 12 {
				id := strconv.Itoa(r.IntN(2))
				key := idempotency.Key{Stage: "s", ID: id}
				c := mine[id]
				in := asked{what: []string{"claim", "claim", "confirm", "release", "renew"}[r.IntN(5)], on: id, token: c.Token}
				switch in.what {
				case "claim":
					got := l.do(client, in, func() told {
						c, err := store.Claim(ctx, idempotency.Request{Key: key, Lease: time.Hour})
						return told{state: c.State, token: c.Token, err: err}
					})
					if got.state == idempotency.Claimed {
						mine[id] = idempotency.Claim{Key: key, Token: got.token}
					}
				case "confirm":
					if r.IntN(3) == 0 { // what is done is done for good, and would be the end of it
						l.do(client, in, func() told { return told{err: store.Confirm(ctx, idempotency.Claim{Key: key, Token: c.Token})} })
					}
				case "release":
					l.do(client, in, func() told { return told{err: store.Release(ctx, idempotency.Claim{Key: key, Token: c.Token})} })
				case "renew":
					l.do(client, in, func() told {
						return told{err: store.Renew(ctx, idempotency.Claim{Key: key, Token: c.Token}, time.Hour)}
					})
				}
			}
		})
	}
}

// sequence is the state of a sequence of dead letters: its claim, and the numbers of the letters there.
type sequence struct {
	owner   string
	token   uint64
	letters uint16
}

func (s sequence) head() string {
	for i := range 16 {
		if s.letters&(1<<i) != 0 {
			return strconv.Itoa(i)
		}
	}
	return ""
}

var sequences = porcupine.Model{
	Init: func() any { return sequence{letters: 1<<8 - 1} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(sequence), input.(asked), output.(told)
		mine := s.token != 0 && s.token == in.token
		if in.what != "claim" && in.what != "release" && !mine {
			return errors.Is(out.err, deadletter.ErrClaimLost), s
		}
		switch in.what {
		case "claim":
			switch {
			case s.letters == 0:
				return errors.Is(out.err, deadletter.ErrNotFound), s
			case s.token != 0 && s.owner != in.owner:
				return errors.Is(out.err, deadletter.ErrClaimed), s
			}
			return out.err == nil && out.token > s.token, sequence{in.owner, out.token, s.letters}
		case "release":
			if mine {
				s.token, s.owner = 0, ""
			}
			return out.err == nil, s
		case "head":
			if s.letters == 0 {
				return errors.Is(out.err, deadletter.ErrNotFound), s
			}
			return out.err == nil && out.id == s.head(), s
		case "resolve":
			n, _ := strconv.Atoi(in.on)
			if in.on == "" || s.letters&(1<<n) == 0 {
				return errors.Is(out.err, deadletter.ErrNotFound), s
			}
			s.letters &^= 1 << n
		}
		return out.err == nil, s // renew too
	},
}

func TestDeadLetterMemoryIsLinearizable(t *testing.T) {
	for seed := range uint64(200) {
		store := deadletter.NewMemory()
		ctx, seq := context.Background(), deadletter.Sequence{Stage: "s", Key: "k"}
		ids := map[string]string{}
		for i := range 8 {
			n := strconv.Itoa(i)
			r, err := store.Put(ctx, &deadletter.Letter{Stage: "s", Key: "k", Ordered: true, Holds: true, EventID: n})
			if err != nil {
				t.Fatal(err)
			}
			ids[n] = r.ID
		}
		clients(t, sequences, seed, func(l *log, client int, r *rand.Rand) {
			var c deadletter.Claim
			head := ""
			for range 12 {
				in := asked{what: []string{"claim", "claim", "head", "resolve", "renew", "release", "resolve", "head"}[r.IntN(8)], on: head, token: c.Token, owner: fmt.Sprint(client)}
				switch in.what {
				case "claim":
					var got deadletter.Claim
					out := l.do(client, in, func() (o told) {
						got, o.err = store.Claim(ctx, seq, in.owner, time.Hour)
						o.token = got.Token
						return o
					})
					if out.err == nil {
						c = got
					}
				case "head":
					head = l.do(client, in, func() (o told) {
						var letter deadletter.Letter
						letter, o.err = store.Head(ctx, withSequence(c, seq))
						o.id = letter.EventID
						return o
					}).id
				case "resolve":
					l.do(client, in, func() told { return told{err: store.Resolve(ctx, withSequence(c, seq), ids[in.on])} })
				case "renew":
					l.do(client, in, func() told { return told{err: store.Renew(ctx, withSequence(c, seq), time.Hour)} })
				case "release":
					l.do(client, in, func() told { return told{err: store.Release(ctx, withSequence(c, seq))} })
				}
			}
		})
	}
}

// withSequence makes a claim that was never had one of the sequence all the same.
func withSequence(c deadletter.Claim, s deadletter.Sequence) deadletter.Claim {
	c.Sequence = s
	return c
}

// TestTheModelsFindFaults: a model that takes anything proves nothing.
func TestTheModelsFindFaults(t *testing.T) {
	at := func(n int64, in asked, out told) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out, Call: 2 * n, Return: 2*n + 1}
	}
	for name, c := range map[string]struct {
		model porcupine.Model
		ops   []porcupine.Operation
	}{
		"two hold a key":      {claims, []porcupine.Operation{at(1, asked{what: "claim"}, told{token: 1}), at(2, asked{what: "claim"}, told{token: 2})}},
		"a lost mark counts":  {claims, []porcupine.Operation{at(1, asked{what: "confirm", token: 1}, told{})}},
		"done is forgotten":   {claims, []porcupine.Operation{at(1, asked{what: "claim"}, told{token: 1}), at(2, asked{what: "confirm", token: 1}, told{}), at(3, asked{what: "claim"}, told{token: 2})}},
		"two have a sequence": {sequences, []porcupine.Operation{at(1, asked{what: "claim", owner: "a"}, told{token: 1}), at(2, asked{what: "claim", owner: "b"}, told{token: 2})}},
		"a lost claim counts": {sequences, []porcupine.Operation{at(1, asked{what: "resolve", on: "1", token: 9}, told{})}},
		"the head is second":  {sequences, []porcupine.Operation{at(1, asked{what: "claim", owner: "a"}, told{token: 1}), at(2, asked{what: "head", token: 1}, told{id: "1"})}},
	} {
		if porcupine.CheckOperations(c.model, c.ops) {
			t.Errorf("%s: taken for linearizable", name)
		}
	}
}
