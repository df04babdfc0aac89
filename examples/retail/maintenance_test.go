package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/deadletter"
)

// maintain runs the command redrive with -json.
func maintain(t *testing.T, file string) maintenance {
	t.Helper()
	code, stdout, stderr := start(t.Context(), "redrive", "-letters", file, "-json", "-workers", "32")
	var m maintenance
	if err := json.Unmarshal([]byte(stdout), &m); code != exitDone || err != nil {
		t.Fatalf("exit code %d, %v; stderr: %s", code, err, stderr)
	}
	return m
}

// TestMaintenanceIsAProgramOfItsOwn: it has nothing of the run but the file, and what it bills is what the run did
// not.
func TestMaintenanceIsAProgramOfItsOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "letters.db")
	s := startJSON(t, t.Context(), exitDone, "-letters", file, "-workers", "32") // who waits for the disk shares a flush
	checkDecember(t, s)
	equal(t, "lettersFile", s.File, file)
	m := maintain(t, file)
	equal(t, "redrive", m.Redrive, redriveSummary{Selected: 15627, Succeeded: 15627, Guests: 317, Billed: 194350750})
	equal(t, "outOfOrder", m.OutOfOrder, 0)
	if sum := s.Billing.Billed + m.Redrive.Billed; sum != s.Analytics.Revenue {
		t.Errorf("customers and guests owe %v, analytics says %v", sum, s.Analytics.Revenue)
	}
	equal(t, "redrive of what is empty", maintain(t, file).Redrive, redriveSummary{})
}

// TestLettersOfAnotherRunAreLeftAlone: the figures of a run would be wrong with them.
func TestLettersOfAnotherRunAreLeftAlone(t *testing.T) {
	letters, data := filepath.Join(t.TempDir(), "letters.db"), file(t, mixed)
	first := startJSON(t, t.Context(), exitDone, "-letters", letters, "-data", data)
	code, stdout, stderr := start(t.Context(), "-letters", letters, "-data", data)
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "letters of another run") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	m := maintain(t, letters)
	equal(t, "redrive", m.Redrive, redriveSummary{Selected: 1, Succeeded: 1, Guests: 1, Billed: 100800})
	if first.Redrive != nil {
		t.Errorf("redrive %+v without -redrive", first.Redrive)
	}
}

func TestLettersThatCannotBeOpenedAreExplainedInOneLine(t *testing.T) {
	for name, args := range map[string][]string{
		"no such file":      {"redrive", "-letters", filepath.Join(t.TempDir(), "none.db")},
		"no such folder":    {"-letters", filepath.Join(t.TempDir(), "none", "letters.db")},
		"another program's": {"redrive", "-letters", file(t, strings.Repeat("no database ", 1000))},
	} {
		code, stdout, stderr := start(t.Context(), args...)
		if code != exitFailed || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "retail: ") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", name, code, stdout, stderr)
		}
	}
}

func TestMaintenanceInterruptedBeforeItBegins(t *testing.T) {
	letters := filepath.Join(t.TempDir(), "letters.db")
	startJSON(t, t.Context(), exitDone, "-letters", letters, "-data", file(t, mixed))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, _, stderr := start(ctx, "redrive", "-letters", letters, "-json")
	if code != exitInterrupted || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	equal(t, "redrive", maintain(t, letters).Redrive, redriveSummary{Selected: 1, Succeeded: 1, Guests: 1, Billed: 100800})
}

// TestMaintenanceDoesWhatWasAskedFor: an operator asks by the store, from another process, and finds there what came
// of it.
func TestMaintenanceDoesWhatWasAskedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters.db")
	startJSON(t, t.Context(), exitDone, "-letters", path, "-data", file(t, mixed))
	letters, err := openExisting(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer letters.Close()
	asked, err := deadletter.RequestRedrive(t.Context(), letters, deadletter.Operation{
		Who: "ann", Why: "guests are billed now", Filter: deadletter.Filter{Stage: billingStage, ErrorText: errGuest.Error()},
	})
	if err != nil || len(asked) != 1 {
		t.Fatalf("RequestRedrive = %+v, %v", asked, err)
	}
	for _, want := range []string{"of ann: redrove 1 of 1 letters, 0 failed again; finished\n  1 guests owe 100.800\n", "nothing was asked for"} {
		code, stdout, stderr := start(t.Context(), "redrive", "-asked", "-letters", path)
		if code != exitDone || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
		}
	}
	o, err := letters.Operation(t.Context(), asked[0].ID)
	if err != nil || o.State != deadletter.OperationFinished || o.Succeeded != 1 {
		t.Errorf("the operation is %+v, %v", o, err)
	}
}
