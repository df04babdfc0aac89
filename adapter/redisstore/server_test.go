package redisstore_test

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/runnel-go/runnel/adapter/redisstore"
	"github.com/runnel-go/runnel/idempotency"
)

// server is a redis-server of one test, which it may kill and start again in the same folder.
type server struct {
	t    *testing.T
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
}

// newServer starts one, or skips the test where there is no redis-server.
func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	address(t) // skips, or fails, as the other tests do
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skipf("no redis-server to kill: %v", err)
	}
	s := &server{t: t, dir: t.TempDir(), port: freePort(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// freePort is one that nobody listens on, and whose neighbour for a cluster's bus is a port too.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port < 50000 {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (s *server) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// start returns when it answers.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", append([]string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
	}, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1})
	defer func() { _ = c.Close() }()
	for end := time.Now().Add(20 * time.Second); ; {
		err := c.Ping(ctx).Err()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("redis-server does not answer: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// kill ends it as a crash does.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// store is one on this server.
func (s *server) store() *redisstore.Store {
	s.t.Helper()
	store, err := redisstore.Open(ctx, "redis://"+s.addr(), redisstore.Config{Timeout: time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = store.Close() })
	return store
}

func claimed(t *testing.T, s *redisstore.Store, id string, holder uint64) idempotency.Claim {
	t.Helper()
	c, err := s.Claim(ctx, requestOf(id, holder))
	if err != nil || c.State != idempotency.Claimed {
		t.Fatalf("Claim(%s) = %+v, %v, want it claimed", id, c, err)
	}
	return c
}

func requestOf(id string, holder uint64) idempotency.Request {
	r := request(holder)
	r.Key.ID = id
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
