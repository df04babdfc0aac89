package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/runnel-go/runnel/adapter/redisstore"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/idempotency/idempotencytest"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

var ctx = context.Background()

func TestStoreConforms(t *testing.T) {
	address(t)
	idempotencytest.Run(t, func(t *testing.T) idempotency.Store { return open(t, redisstore.Config{}) })
}

func TestEveryKeyHasATimeToLive(t *testing.T) {
	p := prefix(t)
	client := redis.NewClient(&redis.Options{Addr: address(t)})
	defer func() { _ = client.Close() }()
	s := redisstore.New(client, redisstore.Config{Prefix: p, Retention: time.Hour})
	want := func(what string, least, most time.Duration) {
		t.Helper()
		got, err := client.PTTL(ctx, p+"6:charge:1").Result()
		if err != nil || got < least-time.Second || got > most {
			t.Errorf("%s is kept for %v (%v), want %v to %v", what, got, err, least, most)
		}
	}
	c, err := s.Claim(ctx, request(7))
	if err != nil {
		t.Fatal(err)
	}
	want("a claim", time.Hour+time.Minute, time.Hour+time.Minute)
	if err := s.Renew(ctx, c, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	want("a renewed claim", time.Hour+2*time.Minute, time.Hour+2*time.Minute)
	if err := s.Confirm(ctx, c); err != nil {
		t.Fatal(err)
	}
	want("what is done", time.Hour, time.Hour)
}

func TestI3_TheWindowEndsWithTheRetention(t *testing.T) {
	s := open(t, redisstore.Config{Retention: 100 * time.Millisecond})
	c, err := s.Claim(ctx, request(7))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(ctx, c); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Claim(ctx, request(8)); err != nil || c.State != idempotency.Done {
		t.Fatalf("Claim within the window = %+v, %v, want done", c, err)
	}
	<-time.After(200 * time.Millisecond)
	if again, err := s.Claim(ctx, request(8)); err != nil || again.State != idempotency.Claimed || again.Token <= c.Token {
		t.Errorf("Claim after the window = %+v, %v, want claimed with a token above %d", again, err, c.Token)
	}
}

// TestFault34_AClaimWhoseReplyIsLostIsOnesOwn: with the client's retries and without.
func TestFault34_AClaimWhoseReplyIsLostIsOnesOwn(t *testing.T) {
	n := &network{addr: address(t)}
	cfg := redisstore.Config{Prefix: prefix(t)}
	single := redisstore.New(n.client(t, -1), cfg)
	if err := single.Check(ctx); err != nil { // the connection is up
		t.Fatal(err)
	}
	if _, err := single.Claim(ctx, idempotency.Request{Key: idempotency.Key{ID: "scripts are loaded"}}); err != nil {
		t.Fatal(err)
	}
	n.lose.Store(1)
	if c, err := single.Claim(ctx, request(7)); err == nil {
		t.Fatalf("Claim whose reply was lost = %+v, want an error", c)
	}
	if c, err := single.Claim(ctx, request(8)); err != nil || c.State != idempotency.Busy {
		t.Errorf("another's Claim = %+v, %v, want busy: the server has the first", c, err)
	}
	first, err := single.Claim(ctx, request(7))
	if err != nil || first.State != idempotency.Claimed {
		t.Fatalf("the holder's second Claim = %+v, %v, want claimed", first, err)
	}
	if err := single.Confirm(ctx, first); err != nil {
		t.Errorf("Confirm = %v", err)
	}

	retried := redisstore.New(n.client(t, 3), cfg)
	n.lose.Store(1)
	r := request(9)
	r.Key.ID = "2"
	c, err := retried.Claim(ctx, r)
	if err != nil || c.State != idempotency.Claimed || n.lose.Load() != 0 {
		t.Fatalf("Claim that the client repeats = %+v, %v, want claimed", c, err)
	}
	for name, op := range map[string]func(context.Context, idempotency.Claim) error{"Confirm": retried.Confirm, "Release": retried.Release} {
		r.Key.ID = name
		c, err := retried.Claim(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		n.lose.Store(1)
		if err := op(ctx, c); err != nil || n.lose.Load() != 0 {
			t.Errorf("%s that the client repeats = %v, want nil", name, err)
		}
	}
}

type order struct{ Number string }

var orders = event.NewTopic("orders", event.IDBy(func(o order) string { return o.Number }))

// TestFault31_WhileRedisIsDownEventsWait: fail-closed, and nothing is counted, lost or done twice.
func TestFault31_WhileRedisIsDownEventsWait(t *testing.T) {
	n := &network{addr: address(t)}
	s := redisstore.New(n.client(t, -1), redisstore.Config{Prefix: prefix(t), Timeout: time.Second})
	var calls atomic.Int64
	done := make(chan struct{}, 10)
	p := pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)})
	p.Use(middleware.Idempotent(s, middleware.WithLogger(slog.New(slog.DiscardHandler))), middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Millisecond}))
	p.Add(stage.Handle(orders, "charge", func(context.Context, event.Event[order]) error {
		calls.Add(1)
		done <- struct{}{}
		return nil
	}))
	pub := pipeline.NewPublisher(p, orders)
	runCtx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	var run sync.WaitGroup
	run.Go(func() {
		if err := p.Run(runCtx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	n.down.Store(true)
	for _, number := range []string{"1", "2", "3"} {
		if err := pub.Publish(ctx, order{number}); err != nil {
			t.Fatal(err)
		}
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
	if err := pub.Publish(ctx, order{"1"}); err != nil {
		t.Fatal(err)
	}
	stop()
	run.Wait()
	if got, _ := p.Snapshot().Stage("charge"); got.Done != 3 || got.Duplicate != 1 || calls.Load() != 3 {
		t.Errorf("%d done, %d duplicates, %d calls; want 3, 1, 3", got.Done, got.Duplicate, calls.Load())
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	if _, err := redisstore.Open(ctx, "not a url", redisstore.Config{}); err == nil || !strings.HasPrefix(err.Error(), "redisstore: ") {
		t.Errorf("Open of no URL = %v", err)
	}
	if _, err := redisstore.Open(ctx, "redis://127.0.0.1:1", redisstore.Config{Timeout: time.Second}); err == nil {
		t.Error("Open where nobody listens = nil")
	}
}

// evicting answers INFO as a server does that evicts.
type evicting struct{ redis.UniversalClient }

func (evicting) Info(ctx context.Context, _ ...string) *redis.StringCmd {
	c := redis.NewStringCmd(ctx)
	c.SetVal("# Memory\r\nmaxmemory:1000000\r\nmaxmemory_policy:allkeys-lru\r\n")
	return c
}

func TestFault37_AServerThatEvictsIsRefused(t *testing.T) {
	if err := redisstore.New(evicting{}, redisstore.Config{}).Check(ctx); !errors.Is(err, redisstore.ErrEvicts) {
		t.Errorf("Check = %v, want ErrEvicts", err)
	}
	if err := redisstore.New(evicting{}, redisstore.Config{AllowEviction: true}).Check(ctx); err != nil {
		t.Errorf("Check where eviction is allowed = %v, want nil", err)
	}
}

func BenchmarkClaimAndConfirm(b *testing.B) {
	s := open(b, redisstore.Config{})
	b.ReportAllocs()
	var n atomic.Uint64
	for b.Loop() {
		r := request(n.Add(1))
		r.Key.ID = string(rune(n.Load()))
		c, err := s.Claim(ctx, r)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Confirm(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
}
