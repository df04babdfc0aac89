package pgstore

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-go/runnel/idempotency"
)

// IdempotencyConfig says where and how long an Idempotency remembers. The zero value is fit for production.
type IdempotencyConfig struct {
	// Schema is the schema of the table idempotency; both are made when they are not there. It may be that
	// of a Store. Default "runnel".
	Schema string
	// Retention is the window: how long after its mark a key is a duplicate. Default 24 hours.
	Retention time.Duration
	// Timeout bounds each call, and in a transaction its beginning and its end, but not the handler.
	// Default 5 seconds.
	Timeout time.Duration
	// Sweep is how often keys whose retention ended are removed; see Idempotency.Sweep. Default a minute;
	// negative: never by itself.
	Sweep time.Duration
	// Logger is told of a removal that failed, which is tried again. Default slog.Default.
	Logger *slog.Logger
}

func (c IdempotencyConfig) filled() IdempotencyConfig {
	if c.Schema == "" {
		c.Schema = "runnel"
	}
	if c.Retention <= 0 {
		c.Retention = 24 * time.Hour
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	fill(&c.Sweep, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Idempotency is an idempotency.Transactor in a PostgreSQL database of yours: with middleware.InTx a handler
// writes in the transaction that the mark commits in, which Tx gives it.
//
// Each handler that has a transaction has a connection of the pool while it runs, and one more is needed to claim and
// to renew: give the pool more connections than the stage has workers. Leases and retention run by the
// server's clock.
//
// It is safe for concurrent use, by any number of processes. It owns a goroutine, which Close ends.
type Idempotency struct {
	config  IdempotencyConfig
	pool    *pgxpool.Pool
	table   string
	removed atomic.Uint64
	closing chan struct{}
	swept   sync.WaitGroup
	close   sync.Once
}

var _ idempotency.Transactor = (*Idempotency)(nil)

// idempotencyVersion is the newest of the table that this package knows. The table's comment has it.
const idempotencyVersion = 1

// idempotencyTable has a digest of stage and identity as its key, since they may be longer than an index takes. Until
// is when the lease of a claim ends; keep is from when on the row may go. A released key stays for a
// while, so that the next token is above the last one.
const idempotencyTable = `CREATE TABLE %[1]s (
	key bytea PRIMARY KEY, stage bytea NOT NULL, id bytea NOT NULL, state smallint NOT NULL, token bigint NOT NULL,
	until timestamptz NOT NULL, keep timestamptz NOT NULL, holder bigint NOT NULL, digest bigint NOT NULL);
CREATE INDEX idempotency_keep ON %[1]s (keep);
COMMENT ON TABLE %[1]s IS '%[2]d'`

// OpenIdempotency makes the table in the pool's database, or finds it there. A table of a newer version is ErrNewer
// and stays as it is. The pool stays yours: close it after the store.
func OpenIdempotency(ctx context.Context, pool *pgxpool.Pool, config IdempotencyConfig) (*Idempotency, error) {
	s := &Idempotency{config: config.filled(), pool: pool, closing: make(chan struct{})}
	s.table = pgx.Identifier{s.config.Schema, "idempotency"}.Sanitize()
	ctx, cancel := context.WithTimeout(ctx, 6*s.config.Timeout) // others may be making it
	defer cancel()
	if err := pgx.BeginFunc(ctx, pool, func(t pgx.Tx) error { return s.create(ctx, t) }); err != nil {
		return nil, s.fault("open", err)
	}
	if s.config.Sweep > 0 {
		s.swept.Go(s.sweep)
	}
	return s, nil
}

// create makes the table, one process at a time. Where it is there, it needs no right to make one.
func (s *Idempotency) create(ctx context.Context, t pgx.Tx) error {
	if _, err := t.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 7712))", s.config.Schema); err != nil {
		return err
	}
	var schema, table bool
	var version string
	err := t.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1), to_regclass($2) IS NOT NULL,
		coalesce(obj_description(to_regclass($2), 'pg_class'), '')`, s.config.Schema, s.table).Scan(&schema, &table, &version)
	switch {
	case err != nil:
		return err
	case table && version != fmt.Sprint(idempotencyVersion):
		return fmt.Errorf("%w: table %s has version %q, this program knows %d", ErrNewer, s.table, version, idempotencyVersion)
	case table:
		return nil
	}
	if !schema {
		if _, err := t.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{s.config.Schema}.Sanitize()); err != nil {
			return err
		}
	}
	_, err = t.Exec(ctx, fmt.Sprintf(idempotencyTable, s.table, idempotencyVersion))
	return err
}

// Close ends the goroutine. The pool stays open.
func (s *Idempotency) Close() error {
	s.close.Do(func() { close(s.closing) })
	s.swept.Wait()
	return nil
}

func (s *Idempotency) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pgstore: %s: table %s: %w", what, s.table, oneLine{err})
}

// limited bounds a call.
func (s *Idempotency) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.config.Timeout)
}
