package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/runnel-go/runnel/adapter/redisstore"
	"github.com/runnel-go/runnel/idempotency"
)

// address is where the server for tests is, or skips the test.
func address(t testing.TB) string {
	t.Helper()
	addr := os.Getenv("RUNNEL_REDIS_ADDR")
	if addr == "" {
		addr = "127.0.0.1:6379"
	}
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		if os.Getenv("RUNNEL_REQUIRE_SERVICES") == "1" {
			t.Fatalf("there is no Redis at %s: %v", addr, err)
		}
		t.Skipf("there is no Redis at %s: %v; `make services` starts one, RUNNEL_REDIS_ADDR names another", addr, err)
	}
	_ = c.Close()
	return addr
}

var prefixes atomic.Uint64

// prefix is one that nobody else uses; what is under it is removed when the test ends.
func prefix(t testing.TB) string {
	t.Helper()
	p := fmt.Sprintf("runnel-test:%d:%d:%d:", os.Getpid(), time.Now().UnixNano(), prefixes.Add(1))
	client := redis.NewClient(&redis.Options{Addr: address(t)})
	t.Cleanup(func() {
		defer func() { _ = client.Close() }()
		keys := client.Scan(context.Background(), 0, p+"*", 1000).Iterator()
		for keys.Next(context.Background()) {
			client.Del(context.Background(), keys.Val())
		}
	})
	return p
}

// open makes a store under a prefix of its own.
func open(t testing.TB, cfg redisstore.Config) *redisstore.Store {
	t.Helper()
	addr := address(t)
	cfg.Prefix = prefix(t)
	s, err := redisstore.Open(context.Background(), "redis://"+addr, cfg)
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

// network is the way to the server, which a test breaks.
type network struct {
	addr  string
	down  atomic.Bool
	lose  atomic.Int64 // replies to lose
	dials atomic.Int64
}

var errDown = errors.New("the network is down")

func (n *network) client(t testing.TB, retries int) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: n.addr, MaxRetries: retries, ContextTimeoutEnabled: true, PoolSize: 1, MinRetryBackoff: -1, MaxRetryBackoff: -1,
		DisableIdentity: true, Protocol: 2,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if n.down.Load() {
				return nil, errDown
			}
			n.dials.Add(1)
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &wire{c, n}, err
		},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wire is one connection.
type wire struct {
	net.Conn
	n *network
}

// Read loses a reply that has arrived, so that the server has done what it was asked.
func (w *wire) Read(b []byte) (int, error) {
	got, err := w.Conn.Read(b)
	if err == nil && (w.n.down.Load() || w.n.lose.Load() > 0) {
		w.n.lose.Add(-1)
		_ = w.Conn.Close()
		return 0, io.EOF
	}
	return got, err
}

func request(holder uint64) idempotency.Request {
	return idempotency.Request{Key: idempotency.Key{Stage: "charge", ID: "1"}, Lease: time.Minute, Holder: holder}
}
