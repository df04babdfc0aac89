package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
)

// start runs the program and returns its exit code, what it printed, and what it complained of.
func start(t *testing.T, ctx context.Context, args ...string) (code int, s summary, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &s); err != nil {
			t.Fatalf("no JSON object: %v\n%s", err, out.String())
		}
	}
	return code, s, errs.String()
}

// night makes a file with the letters of a bad night.
func night(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "letters.db")
	letters, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := demonstrate(t.Context(), letters); err != nil {
		t.Fatal(err)
	}
	if err := letters.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAllIsMended(t *testing.T) {
	path := night(t)
	code, s, stderr := start(t, t.Context(), "-letters", path)
	if code != exitDone || stderr != "" || s.Selected != 500 || s.Succeeded != 500 || s.Remaining != 0 {
		t.Errorf("exit code %d, %+v, %q; want all 500 mended", code, s, stderr)
	}
	code, s, _ = start(t, t.Context(), "-letters", path)
	if code != exitDone || s.Selected != 0 {
		t.Errorf("exit code %d, %+v; want nothing to do", code, s)
	}
}

func TestSomeFailAgain(t *testing.T) {
	code, s, _ := start(t, t.Context(), "-letters", night(t), "-declined", "0.02", "-max-failures", "1")
	if code != exitLeft || s.Failed == 0 || s.Remaining != 500-s.Succeeded || s.Causes["the card service is down"] != s.Failed {
		t.Errorf("exit code %d, %+v; want some left, with the cause", code, s)
	}
}

func TestTooManyFail(t *testing.T) {
	code, s, stderr := start(t, t.Context(), "-letters", night(t), "-declined", "0.5", "-parallel", "1")
	if code != exitTooMany || s.Failed == 0 || s.Succeeded+s.Failed > 100 || s.Remaining != 500-s.Succeeded || s.Why != "too many failed" ||
		!strings.Contains(stderr, "too many letters failed again") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %+v, %q; want it stopped early", code, s, stderr)
	}
}

func TestTheTimeIsUp(t *testing.T) {
	code, s, stderr := start(t, t.Context(), "-letters", night(t), "-budget", "3s", "-rate", "20")
	if code != exitLeft || stderr != "" || s.Failed != 0 || s.Succeeded == 0 || s.Succeeded > 100 || s.Remaining != 500-s.Succeeded ||
		s.Why != "the time was up" {
		t.Errorf("exit code %d, %+v, %q; want some done and the rest left", code, s, stderr)
	}
}

// TestTheRateIsKept over the whole run: no letter is tried before its time.
func TestTheRateIsKept(t *testing.T) {
	const rate = 250
	code, s, stderr := start(t, t.Context(), "-letters", night(t), "-rate", strconv.Itoa(rate))
	if code != exitDone || stderr != "" || s.Succeeded != 500 {
		t.Errorf("exit code %d, %+v, %q; want all 500 mended", code, s, stderr)
	}
	if least := float64(500-1) / rate; s.Seconds < 0.8*least { // a short burst is allowed
		t.Errorf("500 letters in %.3f s, at %d a second they take %.3f s", s.Seconds, rate, least)
	}
}

// TestASlowStartHasNoBudgetLeft: nothing is begun when the time is up before it.
func TestASlowStartHasNoBudgetLeft(t *testing.T) {
	code, s, stderr := start(t, t.Context(), "-letters", night(t), "-budget", "1ns")
	if code != exitLeft || stderr != "" || s.Succeeded != 0 || s.Why != "the time was up" {
		t.Errorf("exit code %d, %+v, %q; want nothing done", code, s, stderr)
	}
}

func TestInterrupted(t *testing.T) {
	path := night(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, s, stderr := start(t, ctx, "-letters", path); code != exitInterrupted || stderr != "" || s.Succeeded != 0 {
		t.Errorf("exit code %d, %+v, %q, want %d and nothing done", code, s, stderr, exitInterrupted)
	}
	if code, s, _ := start(t, t.Context(), "-letters", path); code != exitDone || s.Succeeded != 500 {
		t.Errorf("exit code %d, %+v; want all 500 still there, and mended", code, s)
	}
}

func TestWrongUseIsExplainedInOneLine(t *testing.T) {
	for _, args := range [][]string{
		{"-nonsense"}, {"extra"}, {"-budget", "0"}, {"-budget", "soon"}, {"-rate", "-1"}, {"-rate", "NaN"}, {"-rate", "Inf"}, {"-max-failures", "0"}, {"-max-failures", "NaN"},
		{"-declined", "2"}, {"-parallel", "0"},
	} {
		code, _, stderr := start(t, t.Context(), args...)
		if code != exitUsage || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "maintenance: ") {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr)
		}
	}
	code, _, stderr := start(t, t.Context(), "-letters", filepath.Join(t.TempDir(), "none.db"))
	if code != exitFailed || strings.Count(stderr, "\n") != 1 {
		t.Errorf("no such file: exit code %d, stderr %q", code, stderr)
	}
}

func TestWithoutAFileItShowsItself(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	code, s, stderr := start(t, t.Context())
	if code != exitDone || s.Succeeded != 500 || stderr != "" {
		t.Errorf("exit code %d, %+v, %q", code, s, stderr)
	}
	if files, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*", "letters.db")); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}
