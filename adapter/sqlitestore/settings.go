package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// busyLimit is how long a transaction waits for another process's.
const busyLimit = 10 * time.Second

// settings are what durability and isolation rest on. They stand in the connection string, since a
// pragma that is executed reaches one connection of a pool only, and they are read back: an unknown
// name in a connection string is passed over in silence.
var settings = []struct{ parameter, value, pragma, want string }{
	{"_busy_timeout", "10000", "busy_timeout", "10000"},
	{"_journal_mode", "WAL", "journal_mode", "wal"},
	{"_synchronous", "FULL", "synchronous", "2"},
	{"_foreign_keys", "1", "foreign_keys", "1"},
}

// source is the connection string of the file, which SQLite opens in mode "rw" (it must be there) or
// "rwc" (it is made).
func source(path, mode string, more url.Values) string {
	more.Set("mode", mode)
	more.Set("_dqs", "0")
	more.Set("_error_rc", "1")
	// What undoes one statement of many is kept in memory: a letter's insert, which counts in other
	// tables, would write its temporary journal to a file otherwise, 20 µs a letter.
	more.Set("_pragma", "temp_store(MEMORY)")
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: more.Encode()}).String()
}

// durable is the connection string with all settings, but for those that more has itself.
func durable(path, mode string, more url.Values) string {
	for _, v := range settings {
		if !more.Has(v.parameter) {
			more.Set(v.parameter, v.value)
		}
	}
	return source(path, mode, more)
}

// probe looks whose the file is before anything in it could change, the journal mode included.
func (s *Store) probe(ctx context.Context) error {
	if s.missing() {
		return nil
	}
	db, err := sql.Open("sqlite", source(s.path, "rw", url.Values{"_busy_timeout": {"10000"}, "_query_only": {"1"}}))
	if err != nil {
		return s.fault("open", err)
	}
	return errors.Join(s.probeIn(ctx, db), s.fault("open", db.Close()))
}

// probeIn looks in one transaction: another process may be making the file just now.
func (s *Store) probeIn(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return s.fault("open", err)
	}
	_, err = s.identify(ctx, tx)
	return errors.Join(err, s.fault("open", tx.Rollback()))
}

func (s *Store) checkSettings(_ context.Context, conn *sql.Conn) error {
	return checkSettings(s.path, conn, nil)
}

// checkSettings reads back what the connection string asked for, but for what more had its own values of.
func checkSettings(path string, conn *sql.Conn, more url.Values) error {
	for _, v := range settings {
		if more.Has(v.parameter) {
			continue
		}
		var got string
		if err := conn.QueryRowContext(context.Background(), "PRAGMA "+v.pragma).Scan(&got); err != nil {
			return faultOf("open", path, err)
		}
		if got != v.want {
			return fmt.Errorf("sqlitestore: open: %s: SQLite has %s = %s, want %s: without it what was acknowledged may be lost; "+
				"keep the file on a local disk", path, v.pragma, got, v.want)
		}
	}
	return nil
}

func (s *Store) openWriter(ctx context.Context) error {
	db, err := sql.Open("sqlite", durable(s.path, "rwc", url.Values{"_txlock": {"immediate"}}))
	if err != nil {
		return s.fault("open", err)
	}
	db.SetMaxOpenConns(1)
	conn, err := connect(db)
	if err != nil {
		return errors.Join(s.fault("open", err), db.Close())
	}
	s.writer = &writer{store: s, db: db, conn: conn, queue: make(chan *write), closing: make(chan struct{})}
	if err := s.checkSettings(ctx, conn); err != nil {
		return err
	}
	if err := s.migrate(ctx, conn); err != nil {
		return err
	}
	s.writer.stmts, err = prepare(writing, conn.PrepareContext)
	return s.fault("open", err)
}

// connect opens the one connection. Changing the journal mode of a new file does not wait for others
// that do the same, so it is tried again.
func connect(db *sql.DB) (*sql.Conn, error) {
	for deadline := time.Now().Add(busyLimit); ; {
		conn, err := db.Conn(context.Background())
		if code(err) != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return conn, err
		}
		<-time.After(5 * time.Millisecond)
	}
}

func prepare(queries []string, with func(context.Context, string) (*sql.Stmt, error)) (map[string]*sql.Stmt, error) {
	stmts := map[string]*sql.Stmt{}
	for _, q := range queries {
		stmt, err := with(context.Background(), q)
		if err != nil {
			return nil, errors.Join(err, closeStatements(stmts))
		}
		stmts[q] = stmt
	}
	return stmts, nil
}

func closeStatements(stmts map[string]*sql.Stmt) (err error) {
	for _, stmt := range stmts {
		err = errors.Join(err, stmt.Close())
	}
	return err
}
