package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/deadletter"
)

// Store is a deadletter.Store in one SQLite file. It is safe for concurrent use, and any number of
// processes may have the file open at once. It owns two goroutines, which Close ends.
type Store struct {
	path   string
	config Config
	ids    ids
	writer *writer
	reader *reader
	// held has every lane that this store acknowledged a holding letter for and has not seen open since,
	// and those that others made held. The writer takes lanes out, after each commit and before it
	// answers, in the order of the commits; the watcher only adds.
	//
	// Another process may open a lane of the set, which then stays until this store asks the file about it
	// (Divert) or writes to it: MayHold says true of an open lane meanwhile, which costs one Divert. And it
	// may hold a lane that is not in the set: the writer adds it with its next transaction, whatever that
	// is about, and the watcher within Config.Watch.
	held    deadletter.HeldSet
	ahead   ahead
	removed atomic.Uint64
	close   sync.Once
	closed  error // what close came to
}

var _ deadletter.Store = (*Store)(nil)

// Open opens the store in the file at path, and makes the file when there is none; its directory must
// exist. It brings an older schema up to date and removes discarded letters whose retention ended. It
// blocks on the disk, and up to 10 seconds on another process's write lock; ctx is honoured between
// steps. What it holds in memory are the keys of the held sequences, which it reads: a million in some
// seconds.
//
// It changes nothing and returns an error that names the file and the mend when the file is another
// program's (ErrForeign), of a newer version (ErrNewer), damaged (ErrDamaged), or cannot be written
// (ErrReadOnly), or when SQLite does not take a setting that durability rests on.
func Open(ctx context.Context, path string, config Config) (*Store, error) {
	s := &Store{path: path, config: config.filled()}
	if err := s.open(ctx); err != nil {
		if s.writer != nil {
			_ = s.Close() // it has nothing to add
		}
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	path, err := locate(s.path)
	if err != nil {
		return err
	}
	s.path = path
	for _, step := range []func(context.Context) error{s.probe, s.openWriter, s.openReader, s.load} {
		if ctx.Err() != nil {
			return fmt.Errorf("sqlitestore: open: %s: %w", s.path, context.Cause(ctx))
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	_, err = s.Sweep(ctx)
	return err
}

// locate makes a path absolute, so that it names the same file whatever the process's directory
// becomes, and says what is wrong with it where SQLite would not.
func locate(name string) (path string, err error) {
	if name == "" || name == ":memory:" {
		return "", fmt.Errorf("sqlitestore: open: path %q: name a file; what lives in memory is deadletter.NewMemory's and idempotency.NewMemory's", name)
	}
	if path, err = filepath.Abs(name); err != nil {
		return "", fmt.Errorf("sqlitestore: open: %s: %w", name, err)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return "", fmt.Errorf("sqlitestore: open: %s is a directory: name a file in it", path)
	case err == nil && !info.Mode().IsRegular():
		return "", fmt.Errorf("sqlitestore: open: %s is no regular file: name another", path)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%w: open: %w", ErrReadOnly, err)
	}
	if dir := filepath.Dir(path); err != nil {
		if _, err := os.Stat(dir); err != nil {
			return "", fmt.Errorf("%w: open: %s: there is no directory %s: make it first: %w", ErrReadOnly, path, dir, err)
		}
	}
	return path, nil
}

// load reads what the store keeps in memory.
func (s *Store) load(ctx context.Context) error {
	var version int64
	if err := s.reader.row(sqlTotals).Scan(&s.ids.prefix, &version); err != nil {
		return s.fault("open", err)
	}
	if !s.config.Visit {
		if err := s.addHeld(ctx, s.reader.stmts[sqlHeld], -1); err != nil {
			return s.fault("open", err)
		}
	}
	s.writer.seen.Store(version)
	s.writer.done.Go(s.writer.loop)
	if s.config.Watch > 0 && !s.config.Visit {
		s.writer.done.Go(s.watch)
	}
	return nil
}

// addHeld adds the lanes that became held after a version of the totals. It reads the version before
// the lanes, never after: a lane that is read twice does no harm.
func (s *Store) addHeld(_ context.Context, query *sql.Stmt, after int64) error {
	rows, err := query.QueryContext(context.Background(), after)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var l lane
		if err := rows.Scan(&l.stage, &l.key); err != nil {
			return err
		}
		s.held.Set(l.stage, l.key, true)
	}
	return rows.Err()
}

// Close ends the store once the writes that were taken are done, and closes the file. Calls that come
// later return ErrClosed. The first Close returns what went wrong, as do all others.
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.writer.closing)
		err := s.writer.close()
		if s.reader != nil {
			err = errors.Join(err, s.reader.close())
		}
		if err != nil {
			s.closed = fmt.Errorf("sqlitestore: close: %s: %w", s.path, err)
		}
	})
	return s.closed
}

// MayHold implements deadletter.Keeper. While nothing is held anywhere it costs one atomic load, else a
// look into a map; it does neither I/O nor allocate. For a sequence that another process opened it says
// true until Divert has asked the file; one that another process made held is known within Config.Watch,
// and with this store's next write.
func (s *Store) MayHold(stage, key string) bool { return s.config.Visit || s.held.Has(stage, key) }
