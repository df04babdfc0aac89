package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/runnel-go/runnel/idempotency"
)

// The defaults of a Config.
const (
	DefaultPrefix    = "runnel:done:"
	DefaultRetention = 24 * time.Hour
	DefaultTimeout   = 5 * time.Second
)

// ErrEvicts refuses a server that forgets keys when its memory is full.
var ErrEvicts = errors.New("redisstore: the server evicts keys when its memory is full, and a mark that is evicted is forgotten in silence; " +
	"set maxmemory-policy to noeviction, or Config.AllowEviction")

// Config says how a Store keeps its keys. The zero value is fit for production.
type Config struct {
	// Prefix begins every key, so that stores can share a database. Default "runnel:done:".
	Prefix string
	// Retention is the window: how long after its Confirm a key is a duplicate. Default 24 hours.
	Retention time.Duration
	// Timeout bounds each operation. Default 5 seconds.
	Timeout time.Duration
	// AllowEviction accepts a server that evicts keys.
	AllowEviction bool
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Retention <= 0 {
		c.Retention = DefaultRetention
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	return c
}

// Store is an idempotency.Store in Redis. Its methods block for a round trip.
type Store struct {
	cfg    Config
	client redis.UniversalClient
	own    bool
}

var _ idempotency.Store = (*Store)(nil)

// Open connects to the server that a URL names, such as redis://user:password@host:6379/0, and looks whether it can keep
// what it is given. Close the store when the pipeline has ended.
func Open(ctx context.Context, url string, cfg Config) (*Store, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("redisstore: the URL: %w", err)
	}
	opts.ContextTimeoutEnabled = true // else a context does not end a command that is under way
	s := New(redis.NewClient(opts), cfg)
	s.own = true
	if err := s.Check(ctx); err != nil {
		_ = s.client.Close()
		return nil, err
	}
	return s, nil
}

// New makes a store on a client of yours, which Close leaves open: one for a cluster, say. Set its option
// ContextTimeoutEnabled; its MaxRetries may be what they are.
func New(client redis.UniversalClient, cfg Config) *Store {
	return &Store{cfg: cfg.withDefaults(), client: client}
}

// Close closes the connections that Open made.
func (s *Store) Close() error {
	if !s.own {
		return nil
	}
	return s.client.Close()
}

// Check asks the server whether it is there, and returns ErrEvicts when it is set to forget keys.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	info, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	bounded, policy := false, ""
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "maxmemory":
			bounded = value != "0"
		case "maxmemory_policy":
			policy = value
		}
	}
	if bounded && policy != "noeviction" && !s.cfg.AllowEviction {
		return fmt.Errorf("%w (it is %s)", ErrEvicts, policy)
	}
	return nil
}

// Claim asks to run a key.
func (s *Store) Claim(ctx context.Context, r idempotency.Request) (idempotency.Claim, error) {
	c := idempotency.Claim{Key: r.Key}
	reply, err := s.run(ctx, claim, r.Key, r.Lease.Microseconds(), s.keep(r.Lease),
		strconv.FormatUint(r.Holder, 10), strconv.FormatUint(r.Digest, 10)).Slice()
	if err != nil {
		return c, fmt.Errorf("redisstore: claim: %w", err)
	}
	texts := make([]string, len(reply))
	for i, v := range reply {
		texts[i], _ = v.(string)
	}
	if len(texts) != 4 {
		return c, fmt.Errorf("redisstore: claim: the server answers %q", reply)
	}
	token, err := strconv.ParseUint(texts[1], 10, 64)
	if err != nil {
		return c, fmt.Errorf("redisstore: claim: the token: %w", err)
	}
	switch texts[0] {
	case "claimed":
		c.State, c.Token = idempotency.Claimed, token
		return c, nil
	case "busy":
		left, err := strconv.ParseInt(texts[2], 10, 64)
		if err != nil {
			return c, fmt.Errorf("redisstore: claim: the lease: %w", err)
		}
		c.State, c.Until = idempotency.Busy, time.Now().Add(time.Duration(left)*time.Microsecond)
	default:
		c.State = idempotency.Done
	}
	c.Digest, err = strconv.ParseUint(texts[3], 10, 64)
	if err != nil {
		return c, fmt.Errorf("redisstore: claim: the digest: %w", err)
	}
	return c, nil
}

// Renew makes the lease run anew from now.
func (s *Store) Renew(ctx context.Context, c idempotency.Claim, lease time.Duration) error {
	return s.asHolder(ctx, "renew", renew, c, lease.Microseconds(), s.keep(lease))
}

// Confirm records that the holder completed the key.
func (s *Store) Confirm(ctx context.Context, c idempotency.Claim) error {
	return s.asHolder(ctx, "confirm", confirm, c, max(s.cfg.Retention.Milliseconds(), 1))
}

// Release gives the key back. A key that is done stays done.
func (s *Store) Release(ctx context.Context, c idempotency.Claim) error {
	return s.asHolder(ctx, "release", release, c)
}

// asHolder runs a script that answers 1 to the holder of the key and 0 to any other.
func (s *Store) asHolder(ctx context.Context, what string, script *redis.Script, c idempotency.Claim, args ...any) error {
	n, err := s.run(ctx, script, c.Key, append([]any{strconv.FormatUint(c.Token, 10)}, args...)...).Int()
	switch {
	case err != nil:
		return fmt.Errorf("redisstore: %s: %w", what, err)
	case n != 1:
		return idempotency.ErrLost
	}
	return nil
}

func (s *Store) run(ctx context.Context, script *redis.Script, k idempotency.Key, args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	return script.Run(ctx, s.client, []string{s.name(k)}, args...)
}

// name is the key's in Redis. The length keeps a stage and an identity from running into each other.
func (s *Store) name(k idempotency.Key) string {
	return s.cfg.Prefix + strconv.Itoa(len(k.Stage)) + ":" + k.Stage + ":" + k.ID
}

// keep is how many milliseconds a claim is kept: beyond its lease, so that a late holder whom nobody followed can
// confirm.
func (s *Store) keep(lease time.Duration) int64 {
	return max(lease.Milliseconds(), 0) + max(s.cfg.Retention.Milliseconds(), 1)
}
