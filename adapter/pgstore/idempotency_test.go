package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/idempotency/idempotencytest"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// newPool is a pool of the program's own, on a schema of the test, over a network that it breaks.
func newPool(t testing.TB, schema string, n *network) *pgxpool.Pool {
	t.Helper()
	dsn, _ := server(t)
	c, err := pgxpool.ParseConfig(dsn)
	must(t, err)
	c.MaxConns = 6
	c.ConnConfig.RuntimeParams["search_path"] = schema
	if n != nil {
		c.ConnConfig.DialFunc = n.dial
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func openIdempotency(t testing.TB, pool *pgxpool.Pool, schema string, c pgstore.IdempotencyConfig) *pgstore.Idempotency {
	t.Helper()
	c.Schema = schema
	s, err := pgstore.OpenIdempotency(context.Background(), pool, c)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// effects is a table of the handler's own.
const effects = `CREATE TABLE effects (id text NOT NULL); CREATE TABLE parents (id text PRIMARY KEY);
	CREATE TABLE children (parent text REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`

func withEffects(t testing.TB, n *network, c pgstore.IdempotencyConfig) (*pgstore.Idempotency, *pgxpool.Pool) {
	t.Helper()
	schema := fresh(t)
	pool := newPool(t, schema, n)
	s := openIdempotency(t, pool, schema, c)
	_, err := pool.Exec(t.Context(), effects)
	must(t, err)
	return s, pool
}

// write is a handler's effect.
func write(ctx context.Context, id string) error {
	_, err := pgstore.Tx(ctx).Exec(ctx, "INSERT INTO effects VALUES ($1)", id)
	return err
}

func wantEffects(t testing.TB, pool *pgxpool.Pool, want int) {
	t.Helper()
	var n int
	must(t, pool.QueryRow(context.Background(), "SELECT count(*) FROM effects").Scan(&n))
	if n != want {
		t.Errorf("%d effects, want %d", n, want)
	}
}

// network is the way to the server, which a test breaks.
type network struct {
	down  atomic.Bool
	lose  atomic.Int64 // answers to commits to lose, once they have come
	hasty atomic.Bool  // and not waited for
	falls atomic.Bool  // and the network is down from then on
}

var errDown = errors.New("the network is down")

func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.down.Load() {
		return nil, errDown
	}
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &wire{Conn: c, n: n}, err
}

// wire is one connection.
type wire struct {
	net.Conn
	n      *network
	commit atomic.Bool
}

var cancelRequest = []byte{0, 0, 0, 16, 4, 210, 22, 46}

func (w *wire) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, cancelRequest) { // the driver's, when a connection breaks
		return w.cut()
	}
	if bytes.Contains(b, []byte("commit\x00")) && w.n.lose.Load() > 0 {
		w.n.lose.Add(-1)
		w.commit.Store(true)
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	if w.commit.Load() && w.n.hasty.Load() {
		return w.cut()
	}
	got, err := w.Conn.Read(b)
	if err == nil && (w.n.down.Load() || w.commit.Load()) {
		return w.cut()
	}
	return got, err
}

func (w *wire) cut() (int, error) {
	if w.n.falls.Swap(false) {
		w.n.down.Store(true)
	}
	_ = w.Conn.Close()
	return 0, io.EOF
}

// request asks for a key as a holder of its own.
func request(id string, holder uint64) idempotency.Request {
	return idempotency.Request{Key: idempotency.Key{Stage: "charge", ID: id}, Lease: time.Minute, Holder: holder}
}

func claim(t testing.TB, s idempotency.Store, r idempotency.Request, want idempotency.State) idempotency.Claim {
	t.Helper()
	c, err := s.Claim(t.Context(), r)
	if err != nil || c.State != want {
		t.Fatalf("Claim(%+v) = %+v, %v, want state %d", r, c, err, want)
	}
	return c
}

func TestIdempotencyConforms(t *testing.T) {
	server(t)
	idempotencytest.Run(t, func(t *testing.T) idempotency.Store {
		schema := fresh(t)
		return openIdempotency(t, newPool(t, schema, nil), schema, pgstore.IdempotencyConfig{})
	})
}

func TestI4_AnEffectAndItsMarkCommitTogether(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	err := s.InTx(t.Context(), c, func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		wantEffects(t, pool, 0)
		claim(t, s, request("1", 8), idempotency.Busy) // without waiting for the handler
		claim(t, s, request("2", 8), idempotency.Claimed)
		must(t, s.Renew(ctx, c, time.Minute))
		return nil
	})
	must(t, err)
	wantEffects(t, pool, 1)
	claim(t, s, request("1", 8), idempotency.Done)
	if pgstore.Tx(t.Context()) != nil {
		t.Error("there is a transaction outside of InTx")
	}
}

