package pgstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/deadletter"
)

// program changes two stores of one schema at random.
type program struct {
	t      *testing.T
	stores []*pgstore.Store
	seed   uint64
	random *rand.Rand
	done   []string // the names of what succeeded
}

func newProgram(t *testing.T, schema string) *program {
	p := &program{t: t, stores: []*pgstore.Store{open(t, schema, pgstore.Config{}), open(t, schema, pgstore.Config{})}, seed: rand.Uint64()}
	p.random = rand.New(rand.NewPCG(p.seed, 0))
	return p
}

func (p *program) store() *pgstore.Store { return p.stores[p.random.IntN(len(p.stores))] }

func (p *program) any() *deadletter.Letter {
	l := letter(fmt.Sprint("key-", p.random.IntN(4)), fmt.Sprint("event-", p.random.IntN(60)))
	l.Fingerprint, l.ErrorType = fmt.Sprint("f", p.random.IntN(3)), fmt.Sprint("t", p.random.IntN(2))
	l.Ordered, l.Holds = p.random.IntN(4) > 0, p.random.IntN(4) > 0
	if p.random.IntN(8) == 0 {
		l.EventID = ""
	}
	return l
}

// one is a letter of the store, if there is any.
func (p *program) one(states ...deadletter.State) (deadletter.Letter, bool) {
	var all []deadletter.Letter
	for l, err := range p.store().List(p.t.Context(), deadletter.Filter{States: states}) {
		must(p.t, err)
		all = append(all, l)
	}
	if len(all) == 0 {
		return deadletter.Letter{}, false
	}
	return all[p.random.IntN(len(all))], true
}

// step does one thing.
func (p *program) step() {
	names := []string{"put", "put", "divert", "divert", "discard", "restore", "edit", "resolve", "resolve", "fail", "purge"}
	name := names[p.random.IntN(len(names))]
	done, err := p.do(name)
	if err != nil && !slices.ContainsFunc([]error{deadletter.ErrNotFound, deadletter.ErrClaimed}, func(e error) bool { return errors.Is(err, e) }) {
		p.t.Fatalf("seed %d: %s: %v", p.seed, name, err)
	}
	if done && err == nil {
		p.done = append(p.done, name)
	}
}

func (p *program) do(name string) (done bool, err error) {
	ctx := p.t.Context()
	switch name {
	case "put":
		_, err = p.store().Put(ctx, p.any())
		return true, err
	case "divert":
		_, held, err := p.store().Divert(ctx, p.any())
		return held, err
	case "purge":
		if p.random.IntN(4) > 0 {
			return false, nil
		}
		n, err := p.store().Purge(ctx, deadletter.Filter{Fingerprint: fmt.Sprint("f", p.random.IntN(3)), ErrorType: "t0"})
		return n > 0, err
	case "restore":
		l, ok := p.one(deadletter.Discarded)
		if !ok {
			return false, nil
		}
		n, err := p.store().Restore(ctx, []string{l.ID}, deadletter.Note{})
		return n > 0, err
	}
	l, ok := p.one()
	if !ok {
		return false, nil
	}
	switch name {
	case "discard":
		n, err := p.store().Discard(ctx, []string{l.ID}, deadletter.Note{})
		return n > 0, err
	case "edit":
		return true, p.store().Edit(ctx, l.ID, make([]byte, p.random.IntN(50)), deadletter.Note{})
	default:
		return true, p.redrive(name, l)
	}
}

func (p *program) redrive(name string, l deadletter.Letter) error {
	ctx := p.t.Context()
	c, err := p.store().Claim(ctx, l.Sequence(), "me", time.Minute)
	if err != nil {
		return err
	}
	if name == "resolve" {
		err = p.store().Resolve(ctx, c, l.ID)
	} else {
		err = p.store().Fail(ctx, c, l.ID, deadletter.Failure{
			Fingerprint: fmt.Sprint("f", p.random.IntN(3)), ErrorType: "t1", Quarantine: p.random.IntN(3) == 0, Reason: deadletter.TimedOut,
		})
	}
	return errors.Join(err, p.store().Release(ctx, c))
}
