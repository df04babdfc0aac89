//go:build unix

package pgstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

func init() {
	children["effect"] = func(d *diary, at string) { effectChild(d, at, false) }
	children["effect apart"] = func(d *diary, at string) { effectChild(d, at, true) }
}

const (
	effectLease  = 300 * time.Millisecond
	effectWindow = 48 // events below the highest that a new child publishes again, more than a pipeline holds
)

// effectChild runs a pipeline whose handler writes a row for each event. It publishes events from a number on until
// it is killed, or up to a number, and then ends. Each is published twice. Apart is the planted bug: the row and
// the mark commit one after the other.
func effectChild(d *diary, at string, apart bool) {
	s, write := openEffects(d, at, apart)
	first, err := strconv.Atoi(os.Getenv("RUNNEL_EFFECT_FIRST"))
	if err != nil {
		d.died(err)
	}
	last, err := strconv.Atoi(os.Getenv("RUNNEL_EFFECT_LAST"))
	if err != nil {
		d.died(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	options := []middleware.IdempotentOption{middleware.Lease(effectLease), middleware.WithLogger(quiet)}
	if !apart {
		options = append(options, middleware.InTx())
	}
	var ready sync.Once
	p := pipeline.New(pipeline.Config{Logger: quiet, Observer: pipeline.Observer{
		Settled: func(m *stage.Delivery, o stage.Outcome, _ error) { d.say("S", m.GivenID, o) },
	}})
	p.Use(middleware.Idempotent(s, options...), middleware.Retry(middleware.Exponential{}))
	p.Add(stage.Handle(payments, "pay", func(ctx context.Context, e event.Event[payment]) error {
		if err := write(ctx, e.Payload.Number); err != nil {
			return err
		}
		d.say("E", e.Payload.Number)
		ready.Do(func() { d.say("R") })
		<-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond)
		return nil
	}, stage.Workers(4), stage.Buffer(32)))
	pub := pipeline.NewPublisher(p, payments)
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := p.Run(ctx); err != nil {
			d.died(err)
		}
	})
	for n := max(first, 0); n <= last; n++ {
		d.say("P", n)
		for range 2 {
			if err := pub.Publish(ctx, payment{fmt.Sprint(n)}); err != nil {
				d.died(n, err)
			}
		}
	}
	stop()
	run.Wait()
	d.say("D")
}

// effectRecord is what the children said, and what of it is there.
type effectRecord struct {
	kills, highest   int
	calls            int // of handlers that wrote their effect
	undone           int // of them, killed before the mark, and their effect with them
	stood            int // and after the commit, which nobody heard of
	done, duplicates int
	lost, doubled    int // events without an effect, and with more than one
}

// read adds what one child said, and looks what became of the effects that it was at.
func (r *effectRecord) read(t *testing.T, at string, lines []string) {
	t.Helper()
	open := map[string]bool{}
	for _, line := range lines {
		words := strings.Fields(line)
		switch words[0] {
		case "P":
			n, err := strconv.Atoi(words[1])
			must(t, err)
			r.highest = max(r.highest, n)
		case "E":
			r.calls++
			open[words[1]] = true
		case "S":
			delete(open, words[1])
			switch words[2] {
			case stage.OutcomeDone.String():
				r.done++
			case stage.OutcomeDuplicate.String():
				r.duplicates++
			default:
				t.Errorf("an event ended as %s", words[2])
			}
		}
	}
	if len(open) == 0 {
		return
	}
	there := effectsAt(t, at)
	for id := range open {
		if there[id] == 0 {
			r.undone++
		} else {
			r.stood++
		}
	}
}

// compare is the oracle: each event up to the last one has one effect.
func (r *effectRecord) compare(t *testing.T, at string, all bool) {
	t.Helper()
	there := effectsAt(t, at)
	r.lost, r.doubled = 0, 0
	for n := range r.highest + 1 {
		switch there[fmt.Sprint(n)] {
		case 0:
			r.lost++
		case 1:
		default:
			r.doubled++
		}
		delete(there, fmt.Sprint(n))
	}
	if all && len(there) > 0 {
		t.Errorf("%d effects are of events that nobody published", len(there))
	}
}

