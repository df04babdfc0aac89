package redisstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
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

// durable are the settings of a server that has written what it has answered.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

func TestFault31_ARestartKeepsWhatADurableServerHasAnswered(t *testing.T) {
	server := newServer(t, durable...)
	s := server.store()
	must(t, s.Confirm(ctx, claimed(t, s, "done", 7)))
	held := claimed(t, s, "held", 7)

	server.kill()
	if _, err := s.Claim(ctx, requestOf("new", 7)); err == nil {
		t.Error("Claim = nil while the server is down")
	}
	server.start()

	if c, err := s.Claim(ctx, requestOf("done", 8)); err != nil || c.State != idempotency.Done {
		t.Errorf("what was done is %+v, %v", c, err)
	}
	if c, err := s.Claim(ctx, requestOf("held", 8)); err != nil || c.State != idempotency.Busy {
		t.Errorf("what another holds is %+v, %v", c, err)
	}
	if c := claimed(t, s, "held", 7); c.Token != held.Token {
		t.Errorf("the holder's own claim has token %d, want %d", c.Token, held.Token)
	}
	must(t, s.Confirm(ctx, held))
}

// TestFault31_ARestartThatForgetsFencesWhoHeldAClaim: a server without persistence, or a replica that was behind.
func TestFault31_ARestartThatForgetsFencesWhoHeldAClaim(t *testing.T) {
	server := newServer(t, "--appendonly", "no")
	s := server.store()
	must(t, s.Confirm(ctx, claimed(t, s, "done", 7)))
	held := claimed(t, s, "held", 7)
	server.kill()
	server.start()

	if err := s.Confirm(ctx, held); !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("Confirm of a claim that was forgotten = %v, want ErrLost", err)
	}
	if next := claimed(t, s, "held", 8); next.Token <= held.Token {
		t.Errorf("the next token is %d, not above %d: a late holder would pass for the new one", next.Token, held.Token)
	}
	if err := s.Release(ctx, held); !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("Release by the late holder = %v, want ErrLost", err)
	}
	claimed(t, s, "done", 8) // the window is as durable as the server
}

// TestFault31_EventsOutliveRestarts: while the server is killed again and again, no event is lost, none fails, and
// what the server has answered is remembered.
func TestFault31_EventsOutliveRestarts(t *testing.T) {
	const numbers, kills = 200, 3
	server := newServer(t, durable...)
	quiet := slog.New(slog.DiscardHandler)
	var calls [numbers]atomic.Int64
	p := pipeline.New(pipeline.Config{Logger: quiet})
	p.Use(middleware.Idempotent(server.store(), middleware.WithLogger(quiet)), middleware.Retry(middleware.Constant{Attempts: 1}))
	p.Add(stage.Handle(orders, "charge", func(_ context.Context, e event.Event[order]) error {
		n, err := strconv.Atoi(e.Payload.Number)
		calls[n].Add(1)
		return err
	}))
	pub := pipeline.NewPublisher(p, orders)
	var run sync.WaitGroup
	run.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	for n := range numbers {
		if n%(numbers/kills) == numbers/kills/2 {
			server.kill()
		}
		for range 2 {
			must(t, pub.Publish(ctx, order{strconv.Itoa(n)}))
		}
		if n%(numbers/kills) == numbers/kills-1 {
			server.start()
		}
	}
	for end := time.Now().Add(time.Minute); ; {
		got, _ := p.Snapshot().Stage("charge")
		if got.Settled() == 2*numbers {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after a minute: %+v", got)
		}
		<-time.After(10 * time.Millisecond)
	}
	must(t, p.Shutdown(ctx))
	run.Wait()
	if got, _ := p.Snapshot().Stage("charge"); got.Done != numbers || got.Duplicate != numbers || got.Retries != 0 {
		t.Errorf("%d done, %d duplicates, %d retries; want %d, %d, 0", got.Done, got.Duplicate, got.Retries, numbers, numbers)
	}
	for n := range calls {
		if c := calls[n].Load(); c != 1 {
			t.Errorf("event %d was handled %d times, want once", n, c)
		}
	}
}

// TestAClusterTakesIt: each script has one key, so there is nothing to keep in one slot.
func TestAClusterTakesIt(t *testing.T) {
	server := newServer(t, "--cluster-enabled", "yes", "--appendonly", "no")
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.addr()}, ContextTimeoutEnabled: true})
	defer func() { _ = c.Close() }()
	node := redis.NewClient(&redis.Options{Addr: server.addr()})
	defer func() { _ = node.Close() }()
	must(t, node.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err())
	for end := time.Now().Add(20 * time.Second); ; {
		info, err := node.ClusterInfo(ctx).Result()
		if err == nil && len(info) > 0 && info[:len("cluster_state:ok")] == "cluster_state:ok" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no cluster: %v\n%s", err, info)
		}
		<-time.After(20 * time.Millisecond)
	}
	s := redisstore.New(c, redisstore.Config{})
	must(t, s.Check(ctx))
	stores := 0
	idempotencytest.Run(t, func(*testing.T) idempotency.Store {
		stores++
		return redisstore.New(c, redisstore.Config{Prefix: strconv.Itoa(stores) + ":"})
	})
	// Names with braces, which a cluster reads as tags, are keys like any other.
	for _, id := range []string{"{a}1", "}{", "{}", "a{b}{c}"} {
		must(t, s.Confirm(ctx, claimed(t, s, id, 7)))
		if c, err := s.Claim(ctx, requestOf(id, 8)); err != nil || c.State != idempotency.Done {
			t.Errorf("%s is %+v, %v", id, c, err)
		}
	}
}
