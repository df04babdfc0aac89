package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// mended is a program whose every redrive succeeds.
type mended struct{ deadletter.Store }

func (m mended) Redrive(ctx context.Context, l deadletter.Letter, c deadletter.Claim) error {
	return m.Resolve(ctx, c, l.ID)
}

// program opens a file as a program that redrives does.
func program(t *testing.T, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestMaxIsOfAllStagesTogether(t *testing.T) {
	all := letters()[:3]
	all[2].Stage = "notify"
	path := file(t, all...)
	if out := dlq(t, path, "redrive", "--all", "--max", "2", "--dry-run"); !strings.HasPrefix(out, "2 letters would be redriven\n") {
		t.Errorf("redrive --dry-run prints %q", out)
	}
	dlq(t, path, "redrive", "--all", "--max", "2")
	s := program(t, path)
	if _, err := deadletter.NewRedriver(s, mended{s}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := events(t, path); len(got) != 1 {
		t.Errorf("%q are left of 3, want one: --max 2", got)
	}
}

// TestALetterBehindAnotherIsNotRedriven, and who waits for it is told so.
func TestALetterBehindAnotherIsNotRedriven(t *testing.T) {
	path := file(t, letters()[:2]...)
	s := program(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- deadletter.NewRedriver(s, mended{s}, deadletter.RedriverConfig{Interval: 20 * time.Millisecond}).Run(ctx)
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ids := lines(t, dlq(t, path, "ls", "--json"))
	r := start(t, "", "dlq", "redrive", ids[1].ID, "--wait", "--store", "sqlite:"+path)
	if r.code != exitFailed || r.err != "" || !strings.Contains(r.out, "0 of 1 letter succeeded, 0 failed, 1 stand behind one that stays, 0 not reached, 0 gone\n") {
		t.Errorf("the second letter: exit code %d, %q, %q", r.code, r.out, r.err)
	}
	dlq(t, path, "redrive", ids[0].ID, ids[1].ID, "--wait")
	if got := events(t, path); len(got) != 0 {
		t.Errorf("%q are left", got)
	}
}

// TestWhatARedriveHasNotReachedIsNotGone, while it is open and when it was cancelled.
func TestWhatARedriveHasNotReachedIsNotGone(t *testing.T) {
	path := file(t, letters()...)
	var asked []opJSON
	if err := json.Unmarshal([]byte(dlq(t, path, "redrive", "--key", "ann", "--json")), &asked); err != nil || len(asked) != 1 {
		t.Fatalf("%v, %+v", err, asked)
	}
	look := func(state string, untouched, gone int) {
		t.Helper()
		var o opJSON
		err := json.Unmarshal([]byte(dlq(t, path, "ops", asked[0].ID, "--json")), &o)
		if err != nil || o.State != state || o.Untouched != untouched || o.Gone != gone {
			t.Errorf("%v, %s: %d untouched, %d gone, want %s, %d and %d", err, o.State, o.Untouched, o.Gone, state, untouched, gone)
		}
	}
	look("requested", 2, 0)
	dlq(t, path, "ops", "cancel", asked[0].ID)
	look("cancelled", 2, 0)
	if out := dlq(t, path, "ops", asked[0].ID); !strings.Contains(out, ", 2 not reached, 0 gone\n") {
		t.Errorf("ops prints %q", out)
	}
	if err := json.Unmarshal([]byte(dlq(t, path, "redrive", "--key", "ann", "--json")), &asked); err != nil {
		t.Fatal(err)
	}
	dlq(t, path, "purge", "--key", "ann", "--yes")
	s := program(t, path)
	if _, err := deadletter.NewRedriver(s, mended{s}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	look("finished", 0, 2)
}
