package sqlitestore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/idempotency/idempotencytest"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

func openIdempotency(t testing.TB, path string, c sqlitestore.IdempotencyConfig) *sqlitestore.Idempotency {
	t.Helper()
	s, err := sqlitestore.OpenIdempotency(context.Background(), path, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
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

// effects is a table of the handler's own.
const effects = `CREATE TABLE effects (id TEXT NOT NULL); CREATE TABLE parents (id TEXT PRIMARY KEY);
	CREATE TABLE children (parent TEXT REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`

func withEffects(t testing.TB) (path string, db *sql.DB) {
	t.Helper()
	path = fresh(t)
	openIdempotency(t, path, sqlitestore.IdempotencyConfig{}).Close()
	db = foreign(t, path)
	_, err := db.Exec(effects)
	must(t, err)
	return path, db
}

// write is a handler's effect.
func write(ctx context.Context, id string) error {
	_, err := sqlitestore.Tx(ctx).ExecContext(ctx, "INSERT INTO effects VALUES (?)", id)
	return err
}

func wantEffects(t testing.TB, db *sql.DB, want int64) {
	t.Helper()
	if n := number(t, db, "SELECT count(*) FROM effects"); n != want {
		t.Errorf("%d effects, want %d", n, want)
	}
}

func TestIdempotencyConforms(t *testing.T) {
	idempotencytest.Run(t, func(t *testing.T) idempotency.Store {
		return openIdempotency(t, fresh(t), sqlitestore.IdempotencyConfig{})
	})
}

func TestI4_AnEffectAndItsMarkCommitTogether(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	err := s.InTx(t.Context(), c, func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		wantEffects(t, db, 0)
		claim(t, s, request("1", 8), idempotency.Busy) // without waiting for the handler
		must(t, s.Renew(ctx, c, time.Minute))
		return nil
	})
	must(t, err)
	wantEffects(t, db, 1)
	claim(t, s, request("1", 8), idempotency.Done)
	if sqlitestore.Tx(t.Context()) != nil {
		t.Error("there is a transaction outside of InTx")
	}
}

var errHandler = errors.New("the handler failed")

func TestI4_WhatDidNotSucceedLeavesNoEffect(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
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
		wantEffects(t, db, 0)
		claim(t, s, request(name, 8), idempotency.Busy)
		must(t, s.Release(t.Context(), c))
		claim(t, s, request(name, 8), idempotency.Claimed)
	}
}

func TestI4_WhatCannotBeCommittedIsRefused(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	for name, f := range map[string]func(ctx context.Context) error{
		"a constraint that is looked at in the end": func(ctx context.Context) error {
			_, err := sqlitestore.Tx(ctx).Exec("INSERT INTO children VALUES ('nobody')")
			return err
		},
		"a rollback of the handler's own": func(ctx context.Context) error { return sqlitestore.Tx(ctx).Rollback() },
		"a statement that takes the transaction along": func(ctx context.Context) error {
			_, _ = sqlitestore.Tx(ctx).Exec("INSERT OR ROLLBACK INTO parents VALUES ('a'), ('a')")
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
			wantEffects(t, db, 0)
			claim(t, s, request(name, 8), idempotency.Busy)
		})
	}
	c := claim(t, s, request("well", 7), idempotency.Claimed)
	must(t, s.InTx(t.Context(), c, func(ctx context.Context) error { return write(ctx, "well") }))
	wantEffects(t, db, 1)
}

func TestI4_ACommitOfTheHandlersOwnMarksItToo(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	err := s.InTx(t.Context(), c, func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		return sqlitestore.Tx(ctx).Commit()
	})
	if !errors.Is(err, idempotency.ErrRefused) {
		t.Errorf("InTx = %v, want ErrRefused", err)
	}
	wantEffects(t, db, 1)
	claim(t, s, request("1", 8), idempotency.Done)
}