// crashEffects kills a child as often, and has a last one publish everything again. It stops where found says so.
func crashEffects(t *testing.T, role string, kills int, found func(*effectRecord) bool) *effectRecord {
	t.Helper()
	at, seed := freshEffects(t), rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := &effectRecord{highest: -1}
	for r.kills < kills && !t.Failed() {
		c := start(t, role, at, fmt.Sprint("RUNNEL_EFFECT_FIRST=", r.highest+1-effectWindow), "RUNNEL_EFFECT_LAST=1000000000")
		r.read(t, at, c.kill(random))
		r.kills++
		if r.kills%10 == 0 {
			if r.compare(t, at, false); found(r) {
				return r
			}
		}
	}
	r.read(t, at, start(t, role, at, "RUNNEL_EFFECT_FIRST=0", fmt.Sprint("RUNNEL_EFFECT_LAST=", r.highest)).wait())
	r.compare(t, at, true)
	return r
}

func (r *effectRecord) String() string {
	return fmt.Sprintf("%d kills, %d events, %d effects written, %d undone by a kill before the mark, %d that stood though nobody heard of it, "+
		"%d duplicates: %d events without an effect, %d with two", r.kills, r.highest+1, r.calls, r.undone, r.stood, r.duplicates, r.lost, r.doubled)
}

// TestCrashEffect kills a process between the effects of its handlers and their marks.
func TestCrashEffect(t *testing.T) {
	kills := times(t, "EFFECT_KILLS")
	r := crashEffects(t, "effect", kills, func(r *effectRecord) bool { return r.doubled > 0 })
	if r.lost > 0 || r.doubled > 0 {
		t.Errorf("%d events have no effect, %d have two", r.lost, r.doubled)
	}
	if r.kills < kills || r.undone*5 < kills || r.highest+1 < kills*2 || r.duplicates < r.highest {
		t.Errorf("%d kills, %d of them before a mark, %d events, %d duplicates: too few to prove anything", r.kills, r.undone, r.highest+1, r.duplicates)
	}
	t.Logf("counts: %v", r)
}

// TestCrashEffectFindsAMarkOfItsOwn plants the bug that TestCrashEffect is there for.
func TestCrashEffectFindsAMarkOfItsOwn(t *testing.T) {
	r := crashEffects(t, "effect apart", times(t, "EFFECT_KILLS"), func(r *effectRecord) bool { return r.doubled > 0 })
	if r.doubled == 0 {
		t.Error("the mark was committed after the effect, and no event has two")
	}
	t.Logf("counts: a planted bug: %v", r)
}

// openEffects opens the store, and says how a handler writes.
func openEffects(d *diary, schema string, apart bool) (idempotency.Store, func(context.Context, string) error) {
	c, err := pgxpool.ParseConfig(os.Getenv("RUNNEL_PG_DSN"))
	if err != nil {
		d.died(err)
	}
	c.MaxConns = 6
	c.ConnConfig.RuntimeParams["search_path"] = schema
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		d.died(err)
	}
	s, err := pgstore.OpenIdempotency(context.Background(), pool, pgstore.IdempotencyConfig{Schema: schema})
	if err != nil {
		d.died(err)
	}
	if !apart {
		return s, write
	}
	return s, func(ctx context.Context, id string) error {
		_, err := pool.Exec(ctx, "INSERT INTO effects VALUES ($1)", id)
		return err
	}
}

func freshEffects(t *testing.T) string {
	s := fresh(t)
	pool := newPool(t, s, nil)
	openIdempotency(t, pool, s, pgstore.IdempotencyConfig{Sweep: -1})
	_, err := pool.Exec(t.Context(), effects)
	must(t, err)
	pool.Close()
	return s
}

// effectsAt counts the effects of each event.
func effectsAt(t *testing.T, schema string) map[string]int {
	t.Helper()
	_, c := server(t)
	defer func() { must(t, c.Close(t.Context())) }()
	rows, err := c.Query(t.Context(), "SELECT id, count(*) FROM "+schema+".effects GROUP BY id")
	must(t, err)
	there := map[string]int{}
	var id string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		there[id] = n
		return nil
	})
	must(t, err)
	return there
}