var errHandler = errors.New("the handler failed")

func TestI4_WhatDidNotSucceedLeavesNoEffect(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	for name, end := range map[string]func(){"error": func() {}, "panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		c := claim(t, s, request(name, 7), idempotency.Claimed)
		var over sync.WaitGroup
		over.Go(func() {
			defer func() { _ = recover() }()
			err := s.InTx(t.Context(), c, func(ctx context.Context) error {
				must(t, write(ctx, name))
				end()
				return errHandler
			})
			if err != errHandler { //nolint:errorlint // as it is
				t.Errorf("InTx = %v, want the handler's error as it is", err)
			}
		})
		over.Wait()
		wantEffects(t, pool, 0)
		claim(t, s, request(name, 8), idempotency.Busy)
		must(t, s.Release(t.Context(), c))
		claim(t, s, request(name, 8), idempotency.Claimed)
	}
}

func TestI4_WhatCannotBeCommittedIsRefused(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	for name, f := range map[string]func(ctx context.Context) error{
		"a constraint that is looked at in the end": func(ctx context.Context) error {
			_, err := pgstore.Tx(ctx).Exec(ctx, "INSERT INTO children VALUES ('nobody')")
			return err
		},
		"a rollback of the handler's own": func(ctx context.Context) error {
			_, err := pgstore.Tx(ctx).Exec(ctx, "ROLLBACK")
			return err
		},
		"an error that the handler passes over": func(ctx context.Context) error {
			_, _ = pgstore.Tx(ctx).Exec(ctx, "INSERT INTO parents VALUES ('a'), ('a')")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := claim(t, s, request(name, 7), idempotency.Claimed)
			err := s.InTx(t.Context(), c, func(ctx context.Context) error {
				must(t, write(ctx, name))
				return f(ctx)
			})
			if !errors.Is(err, idempotency.ErrRefused) {
				t.Errorf("InTx = %v, want ErrRefused", err)
			}
			wantEffects(t, pool, 0)
			claim(t, s, request(name, 8), idempotency.Busy)
		})
	}
}

func TestI4_TheTransactionIsTheStoresToEnd(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	must(t, s.InTx(t.Context(), c, func(ctx context.Context) error {
		tx := pgstore.Tx(ctx)
		must(t, write(ctx, "1"))
		if tx.Commit(ctx) == nil || tx.Rollback(ctx) == nil {
			t.Error("the handler ended the transaction")
		}
		point, err := tx.Begin(ctx)
		must(t, err)
		_, err = point.Exec(ctx, "INSERT INTO effects VALUES ('never')")
		must(t, errors.Join(err, point.Rollback(ctx)))
		return nil
	}))
	wantEffects(t, pool, 1)
}

