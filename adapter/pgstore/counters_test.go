package pgstore_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/adapter/pgstore"
)

// counters are what is kept beside the letters, and what the letters say.
var counters = []struct{ what, letters, kept string }{
	{
		"lanes",
		`SELECT lane, cause, stage, key, ordered, count(*), count(*) FILTER (WHERE live), count(*) FILTER (WHERE live AND holds AND ordered)
			FROM (SELECT l.*, f.cause FROM letters AS l JOIN facets AS f USING (facet)) AS l GROUP BY 1, 2, 3, 4, 5`,
		`SELECT lane, cause, stage, key, ordered, letters, live, holding FROM lanes`,
	},
	{
		"held lanes",
		`SELECT lane, cause FROM lanes WHERE holding > 0`,
		`SELECT lane, cause FROM lanes WHERE change <= (SELECT change FROM meta)`,
	},
	{
		"facets",
		`SELECT facet, topic, reason, error_type, state, live, follower, ordered, count(*), sum(size) FROM letters GROUP BY 1, 2, 3, 4, 5, 6, 7, 8`,
		`SELECT facet, topic, reason, error_type, state, live, follower, ordered, letters, bytes FROM facets`,
	},
	{
		"causes",
		`SELECT f.cause, l.stage, l.fingerprint, count(DISTINCT l.lane) FILTER (WHERE l.live AND l.ordered)
			FROM letters AS l JOIN facets AS f USING (facet) GROUP BY 1, 2, 3`,
		`SELECT cause, stage, fingerprint, lanes FROM causes`,
	},
	{
		"totals",
		`SELECT (SELECT count(*) FROM letters), (SELECT count(DISTINCT lane) FROM letters WHERE ordered),
			(SELECT count(DISTINCT lane) FROM letters WHERE live AND holds AND ordered)`,
		`SELECT letters, lanes, held FROM meta`,
	},
}

// wrongCounters are the counters of a schema that do not fit its letters.
func wrongCounters(ctx context.Context, c *pgx.Conn, schema string) (wrong []string, err error) {
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = "+schema); err != nil {
			return err
		}
		for _, counter := range counters {
			var n int
			query := fmt.Sprintf(`WITH a AS (%s), b AS (%s)
				SELECT (SELECT count(*) FROM (TABLE a EXCEPT ALL TABLE b) AS x) + (SELECT count(*) FROM (TABLE b EXCEPT ALL TABLE a) AS y)`,
				counter.letters, counter.kept)
			if err := tx.QueryRow(ctx, query).Scan(&n); err != nil {
				return fmt.Errorf("%s: %w", counter.what, err)
			}
			if n > 0 {
				wrong = append(wrong, fmt.Sprintf("%s: %d rows", counter.what, n))
			}
		}
		return nil
	})
	return wrong, err
}

func checkCounters(t testing.TB, c *pgx.Conn, schema string) {
	t.Helper()
	wrong, err := wrongCounters(context.Background(), c, schema)
	if err != nil {
		t.Errorf("the counters of %s cannot be checked: %v", schema, err)
	}
	if len(wrong) > 0 {
		t.Errorf("counters do not fit the letters: %v", wrong)
	}
}

func TestWrongCountersAreSeen(t *testing.T) {
	for _, spoil := range []string{
		"UPDATE lanes SET live = live + 1", "UPDATE lanes SET change = NULL", "UPDATE facets SET letters = letters + 1",
		"UPDATE causes SET lanes = 0", "UPDATE meta SET held = 7", "UPDATE letters SET size = size + 1",
	} {
		_, c := server(t)
		schema := fresh(t)
		s := open(t, schema, pgstore.Config{})
		put(t, s, letter("ann", "1"))
		before, err := wrongCounters(t.Context(), c, schema)
		must(t, err)
		_, err = c.Exec(t.Context(), "SET search_path = "+schema+"; "+spoil)
		must(t, err)
		after, err := wrongCounters(t.Context(), c, schema)
		must(t, err)
		if len(before) > 0 || len(after) == 0 {
			t.Errorf("%s: wrong before %v, after %v", spoil, before, after)
		}
		_, err = c.Exec(t.Context(), "DROP SCHEMA "+schema+" CASCADE")
		must(t, err)
	}
}

// TestCountersFitWhateverHappens has a random program change a store, and other stores of the schema with it.
func TestCountersFitWhateverHappens(t *testing.T) {
	_, c := server(t)
	schema := fresh(t)
	p := newProgram(t, schema)
	for range 40 {
		for range 25 {
			p.step()
		}
		checkCounters(t, c, schema)
		if t.Failed() {
			t.Fatalf("seed %d, after %v", p.seed, p.done[max(0, len(p.done)-25):])
		}
	}
	for _, what := range []string{"put", "divert", "discard", "restore", "edit", "resolve", "fail", "purge"} {
		if !slices.Contains(p.done, what) {
			t.Errorf("the program never did: %s", what)
		}
	}
}