func TestI4_AnInterruptedStatementIsNoSuccess(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	err := s.InTx(t.Context(), c, func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		_, err := sqlitestore.Tx(ctx).ExecContext(short, `INSERT INTO effects
			WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1e9) SELECT i FROM n`)
		if err == nil {
			t.Error("the statement was not interrupted")
		}
		return nil // it passes over the error
	})
	wrote := number(t, db, "SELECT count(*) FROM effects")
	if err == nil && wrote != 1 || err != nil && (wrote != 0 || !errors.Is(err, idempotency.ErrRefused)) {
		t.Errorf("InTx = %v with %d effects", err, wrote)
	}
	c = claim(t, s, request("2", 7), idempotency.Claimed)
	must(t, s.InTx(t.Context(), c, func(ctx context.Context) error { return write(ctx, "2") }))
}

func TestI4_AHandlerThatAsksItsOwnStoreIsToldAtOnce(t *testing.T) {
	s := openIdempotency(t, fresh(t), sqlitestore.IdempotencyConfig{Timeout: time.Hour})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	must(t, s.InTx(t.Context(), c, func(ctx context.Context) error {
		if _, err := s.Claim(ctx, request("2", 7)); err == nil || !strings.Contains(err.Error(), "the same store") {
			t.Errorf("Claim = %v", err)
		}
		return nil
	}))
}

func TestI3_TheWindowEndsWithTheRetention(t *testing.T) {
	s := openIdempotency(t, fresh(t), sqlitestore.IdempotencyConfig{Retention: time.Second, Sweep: -1})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	must(t, s.Confirm(t.Context(), c))
	claim(t, s, request("1", 8), idempotency.Done)
	<-time.After(1100 * time.Millisecond)
	if again := claim(t, s, request("1", 8), idempotency.Claimed); again.Token <= c.Token {
		t.Errorf("token %d after %d", again.Token, c.Token)
	}
}

func TestI3_WhatIsPastItsTimeIsRemovedInPages(t *testing.T) {
	path := fresh(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{Retention: time.Millisecond, Sweep: -1})
	const keys = 1203
	for i := range keys {
		r := request(fmt.Sprint(i), 7)
		r.Lease = 0
		claim(t, s, r, idempotency.Claimed)
	}
	<-time.After(10 * time.Millisecond)
	long := openIdempotency(t, path, sqlitestore.IdempotencyConfig{Sweep: -1})
	must(t, long.Confirm(t.Context(), claim(t, long, request("kept", 7), idempotency.Claimed)))
	if n, err := s.Sweep(t.Context()); err != nil || n != keys || s.Swept() != keys {
		t.Errorf("Sweep = %d, %v, and %d counted, want %d", n, err, s.Swept(), keys)
	}
	claim(t, long, request("kept", 8), idempotency.Done)
	if n := number(t, foreign(t, path), "SELECT count(*) FROM runnel_idempotency"); n != 1 {
		t.Errorf("%d rows are left, want 1", n)
	}
}

func TestI3_AStoreSweepsByItself(t *testing.T) {
	s := openIdempotency(t, fresh(t), sqlitestore.IdempotencyConfig{Retention: time.Millisecond, Sweep: time.Millisecond})
	must(t, s.Confirm(t.Context(), claim(t, s, request("1", 7), idempotency.Claimed)))
	for deadline := time.Now().Add(10 * time.Second); s.Swept() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was swept")
		}
		<-time.After(time.Millisecond)
	}
}

func TestFault33_ACrashedHolderWedgesItsKeyForTheLeaseAndNotForTheWindow(t *testing.T) {
	path := fresh(t)
	dead := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = 50 * time.Millisecond
	claim(t, dead, r, idempotency.Claimed)
	must(t, dead.Close())
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	if c := claim(t, s, request("1", 8), idempotency.Busy); time.Until(c.Until) > 50*time.Millisecond {
		t.Errorf("the lease ends in %v", time.Until(c.Until))
	}
	<-time.After(60 * time.Millisecond)
	claim(t, s, request("1", 8), idempotency.Claimed)
}

