package sqlitestore_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"testing"
)

func escaped(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// recount compares every counter in the file with what it counts, and has SQLite check the file.
func recount(t testing.TB, path string) {
	t.Helper()
	db := foreign(t, path)
	for what, query := range map[string]string{
		"totals": `SELECT count(*) FROM totals WHERE
			letters <> (SELECT count(*) FROM letters)
			OR lanes <> (SELECT count(*) FROM lanes WHERE ordered)
			OR held <> (SELECT count(*) FROM lanes WHERE holding > 0)`,
		"lanes": `SELECT count(*) FROM lanes AS a WHERE
			(letters, live, holding) IS NOT (SELECT count(*), sum(live), sum(live AND holds) FROM letters WHERE lane = a.id)`,
		"facets": `SELECT count(*) FROM facets AS f WHERE
			(letters, bytes) IS NOT (SELECT count(*), sum(bytes) FROM letters WHERE facet = f.id)`,
		"spread": `SELECT count(*) FROM (
			SELECT * FROM (SELECT cause, lane, letters FROM spread EXCEPT
				SELECT f.cause, l.lane, count(*) FROM letters AS l JOIN facets AS f ON f.id = l.facet WHERE f.live AND f.ordered GROUP BY 1, 2)
			UNION ALL
			SELECT * FROM (SELECT f.cause, l.lane, count(*) FROM letters AS l JOIN facets AS f ON f.id = l.facet WHERE f.live AND f.ordered GROUP BY 1, 2
				EXCEPT SELECT cause, lane, letters FROM spread))`,
		"causes": `SELECT count(*) FROM causes AS c WHERE lanes <> (SELECT count(*) FROM spread WHERE cause = c.id)
			OR NOT EXISTS (SELECT 1 FROM facets WHERE cause = c.id)`,
		"live": `SELECT count(*) FROM letters AS l JOIN facets AS f ON f.id = l.facet
			WHERE l.live <> f.live OR f.live <> (f.state <> CAST('discarded' AS BLOB))`,
		"foreign keys": `SELECT count(*) FROM pragma_foreign_key_check`,
		"integrity":    `SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'`,
	} {
		if n := number(t, db, query); n != 0 {
			t.Errorf("%s: %d are wrong", what, n)
		}
	}
}

func number(t testing.TB, db *sql.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", query, err))
	}
	return n
}
