package sqlitestore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
)

// missing reports that there is no file yet. It is asked without opening the file: closing it would
// strip the locks that SQLite has on it in this process.
func (s *Store) missing() bool {
	_, err := os.Stat(s.path)
	return errors.Is(err, os.ErrNotExist)
}

// queryer is a database, a connection or a transaction.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// identify returns the file's schema version, 0 for an empty file, and refuses one that is not ours.
func (s *Store) identify(_ context.Context, q queryer) (version int, err error) {
	var id, objects int
	err = errors.Join(
		ask(q, "PRAGMA application_id", &id),
		ask(q, "PRAGMA user_version", &version),
		ask(q, "SELECT count(*) FROM sqlite_schema", &objects),
	)
	switch {
	case err != nil:
		return 0, s.fault("open", err)
	case id == 0 && version == 0 && objects == 0:
		return 0, nil
	case id != applicationID:
		return 0, fmt.Errorf("%w: open: %s: it is another program's SQLite database (application id %#x, %d tables and indexes); "+
			"name another file", ErrForeign, s.path, id, objects)
	case version > schemaVersion:
		return 0, fmt.Errorf("%w: open: %s: its schema is version %d, this program knows up to %d; use a newer program",
			ErrNewer, s.path, version, schemaVersion)
	case version < 1:
		return 0, fmt.Errorf("%w: open: %s: it has no schema version; restore a backup", ErrDamaged, s.path)
	}
	return version, nil
}

func ask(q queryer, query string, to any) error {
	return q.QueryRowContext(context.Background(), query).Scan(to)
}

// migrate brings the schema up to date, in one transaction, and checks that it is whole.
func (s *Store) migrate(ctx context.Context, conn *sql.Conn) error {
	tx, err := conn.BeginTx(context.Background(), nil)
	if err != nil {
		return s.fault("open", err)
	}
	version, err := s.identify(ctx, tx)
	if err == nil {
		err = s.upgrade(tx, version)
	}
	if err == nil {
		err = s.checkSchema(tx)
	}
	if err == nil { // an IMMEDIATE transaction on a file that cannot be written only reads
		_, err = tx.Exec("DELETE FROM claims WHERE 0")
		err = s.fault("open", err)
	}
	if err != nil {
		_ = tx.Rollback() // SQLite may have rolled back by itself
		return err
	}
	return s.fault("open", tx.Commit())
}

func (s *Store) upgrade(tx *sql.Tx, version int) error {
	if version == schemaVersion {
		return nil
	}
	steps := migrations[version:]
	if version == 0 {
		steps = append([]string{fmt.Sprintf("PRAGMA application_id = %d", applicationID)}, steps...)
	}
	for _, step := range append(steps, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)) {
		if _, err := tx.Exec(step); err != nil {
			return s.fault("open: migrate", err)
		}
	}
	if version > 0 {
		return nil
	}
	_, err := tx.Exec("INSERT INTO totals (one, prefix) VALUES (1, ?)", strings.ToLower(rand.Text()[:5]))
	return s.fault("open: migrate", err)
}

// checkSchema finds what is missing from the file: a store without a trigger would miscount in silence.
func (s *Store) checkSchema(tx *sql.Tx) error {
	for _, object := range schemaObjects() {
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = ?", object).Scan(&n); err != nil {
			return s.fault("open", err)
		}
		if n == 0 {
			return fmt.Errorf("%w: open: %s: it lacks %s; restore a backup", ErrDamaged, s.path, object)
		}
	}
	return nil
}

// schemaObjects are the names of the tables, indexes and triggers that a whole file has.
func schemaObjects() (names []string) {
	for _, schema := range migrations {
		for line := range strings.Lines(schema) {
			words := strings.Fields(strings.Replace(line, "UNIQUE ", "", 1))
			if len(words) > 2 && words[0] == "CREATE" {
				names = append(names, words[2])
			}
		}
	}
	return names
}
