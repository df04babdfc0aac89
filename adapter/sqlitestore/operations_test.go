package sqlitestore_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

func TestAFileOfTheFirstVersionIsBroughtUpToDate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters.db")
	db := foreign(t, path)
	for _, step := range []string{
		fmt.Sprintf("PRAGMA application_id = %d", sqlitestore.ApplicationID), sqlitestore.FirstSchema, "PRAGMA user_version = 1",
		"INSERT INTO totals (one, prefix) VALUES (1, 'first')",
	} {
		if _, err := db.Exec(step); err != nil {
			t.Fatal(err)
		}
	}
	must(t, db.Close())
	s := open(t, path, sqlitestore.Config{})
	put(t, s, letter("ann", "1"))
	o, err := s.AddOperation(t.Context(), deadletter.Operation{Who: "ann"}, "", 0)
	if err != nil || o.ID != "first-op-1" {
		t.Errorf("AddOperation = %+v, %v", o, err)
	}
	recount(t, path)
}

func TestOldOperationsAreForgottenWithTheirFailures(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	first, err := s.AddOperation(t.Context(), deadletter.Operation{}, "", 0)
	must(t, err)
	db := foreign(t, path)
	_, err = db.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?1)
		INSERT INTO operations (open, stage, filter, selected, rate, most, parallel, who, why, at, state)
		SELECT 0, x'', '{}', 0, 0, 0, 0, x'', x'', x'0000', 'finished' FROM c`, deadletter.MaxEnded+6)
	must(t, err)
	_, err = db.Exec(`INSERT INTO failures (operation, letter, stage, key, error) SELECT n, 'l', x'', x'', x'' FROM operations`)
	must(t, err)
	for range 2 {
		_, err = s.AddOperation(t.Context(), deadletter.Operation{}, "me", 0)
		must(t, err)
	}
	var kept, failures int
	must(t, db.QueryRow("SELECT count(*) FROM operations WHERE open = 0").Scan(&kept))
	must(t, db.QueryRow("SELECT count(*) FROM failures").Scan(&failures))
	if kept < deadletter.MaxEnded || kept > deadletter.MaxEnded+1 || failures != kept+1 {
		t.Errorf("%d ended operations and %d failures are kept", kept, failures)
	}
	if _, err := s.Operation(t.Context(), first.ID); errors.Is(err, deadletter.ErrNotFound) {
		t.Error("an open operation was forgotten")
	}
	pages := 0
	for _, err := range s.Operations(t.Context()) { // several pages of them
		must(t, err)
		pages++
	}
	if pages != kept+3 {
		t.Errorf("Operations yields %d, want %d", pages, kept+3)
	}
}
