package pgstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// kind says whose a schema is.
const kind = "runnel dead letters"

// migrate makes the schema or brings it up to date, and checks that it is whole.
func (s *Store) migrate(ctx context.Context, t pgx.Tx) error {
	// Not in the schema's own tables: there may be none yet.
	if _, err := t.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 7711))", s.config.Schema); err != nil {
		return err
	}
	version, err := s.identify(ctx, t)
	if err == nil && version < 0 && s.config.Existing {
		err = fmt.Errorf("%w: open: schema %s; name another", ErrMissing, s.config.Schema)
	}
	if err == nil && version < schemaVersion {
		err = s.upgrade(ctx, t, version)
	}
	if err == nil {
		err = s.checkSchema(ctx, t)
	}
	if err == nil { // now, and not when the first letter comes
		_, err = t.Exec(ctx, `INSERT INTO letters SELECT * FROM letters WHERE false; UPDATE meta SET last = last WHERE false;
			DELETE FROM letters WHERE false`)
	}
	return err
}

// absent and empty are the versions of a schema that is not there, and of one without tables.
const (
	absent = -1
	empty  = 0
)

// identify returns the schema's version, and refuses one that is not ours.
func (s *Store) identify(ctx context.Context, t pgx.Tx) (version int, err error) {
	var there, marked bool
	var objects int
	err = t.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
		(SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace 
			WHERE n.nspname = $1 AND c.relname NOT LIKE 'idempotency%'), -- OpenIdempotency's
		(SELECT count(*) = 2 FROM information_schema.columns
			WHERE table_schema = $1 AND table_name = 'meta' AND column_name IN ('kind', 'version'))`, s.config.Schema).
		Scan(&there, &objects, &marked)
	switch {
	case err != nil:
		return 0, err
	case !there:
		return absent, nil
	case objects == 0:
		return empty, nil
	case !marked:
		return 0, fmt.Errorf("%w: open: schema %s: it has %d tables and indexes of another program; name another",
			ErrForeign, s.config.Schema, objects)
	}
	return s.versionOf(ctx, t)
}

func (s *Store) versionOf(ctx context.Context, t pgx.Tx) (version int, err error) {
	var whose string
	rows, err := t.Query(ctx, "SELECT kind, version FROM meta")
	if err != nil {
		return 0, err
	}
	found := 0
	_, err = pgx.ForEachRow(rows, []any{&whose, &version}, func() error { found++; return nil })
	switch {
	case err != nil:
		return 0, err
	case found == 1 && whose != kind:
		return 0, fmt.Errorf("%w: open: schema %s: it is of %q; name another", ErrForeign, s.config.Schema, whose)
	case found != 1 || version < 1:
		return 0, fmt.Errorf("%w: open: schema %s: meta has %d rows and version %d; restore a backup",
			ErrDamaged, s.config.Schema, found, version)
	case version > schemaVersion:
		return 0, fmt.Errorf("%w: open: schema %s: it has version %d, this program knows up to %d; use a newer program",
			ErrNewer, s.config.Schema, version, schemaVersion)
	}
	return version, nil
}

func (s *Store) upgrade(ctx context.Context, t pgx.Tx, version int) error {
	if version == absent {
		if _, err := t.Exec(ctx, "CREATE SCHEMA "+s.schema()); err != nil {
			return err
		}
	}
	for _, step := range migrations[max(version, empty):] {
		if _, err := t.Exec(ctx, step); err != nil {
			return err
		}
	}
	var err error
	if version > empty {
		_, err = t.Exec(ctx, "UPDATE meta SET version = $1", schemaVersion)
	} else {
		_, err = t.Exec(ctx, "INSERT INTO meta (one, kind, version, prefix) VALUES (true, $1, $2, $3)", kind, schemaVersion,
			strings.ToLower(rand.Text()[:8]))
	}
	return err
}

// checkSchema finds what is missing: a store without an index would be slow in silence, and one without a
// column would fail in the middle of its work.
func (s *Store) checkSchema(ctx context.Context, t pgx.Tx) error {
	have := map[string]bool{}
	rows, err := t.Query(ctx, `SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
		WHERE n.nspname = $1`, s.config.Schema)
	if err != nil {
		return err
	}
	var name string
	if _, err = pgx.ForEachRow(rows, []any{&name}, func() error { have[name] = true; return nil }); err != nil {
		return err
	}
	for _, part := range schemaParts() {
		if !have[part] {
			return fmt.Errorf("%w: open: schema %s: it lacks %s; restore a backup", ErrDamaged, s.config.Schema, part)
		}
	}
	return nil
}

// schemaParts are the indexes and the tables' columns that a whole schema has. In the migrations a column
// stands at the beginning of a line.
func schemaParts() (parts []string) {
	table := ""
	for _, schema := range migrations {
		for line := range strings.Lines(schema) {
			words := strings.Fields(strings.Replace(line, "UNIQUE ", "", 1))
			switch {
			case len(words) > 2 && words[0] == "CREATE" && words[1] == "TABLE":
				table = words[2]
			case len(words) > 2 && words[0] == "CREATE" && words[1] == "INDEX":
				parts = append(parts, words[2])
			case strings.HasPrefix(line, "\t") && len(words) > 1 && words[0] != "PRIMARY":
				parts = append(parts, table+"."+words[0])
			}
		}
	}
	return parts
}
