package pgstore_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between a store and its server, and cuts their connection.
type proxy struct {
	t      *testing.T
	listen net.Listener
	server string

	mu    sync.Mutex
	conns []net.Conn
	shut  bool // nobody gets through

	// The next message of a writer that is counted down to is cut: before it reaches the server, or the server's
	// answer to it.
	until  atomic.Int64
	answer atomic.Bool
	cuts   atomic.Int64
}

// through returns a proxy and the connection string by which it is reached.
func through(t *testing.T) (*proxy, string) {
	t.Helper()
	dsn, _ := server(t)
	u, err := url.Parse(dsn)
	must(t, err)
	p := &proxy{t: t, server: u.Host}
	p.listen, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := p.listen.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = p.listen.Close()
		p.hangUp(true)
		all.Wait()
	})
	u.Host = p.listen.Addr().String()
	return p, u.String()
}

// hangUp ends all connections.
func (p *proxy) hangUp(shut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = shut
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) keep(c ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c...)
	return !p.shut
}

// cut has message n from now on cut, or the answer to it.
func (p *proxy) cut(n int, answer bool) {
	p.answer.Store(answer)
	p.until.Store(int64(n))
}

func (p *proxy) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	to, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	if !p.keep(client, to) {
		return
	}
	var drop atomic.Bool
	var back sync.WaitGroup
	back.Go(func() {
		p.copy(client, to, func([]byte) bool { return !drop.Load() }) // what comes back is awaited and not passed on
		_ = client.Close()
	})
	writer := false
	p.copy(to, client, func(message []byte) bool {
		writer = writer || bytes.Contains(message, []byte("lock_timeout")) // only the writer sets it
		if !writer || p.until.Load() <= 0 || p.until.Add(-1) != 0 {
			return true
		}
		p.cuts.Add(1)
		drop.Store(true)
		return p.answer.Load()
	})
	_ = to.Close()
	back.Wait()
}

// copy passes messages on until one is not to be passed.
func (*proxy) copy(to io.Writer, from io.Reader, pass func(message []byte) bool) {
	message := make([]byte, 1<<20)
	for {
		n, err := from.Read(message)
		if err != nil || !pass(message[:n]) {
			return
		}
		if _, err := to.Write(message[:n]); err != nil {
			return
		}
	}
}