// TestI4_ACommitWhoseAnswerIsLostIsLookedUp: the server has committed, or is still at it, or cannot be asked either.
func TestI4_ACommitWhoseAnswerIsLostIsLookedUp(t *testing.T) {
	for name, c := range map[string]struct {
		hasty, falls bool
	}{
		"it has committed":   {},
		"it is still at it":  {hasty: true},
		"it cannot be asked": {falls: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{}
			n.hasty.Store(c.hasty)
			n.falls.Store(c.falls)
			s, pool := withEffects(t, n, pgstore.IdempotencyConfig{})
			_, err := pool.Exec(t.Context(), `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';
				CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
			must(t, err)
			key := claim(t, s, request("1", 7), idempotency.Claimed)
			n.lose.Store(1)
			err = s.InTx(t.Context(), key, func(ctx context.Context) error { return write(ctx, "1") })
			if (err == nil) == c.falls || n.lose.Load() != 0 {
				t.Errorf("InTx = %v, %d answers are not lost yet", err, n.lose.Load())
			}
			n.down.Store(false)
			wantEffects(t, pool, 1)
			claim(t, s, request("1", 8), idempotency.Done)
		})
	}
}

// TestI4_ACommitThatNeverArrivedIsAnError: the connection breaks with the question.
func TestI4_ACommitThatNeverArrivedIsAnError(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	err := s.InTx(t.Context(), c, func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		return pgstore.Tx(ctx).Conn().PgConn().Conn().Close()
	})
	if err == nil || errors.Is(err, idempotency.ErrRefused) {
		t.Errorf("InTx = %v, want the connection's error", err)
	}
	wantEffects(t, pool, 0)
	claim(t, s, request("1", 8), idempotency.Busy)
}

func TestI3_TheWindowEndsWithTheRetention(t *testing.T) {
	s, _ := withEffects(t, nil, pgstore.IdempotencyConfig{Retention: time.Second, Sweep: -1})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	must(t, s.Confirm(t.Context(), c))
	claim(t, s, request("1", 8), idempotency.Done)
	<-time.After(1100 * time.Millisecond)
	if again := claim(t, s, request("1", 8), idempotency.Claimed); again.Token <= c.Token {
		t.Errorf("token %d after %d", again.Token, c.Token)
	}
}

func TestI3_WhatIsPastItsTimeIsRemovedInPages(t *testing.T) {
	schema := fresh(t)
	pool := newPool(t, schema, nil)
	s := openIdempotency(t, pool, schema, pgstore.IdempotencyConfig{Retention: time.Millisecond, Sweep: -1})
	_, err := pool.Exec(t.Context(), `INSERT INTO idempotency SELECT decode(lpad(to_hex(i), 64, '0'), 'hex'), '', '', 2, i, now(), now(), 0, 0
		FROM generate_series(1, 2503) AS i`)
	must(t, err)
	long := openIdempotency(t, pool, schema, pgstore.IdempotencyConfig{Sweep: -1})
	must(t, long.Confirm(t.Context(), claim(t, long, request("kept", 7), idempotency.Claimed)))
	if n, err := s.Sweep(t.Context()); err != nil || n != 2503 || s.Swept() != 2503 {
		t.Errorf("Sweep = %d, %v, and %d counted, want 2503", n, err, s.Swept())
	}
	claim(t, long, request("kept", 8), idempotency.Done)
}

func TestI3_AStoreSweepsByItself(t *testing.T) {
	s, _ := withEffects(t, nil, pgstore.IdempotencyConfig{Retention: time.Millisecond, Sweep: time.Millisecond})
	must(t, s.Confirm(t.Context(), claim(t, s, request("1", 7), idempotency.Claimed)))
	for deadline := time.Now().Add(10 * time.Second); s.Swept() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was swept")
		}
		<-time.After(time.Millisecond)
	}
}

func TestFault33_ACrashedHolderWedgesItsKeyForTheLeaseAndNotForTheWindow(t *testing.T) {
	s, _ := withEffects(t, nil, pgstore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = 200 * time.Millisecond
	claim(t, s, r, idempotency.Claimed) // and its holder is no more
	if c := claim(t, s, request("1", 8), idempotency.Busy); time.Until(c.Until) > 200*time.Millisecond {
		t.Errorf("the lease ends in %v", time.Until(c.Until))
	}
	<-time.After(220 * time.Millisecond)
	claim(t, s, request("1", 8), idempotency.Claimed)
}

func TestFault34_AClaimWhoseAnswerIsLostIsOnesOwn(t *testing.T) {
	s, _ := withEffects(t, nil, pgstore.IdempotencyConfig{})
	first := claim(t, s, request("1", 7), idempotency.Claimed) // and nobody hears of it
	if again := claim(t, s, request("1", 7), idempotency.Claimed); again.Token != first.Token {
		t.Errorf("token %d, then %d", first.Token, again.Token)
	}
	claim(t, s, request("1", 8), idempotency.Busy)
}

func TestFault35_ALateHoldersEffectIsRolledBack(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = 20 * time.Millisecond
	late := claim(t, s, r, idempotency.Claimed)
	var next idempotency.Claim
	err := s.InTx(t.Context(), late, func(ctx context.Context) error {
		must(t, write(ctx, "late"))
		<-time.After(40 * time.Millisecond)
		next = claim(t, s, request("1", 8), idempotency.Claimed)
		return nil
	})
	if !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("InTx = %v, want ErrLost", err)
	}
	wantEffects(t, pool, 0)
	must(t, s.InTx(t.Context(), next, func(ctx context.Context) error { return write(ctx, "next") }))
	wantEffects(t, pool, 1)
}

// TestFault32_ACrashLeavesNeitherTheEffectNorTheMark: the handler's connection is killed under it.
func TestFault32_ACrashLeavesNeitherTheEffectNorTheMark(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = 50 * time.Millisecond
	err := s.InTx(t.Context(), claim(t, s, r, idempotency.Claimed), func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		_, err := pool.Exec(ctx, "SELECT pg_terminate_backend($1)", pgstore.Tx(ctx).Conn().PgConn().PID())
		return err
	})
	if err == nil {
		t.Error("InTx = nil on a connection that was killed")
	}
	wantEffects(t, pool, 0)
	<-time.After(60 * time.Millisecond)
	c := claim(t, s, request("1", 8), idempotency.Claimed)
	must(t, s.InTx(t.Context(), c, func(ctx context.Context) error { return write(ctx, "1") }))
	wantEffects(t, pool, 1)
}

func TestFault36_AnotherPayloadIsToldByItsDigest(t *testing.T) {
	s, _ := withEffects(t, nil, pgstore.IdempotencyConfig{})
	one, other := request("1", 7), request("1", 8)
	one.Digest, other.Digest = 1, 2
	must(t, s.InTx(t.Context(), claim(t, s, one, idempotency.Claimed), func(ctx context.Context) error { return write(ctx, "1") }))
	if c := claim(t, s, other, idempotency.Done); c.Digest != 1 {
		t.Errorf("digest %d, want that of what was done", c.Digest)
	}
}

func TestFault37_ALeaseIsRenewedBesideTheHandlersTransaction(t *testing.T) {
	s, _ := withEffects(t, nil, pgstore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = 50 * time.Millisecond
	c := claim(t, s, r, idempotency.Claimed)
	must(t, s.InTx(t.Context(), c, func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		must(t, s.Renew(ctx, c, time.Minute))
		<-time.After(60 * time.Millisecond)
		claim(t, s, request("1", 8), idempotency.Busy)
		return nil
	}))
	claim(t, s, request("1", 8), idempotency.Done)
}

func TestANewerTableIsRefused(t *testing.T) {
	schema := fresh(t)
	pool := newPool(t, schema, nil)
	openIdempotency(t, pool, schema, pgstore.IdempotencyConfig{})
	openIdempotency(t, pool, schema, pgstore.IdempotencyConfig{}) // it is there
	open(t, schema, pgstore.Config{})                             // beside it
	_, err := pool.Exec(t.Context(), "COMMENT ON TABLE idempotency IS '99'")
	must(t, err)
	if _, err := pgstore.OpenIdempotency(t.Context(), pool, pgstore.IdempotencyConfig{Schema: schema}); !errors.Is(err, pgstore.ErrNewer) {
		t.Errorf("OpenIdempotency = %v, want ErrNewer", err)
	}
}

type payment struct{ Number string }

var payments = event.NewTopic("payments", event.IDBy(func(p payment) string { return p.Number }))

// TestFault31_WhileTheServerIsDownEventsWait: fail-closed, and nothing is counted, lost or done twice.
func TestFault31_WhileTheServerIsDownEventsWait(t *testing.T) {
	n := &network{}
	s, pool := withEffects(t, n, pgstore.IdempotencyConfig{Timeout: time.Second})
	quiet := slog.New(slog.DiscardHandler)
	var calls atomic.Int64
	done := make(chan struct{}, 10)
	p := pipeline.New(pipeline.Config{Logger: quiet})
	p.Use(middleware.Idempotent(s, middleware.InTx(), middleware.WithLogger(quiet)), middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Millisecond}))
	p.Add(stage.Handle(payments, "charge", func(ctx context.Context, e event.Event[payment]) error {
		calls.Add(1)
		defer func() { done <- struct{}{} }()
		return write(ctx, e.Payload.Number)
	}))
	pub := pipeline.NewPublisher(p, payments)
	runCtx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	var run sync.WaitGroup
	run.Go(func() {
		if err := p.Run(runCtx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	n.down.Store(true)
	for _, number := range []string{"1", "2", "3"} {
		must(t, pub.Publish(t.Context(), payment{number}))
	}
	for parked := 0; parked < 3; {
		<-time.After(5 * time.Millisecond)
		got, _ := p.Snapshot().Stage("charge")
		if parked = got.Parked; got.Retries != 0 || got.Settled() != 0 || calls.Load() != 0 || runCtx.Err() != nil {
			t.Fatalf("while it is down: %+v after %d calls, want all parked and nothing counted", got, calls.Load())
		}
	}
	n.down.Store(false)
	for range 3 {
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("an event was not handled after the server was back")
		}
	}
	must(t, pub.Publish(t.Context(), payment{"1"}))
	stop()
	run.Wait()
	if got, _ := p.Snapshot().Stage("charge"); got.Done != 3 || got.Duplicate != 1 || calls.Load() != 3 {
		t.Errorf("%d done, %d duplicates, %d calls; want 3, 1, 3", got.Done, got.Duplicate, calls.Load())
	}
	wantEffects(t, pool, 3)
}

// TestI4_ManyWorkersAndProcesses: every effect once, whoever gets it.
func TestI4_ManyWorkersAndProcesses(t *testing.T) {
	s, pool := withEffects(t, nil, pgstore.IdempotencyConfig{})
	quiet := slog.New(slog.DiscardHandler)
	const events = 100
	var all sync.WaitGroup
	for range 2 {
		p := pipeline.New(pipeline.Config{Logger: quiet})
		p.Use(middleware.Idempotent(s, middleware.InTx(), middleware.WithLogger(quiet)), middleware.Retry(middleware.Exponential{}))
		p.Add(stage.Handle(payments, "charge", func(ctx context.Context, e event.Event[payment]) error {
			return write(ctx, e.Payload.Number)
		}, stage.Workers(8), stage.Buffer(events)))
		pub := pipeline.NewPublisher(p, payments)
		ctx, stop := context.WithCancel(t.Context())
		all.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
		})
		for i := range events {
			must(t, pub.Publish(t.Context(), payment{fmt.Sprint(i)}))
		}
		all.Go(func() {
			defer stop()
			for got, _ := p.Snapshot().Stage("charge"); got.Settled() < events; got, _ = p.Snapshot().Stage("charge") {
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	all.Wait()
	wantEffects(t, pool, events)
	var n int
	must(t, pool.QueryRow(t.Context(), "SELECT count(DISTINCT id) FROM effects").Scan(&n))
	if n != events {
		t.Errorf("%d events have an effect, want %d", n, events)
	}
}

func BenchmarkClaimAndInTx(b *testing.B) {
	s, _ := withEffects(b, nil, pgstore.IdempotencyConfig{})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		c := claim(b, s, request(fmt.Sprint(n), 7), idempotency.Claimed)
		must(b, s.InTx(b.Context(), c, func(ctx context.Context) error { return write(ctx, c.Key.ID) }))
	}
}

// TestI1_AnEndlessRetentionForgetsNoClaim: for ever and a lease is not in the past.
func TestI1_AnEndlessRetentionForgetsNoClaim(t *testing.T) {
	schema := fresh(t)
	s := openIdempotency(t, newPool(t, schema, nil), schema, pgstore.IdempotencyConfig{Retention: math.MaxInt64, Sweep: -1})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	n, err := s.Sweep(t.Context())
	must(t, err)
	if n != 0 {
		t.Errorf("%d keys were removed, the claim's lease runs for a minute yet", n)
	}
	claim(t, s, request("1", 8), idempotency.Busy)
	if err := s.Confirm(t.Context(), c); err != nil {
		t.Errorf("Confirm = %v", err)
	}
}
