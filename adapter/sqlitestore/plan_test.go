package sqlitestore

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wholeLetters is a plan that reads all of the table, or all of one of its indexes.
var wholeLetters = regexp.MustCompile(`^SCAN (letters|l|e)\b`)

// TestFault51_PlansDoNotScanLetters asks SQLite how it runs each statement: what it costs must not grow with
// the letters in the file.
func TestFault51_PlansDoNotScanLetters(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir()+"/letters.db", Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, query := range slices.Concat(reading, writing) {
		plan := explain(t, s, query)
		for _, step := range plan {
			if wholeLetters.MatchString(step) {
				t.Errorf("%s\nis run as\n%s", query, strings.Join(plan, "\n"))
			}
		}
		if query == sqlHead || query == sqlOfFacet || query == sqlOfLane {
			if slices.ContainsFunc(plan, func(step string) bool { return strings.Contains(step, "TEMP B-TREE") }) {
				t.Errorf("%s\nsorts:\n%s", query, strings.Join(plan, "\n"))
			}
		}
	}
	if plan := explain(t, s, "SELECT * FROM letters WHERE error = x''"); !wholeLetters.MatchString(plan[0]) {
		t.Errorf("a scan is not recognised in %q", plan)
	}
}

func explain(t *testing.T, s *Store, query string) (plan []string) {
	t.Helper()
	args := make([]any, 32)
	for i := range args {
		args[i] = "1"
	}
	rows, err := s.writer.conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, step)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	return plan
}
