package pgstore

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-go/runnel/deadletter"
)

// Store is a deadletter.RedriveStore in one schema of a PostgreSQL database. It is safe for concurrent use,
// and any number of processes may have the schema open. It owns two goroutines and the connections, which
// Close ends: one that writes, and a pool that reads.
type Store struct {
	config Config
	pool   *pgxpool.Pool
	prefix string
	writer *writer
	ahead  ahead
	// held has every lane that this store acknowledged a holding letter for and has not seen open since,
	// and those that others made held. The writer takes lanes out, after each commit and before it answers,
	// in the order of the commits; the watcher only adds.
	//
	// Another process may open a lane of the set, which then stays until this store asks the server about it
	// (Divert) or writes to it: MayHold says true of an open lane meanwhile, which costs one Divert. And it
	// may hold a lane that is not in the set: the writer adds it with its next transaction, whatever that is
	// about, and the watcher within Config.Watch.
	held    deadletter.HeldSet
	removed atomic.Uint64
	close   sync.Once
}

var _ deadletter.RedriveStore = (*Store)(nil)

// Open connects to the database that dsn names, a URL or key=value pairs as libpq's, makes the schema or
// brings it up to date, and removes discarded letters whose retention ended. It blocks on the network; no
// error of it has the password. What it holds in memory are the keys of the held sequences, which it reads.
//
// It changes nothing and returns an error that names the schema and the mend when that is another program's
// (ErrForeign), of a newer version (ErrNewer), damaged (ErrDamaged), cannot be written (ErrReadOnly), is not
// there and shall not be made (ErrMissing), or when the server does not flush what it acknowledges (ErrLossy).
func Open(ctx context.Context, dsn string, config Config) (*Store, error) {
	s := &Store{config: config.filled()}
	c, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, s.fault("open", err) // pgx masks the password
	}
	delete(c.ConnConfig.RuntimeParams, "search_path")
	c.AfterConnect = s.settle // not when it connects: a pooler refuses such a parameter, or passes it over
	if s.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return nil, s.fault("open", err)
	}
	if err = s.open(ctx, c.ConnConfig.Copy()); err != nil {
		_ = s.Close() // it has nothing to add
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, c *pgx.ConnConfig) error {
	s.writer = newWriter(s, c)
	conn, err := s.writer.dial(ctx)
	if err != nil {
		return s.fault("open", err)
	}
	s.writer.conn = conn
	if err := s.prepare(ctx, conn); err != nil {
		return s.fault("open", err)
	}
	s.writer.done.Go(s.writer.loop)
	if s.config.Watch > 0 {
		s.writer.done.Go(s.watch)
	}
	_, err = s.Sweep(ctx)
	return err
}

// settle has a connection find the store's tables.
func (s *Store) settle(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SELECT set_config('search_path', $1, false)", s.schema())
	return err
}

func (s *Store) schema() string { return pgx.Identifier{s.config.Schema}.Sanitize() }

// prepare makes or migrates the schema, one process at a time, and reads what is held.
func (s *Store) prepare(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(t pgx.Tx) error {
		if err := s.migrate(ctx, t); err != nil {
			return err
		}
		var change int64
		if err := t.QueryRow(ctx, sqlChange).Scan(&s.prefix, &change); err != nil {
			return err
		}
		s.writer.seen.Store(change)
		return s.addHeld(ctx, t, -1)
	})
}

// querier is a connection, a transaction or the pool.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

// addHeld adds the lanes that became held after a version. The version is read before the lanes, never after:
// a lane that is read twice does no harm.
func (s *Store) addHeld(ctx context.Context, q querier, after int64) error {
	rows, err := q.Query(ctx, sqlHeld, after)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l lane
		if err := rows.Scan(texts{}.to(&l.stage), texts{}.to(&l.key)); err != nil {
			return err
		}
		s.held.Set(l.stage, l.key, true)
	}
	return rows.Err()
}

// Close ends the store once the writes that were taken are done, and closes its connections. Calls that
// come later return ErrClosed.
func (s *Store) Close() error {
	s.close.Do(func() {
		if s.writer != nil {
			s.writer.end()
			s.writer.done.Wait()
			s.writer.hangUp()
		}
		s.pool.Close()
	})
	return nil
}

func (s *Store) closed() bool { return s.writer != nil && s.writer.ending.Err() != nil }

// MayHold implements deadletter.Keeper. While nothing is held anywhere it costs one atomic load, else a look
// into a map; it does neither I/O nor allocate. For a sequence that another process opened it says true until
// Divert has asked the server; one that another process made held is known within Config.Watch, and with this
// store's next write.
func (s *Store) MayHold(stage, key string) bool { return s.held.Has(stage, key) }