func TestFault34_AClaimWhoseAnswerIsLostIsOnesOwn(t *testing.T) {
	path := fresh(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	first := claim(t, s, request("1", 7), idempotency.Claimed) // and nobody hears of it
	if again := claim(t, s, request("1", 7), idempotency.Claimed); again.Token != first.Token {
		t.Errorf("token %d, then %d", first.Token, again.Token)
	}
	claim(t, s, request("1", 8), idempotency.Busy)
}

func TestFault35_ALateHoldersEffectIsRolledBack(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = time.Millisecond
	late := claim(t, s, r, idempotency.Claimed)
	<-time.After(5 * time.Millisecond)
	next := claim(t, s, request("1", 8), idempotency.Claimed)
	err := s.InTx(t.Context(), late, func(ctx context.Context) error { return write(ctx, "late") })
	if !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("InTx = %v, want ErrLost", err)
	}
	wantEffects(t, db, 0)
	must(t, s.InTx(t.Context(), next, func(ctx context.Context) error { return write(ctx, "next") }))
	wantEffects(t, db, 1)
}

// TestFault32_ACrashLeavesNeitherTheEffectNorTheMark: a copy of the files is what a crash leaves of them.
func TestFault32_ACrashLeavesNeitherTheEffectNorTheMark(t *testing.T) {
	path, _ := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = 50 * time.Millisecond
	crashed := fresh(t)
	must(t, s.InTx(t.Context(), claim(t, s, r, idempotency.Claimed), func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		for _, part := range []string{"", "-wal"} {
			bytes, err := os.ReadFile(path + part)
			must(t, errors.Join(err, os.WriteFile(crashed+part, bytes, 0o600)))
		}
		return nil
	}))
	<-time.After(60 * time.Millisecond)
	after := openIdempotency(t, crashed, sqlitestore.IdempotencyConfig{})
	db := foreign(t, crashed)
	wantEffects(t, db, 0)
	c := claim(t, after, request("1", 8), idempotency.Claimed)
	must(t, after.InTx(t.Context(), c, func(ctx context.Context) error { return write(ctx, "1") }))
	wantEffects(t, db, 1)
}

func TestFault36_AnotherPayloadIsToldByItsDigest(t *testing.T) {
	path, _ := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	one, other := request("1", 7), request("1", 8)
	one.Digest, other.Digest = 1, 2
	must(t, s.InTx(t.Context(), claim(t, s, one, idempotency.Claimed), func(ctx context.Context) error { return write(ctx, "1") }))
	if c := claim(t, s, other, idempotency.Done); c.Digest != 1 {
		t.Errorf("digest %d, want that of what was done", c.Digest)
	}
}

// TestFault37_NobodyTakesAKeyWhoseHandlerHasTheFile: though its lease is over.
func TestFault37_NobodyTakesAKeyWhoseHandlerHasTheFile(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	rival := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	r := request("1", 7)
	r.Lease = 20 * time.Millisecond
	c := claim(t, s, r, idempotency.Claimed)
	var other sync.WaitGroup
	must(t, s.InTx(t.Context(), c, func(ctx context.Context) error {
		<-time.After(40 * time.Millisecond)
		other.Go(func() { claim(t, rival, request("1", 8), idempotency.Done) })
		<-time.After(40 * time.Millisecond)
		return write(ctx, "1")
	}))
	other.Wait()
	wantEffects(t, db, 1)
}

// TestALetterDoesNotWaitForAHandlersTransaction: the letters' file is another one, and cannot be the same.
func TestALetterDoesNotWaitForAHandlersTransaction(t *testing.T) {
	letters := fresh(t)
	store := open(t, letters, sqlitestore.Config{})
	if _, err := sqlitestore.OpenIdempotency(t.Context(), letters, sqlitestore.IdempotencyConfig{}); !errors.Is(err, sqlitestore.ErrForeign) {
		t.Errorf("OpenIdempotency of the letters' file = %v, want ErrForeign", err)
	}
	path, _ := withEffects(t)
	if _, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{}); !errors.Is(err, sqlitestore.ErrForeign) {
		t.Errorf("Open of the handlers' file = %v, want ErrForeign", err)
	}
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
	must(t, s.InTx(t.Context(), claim(t, s, request("1", 7), idempotency.Claimed), func(ctx context.Context) error {
		must(t, write(ctx, "1"))
		put(t, store, letter("k", "1"))
		return nil
	}))
}

