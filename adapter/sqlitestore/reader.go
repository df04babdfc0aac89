package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
)

// readers bounds the connections that read at once.
const readers = 4

// reader is a pool of connections that cannot write. A read is short, since long lists are read in
// pages; it runs to its end, and contexts are looked at between pages: a context that the driver
// watches costs a goroutine a statement, and has left connections interrupted.
type reader struct {
	db    *sql.DB
	stmts map[string]*sql.Stmt
}

func (s *Store) openReader(ctx context.Context) error {
	db, err := sql.Open("sqlite", durable(s.path, "rw", url.Values{"_query_only": {"1"}}))
	if err != nil {
		return s.fault("open", err)
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	s.reader = &reader{db: db}
	conn, err := db.Conn(context.Background())
	if err != nil {
		return s.fault("open", err)
	}
	err = errors.Join(s.checkSettings(ctx, conn), conn.Close())
	if err != nil {
		return err
	}
	s.reader.stmts, err = prepare(reading, db.PrepareContext)
	return s.fault("open", err)
}

func (r *reader) row(query string, args ...any) *sql.Row {
	return r.stmts[query].QueryRowContext(context.Background(), args...)
}

// each calls scan for each row of a query until it returns false or an error.
func (r *reader) each(query string, args []any, scan func(scanner) (more bool, err error)) error {
	rows, err := r.stmts[query].QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if more, err := scan(rows); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

func (r *reader) close() error { return errors.Join(closeStatements(r.stmts), r.db.Close()) }
