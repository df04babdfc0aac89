package pgstore_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/adapter/pgstore"
)

// wholeLetters is a plan that reads all of the table, or all of one of its indexes.
var wholeLetters = regexp.MustCompile(`Seq Scan on letters|Index [^\n]* letters_pkey on letters[^\n]*\n\s*(Index Cond: \(n [<>]|Filter)|Bitmap Heap Scan on letters[^\n]*\n\s*(Filter|->  Bitmap Index Scan[^\n]*\n\s*(->|$))`)

// TestPlansDoNotScanLetters asks the server how it runs each statement, whatever its arguments are, on a table that
// is large enough for an index to be worth it: what it costs must not grow with the letters.
func TestPlansDoNotScanLetters(t *testing.T) {
	schema := fresh(t)
	s := open(t, schema, pgstore.Config{})
	fill(t, s, 4000)
	must(t, s.OnServer(t.Context(), func(c *pgx.Conn) error {
		for _, q := range []string{"VACUUM ANALYZE letters", "VACUUM ANALYZE lanes", "VACUUM ANALYZE facets", "ANALYZE causes", "SET plan_cache_mode = force_generic_plan"} {
			if _, err := c.Exec(t.Context(), q); err != nil {
				return err
			}
		}
		for name, query := range pgstore.Statements {
			if plan := explain(t, c, query); wholeLetters.MatchString(plan) {
				t.Errorf("%s: %s\nis run as\n%s", name, query, plan)
			}
		}
		for name, index := range map[string]string{
			"head": "letters_lane", "heads": "letters_lane", "ahead": "letters_lane", "of lanes": "letters_lane", "of facets": "letters_facet",
			"of age": "letters_age", "groups": "letters_age", "counts": "letters_age", "outdated": "letters_discarded",
			"events": "letters_event", "get": "letters_pkey", "glean": "letters_id", "page": "letters_pkey", "places": "letters_id",
			"remove": "letters_pkey", "lanes of key": "lanes_key", "held": "lanes_change",
		} {
			if plan := explain(t, c, pgstore.Statements[name]); !strings.Contains(plan, index) {
				t.Errorf("%s goes without %s:\n%s", name, index, plan)
			}
		}
		// Of a lane and of a facet the first letters are read, and no more.
		for _, name := range []string{"head", "outdated"} {
			if plan := explain(t, c, pgstore.Statements[name]); strings.Contains(plan, "Sort") {
				t.Errorf("%s sorts:\n%s", name, plan)
			}
		}
		for _, name := range []string{"heads", "of lanes", "of facets"} {
			plan := explain(t, c, pgstore.Statements[name])
			if _, below, _ := strings.Cut(plan, "Nested Loop"); strings.Contains(below, "Sort") || below == "" {
				t.Errorf("%s sorts what it reads:\n%s", name, plan)
			}
		}
		if plan := explain(t, c, "SELECT * FROM letters WHERE error = $1"); !wholeLetters.MatchString(plan) {
			t.Errorf("a scan is not recognised in\n%s", plan)
		}
		return nil
	}))
}

// fill puts letters of 500 keys and 5 causes.
func fill(t testing.TB, s *pgstore.Store, n int) {
	t.Helper()
	var all sync.WaitGroup
	for w := range 64 {
		all.Go(func() {
			for i := w; i < n; i += 64 {
				l := letter(fmt.Sprint("key-", i%500), fmt.Sprint("event-", i))
				l.Fingerprint, l.Payload = fmt.Sprint("f", i%5), make([]byte, 200)
				if _, err := s.Put(context.Background(), l); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

var parameter = regexp.MustCompile(`\$(\d+)`)

func explain(t testing.TB, c *pgx.Conn, query string) string {
	t.Helper()
	most := 0
	for _, m := range parameter.FindAllStringSubmatch(query, -1) {
		var n int
		_, _ = fmt.Sscan(m[1], &n)
		most = max(most, n)
	}
	_, err := c.Exec(t.Context(), "PREPARE explained AS "+query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	run := "EXPLAIN (COSTS OFF) EXECUTE explained"
	if most > 0 {
		run += "(" + strings.Repeat("NULL, ", most-1) + "NULL)"
	}
	rows, err := c.Query(t.Context(), run, pgx.QueryExecModeSimpleProtocol)
	must(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	_, err = c.Exec(t.Context(), "DEALLOCATE explained")
	must(t, err)
	return strings.Join(lines, "\n")
}