func TestAnIdempotencyThatIsClosedSaysSo(t *testing.T) {
	s := openIdempotency(t, fresh(t), sqlitestore.IdempotencyConfig{})
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	must(t, s.Close())
	for what, err := range map[string]error{
		"Confirm": s.Confirm(t.Context(), c), "Release": s.Release(t.Context(), c),
		"InTx": s.InTx(t.Context(), c, func(context.Context) error { return nil }),
	} {
		if !errors.Is(err, sqlitestore.ErrClosed) {
			t.Errorf("%s = %v, want ErrClosed", what, err)
		}
	}
	if _, err := s.Claim(t.Context(), request("2", 7)); !errors.Is(err, sqlitestore.ErrClosed) {
		t.Errorf("Claim = %v, want ErrClosed", err)
	}
}

type payment struct{ Number string }

var payments = event.NewTopic("payments", event.IDBy(func(p payment) string { return p.Number }))

// TestFault31_WhileAnotherHasTheFileEventsWait: fail-closed, and nothing is counted, lost or done twice.
func TestFault31_WhileAnotherHasTheFileEventsWait(t *testing.T) {
	path, db := withEffects(t)
	s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{Timeout: 20 * time.Millisecond})
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
	other, err := db.Conn(t.Context())
	must(t, err)
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	must(t, err)
	for _, number := range []string{"1", "2", "3"} {
		must(t, pub.Publish(t.Context(), payment{number}))
	}
	for parked := 0; parked < 3; {
		<-time.After(5 * time.Millisecond)
		got, _ := p.Snapshot().Stage("charge")
		if parked = got.Parked; got.Retries != 0 || got.Settled() != 0 || calls.Load() != 0 || runCtx.Err() != nil {
			t.Fatalf("while it is locked: %+v after %d calls, want all parked and nothing counted", got, calls.Load())
		}
	}
	_, err = other.ExecContext(t.Context(), "ROLLBACK")
	must(t, errors.Join(err, other.Close()))
	for range 3 {
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("an event was not handled after the file was free")
		}
	}
	must(t, pub.Publish(t.Context(), payment{"1"}))
	stop()
	run.Wait()
	if got, _ := p.Snapshot().Stage("charge"); got.Done != 3 || got.Duplicate != 1 || calls.Load() != 3 {
		t.Errorf("%d done, %d duplicates, %d calls; want 3, 1, 3", got.Done, got.Duplicate, calls.Load())
	}
	wantEffects(t, db, 3)
}

// TestI4_WorkersTakeTurns: many workers, and one writer: every effect once.
func TestI4_WorkersTakeTurns(t *testing.T) {
	path, db := withEffects(t)
	quiet := slog.New(slog.DiscardHandler)
	const events = 100
	var all sync.WaitGroup
	for range 2 { // two processes, as far as SQLite can see
		s := openIdempotency(t, path, sqlitestore.IdempotencyConfig{})
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
	wantEffects(t, db, events)
	if n := number(t, db, "SELECT count(DISTINCT id) FROM effects"); n != events {
		t.Errorf("%d events have an effect, want %d", n, events)
	}
}

func BenchmarkClaimAndInTx(b *testing.B) {
	path, _ := withEffects(b)
	s := openIdempotency(b, path, sqlitestore.IdempotencyConfig{})
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
	s, err := sqlitestore.OpenIdempotency(t.Context(), filepath.Join(t.TempDir(), "x.db"), sqlitestore.IdempotencyConfig{Retention: math.MaxInt64, Sweep: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := claim(t, s, request("1", 7), idempotency.Claimed)
	n, err := s.Sweep(t.Context())
	if err != nil || n != 0 {
		t.Errorf("%d keys were removed, %v; the claim's lease runs for a minute yet", n, err)
	}
	claim(t, s, request("1", 8), idempotency.Busy)
	if err := s.Confirm(t.Context(), c); err != nil {
		t.Errorf("Confirm = %v", err)
	}
}
