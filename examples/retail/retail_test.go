package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// TestMain gives the letters' files a temporary folder that goes away.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "retail-test-")
	if err == nil {
		err = os.Setenv("TMPDIR", dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// start runs the program and returns its exit code and what it wrote.
func start(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

// startJSON runs it with -json and returns the object. Letters are kept in memory unless args say where.
func startJSON(t *testing.T, ctx context.Context, want int, args ...string) summary {
	t.Helper()
	code, stdout, stderr := start(ctx, append([]string{"-letters", inMemory, "-json"}, args...)...)
	if code != want {
		t.Fatalf("exit code %d, want %d; stderr: %s", code, want, stderr)
	}
	var s summary
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil || d.More() {
		t.Fatalf("no single JSON object: %v\n%s", err, stdout)
	}
	return s
}

// The figures of December, counted from the file by other means.
func checkDecember(t *testing.T, s summary) {
	t.Helper()
	equal(t, "rows", s.Rows, 42481)
	equal(t, "malformed", s.Malformed, 0)
	equal(t, "duplicates", s.Duplicates, 500)
	equal(t, "billing", s.Billing, billingSummary{
		Done: 26354, Letters: 15627, Sequences: 317, FailedCalls: 317, Customers: 948, Billed: 552372860,
	})
	equal(t, "inventory", s.Inventory, inventorySummary{Done: 41981, SKUs: 2822, Units: 341038})
	equal(t, "analytics", s.Analytics, analyticsSummary{Done: 41981, Countries: 24, Revenue: 746723610})
	fails, panics := flaws(t)
	equal(t, "notify", s.Notify, notifySummary{Done: 41981, Retried: fails + panics, Panics: panics})
	equal(t, "outOfOrder", s.OutOfOrder, 0)
	equal(t, "complete, left", []any{s.Complete, s.Left, s.Interrupted}, []any{true, 0, false})
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	g, w := text(t, got), text(t, want)
	if g != w {
		t.Errorf("%s is %s, want %s", what, g, w)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// flaws counts, from the file alone, how often notify's service has to fail.
func flaws(t *testing.T) (fails, panics uint64) {
	t.Helper()
	in, err := openInput("")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for {
		raw, err := in.lines.next()
		if err != nil {
			return fails, panics
		}
		switch lot := lotOf(raw.id); {
		case seen[raw.id]:
		case lot < 10:
			fails++
		case lot == 10:
			panics++
		}
		seen[raw.id] = true
	}
}

func TestDecember(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		t.Run(strconv.Itoa(workers)+" workers", func(t *testing.T) {
			s := startJSON(t, t.Context(), exitDone, "-workers", strconv.Itoa(workers))
			checkDecember(t, s)
			if s.Redrive != nil {
				t.Errorf("redrive = %+v without -redrive", s.Redrive)
			}
		})
	}
}

func TestDecemberRedriven(t *testing.T) {
	for _, workers := range []int{1, 8} {
		t.Run(strconv.Itoa(workers)+" workers", func(t *testing.T) {
			s := startJSON(t, t.Context(), exitDone, "-redrive", "-workers", strconv.Itoa(workers))
			checkDecember(t, s)
			equal(t, "redrive", s.Redrive, &redriveSummary{
				Selected: 15627, Succeeded: 15627, Guests: 317, Billed: 194350750,
			})
			if sum := s.Billing.Billed + s.Redrive.Billed; sum != s.Analytics.Revenue {
				t.Errorf("customers and guests owe %v, analytics says %v", sum, s.Analytics.Revenue)
			}
		})
	}
}

func TestSummaryForAReader(t *testing.T) {
	code, stdout, stderr := start(t.Context(), "-redrive", "-letters", inMemory)
	if code != exitDone || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		"42,481 lines in", "lines → billing", "per key (the stage's own)", "948 customers owe 552372.860",
		"15,627   317        permanent  the line has no customer to bill",
		"redrove 15627 of 15627 letters", "317 guests owe 194350.750", "500 duplicates",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// TestARateSlowsNotifyAndNothingElse: it is a second's worth of lines, and what waits for it keeps its order.
func TestARateSlowsNotifyAndNothingElse(t *testing.T) {
	began := time.Now()
	s := startJSON(t, t.Context(), exitDone, "-rate", "30000")
	checkDecember(t, s)
	if took, least := time.Since(began), time.Second; took < least {
		t.Errorf("%d lines took %v at 30,000 a second, want %v at least", s.Rows, took, least)
	}
}

func TestWrongUseIsExplainedInOneLine(t *testing.T) {
	for _, args := range [][]string{
		{"redrive", "-letters", "memory"}, {"-nonsense"}, {"-workers"}, {"-workers", "0"}, {"-workers", "-3"}, {"-workers", "many"},
		{"-workers", "100000"}, {"-rate", "0"}, {"file.csv"}, {"-json", "extra"},
		{"redrive"}, {"redrive", "-json"}, {"redrive", "-letters", "x.db", "-data", "y.csv"}, {"-json", "redrive"},
	} {
		code, stdout, stderr := start(t.Context(), args...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "retail: ") {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	code, stdout, stderr := start(t.Context(), "-h")
	if code != exitDone || stderr != "" || !strings.Contains(stdout, "-redrive") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestBadFileIsExplainedInOneLine(t *testing.T) {
	zipped := gzipped(t, header+"\n"+strings.Repeat(good+"\n", 1000))
	for name, c := range map[string]struct{ path, want string }{
		"missing":         {filepath.Join(t.TempDir(), "none.csv"), "no such file"},
		"a folder":        {t.TempDir(), "is a directory"},
		"empty":           {file(t, ""), "is empty"},
		"another CSV":     {file(t, "a,b,c\n1,2,3\n"), "is not the Online Retail CSV"},
		"no header":       {file(t, good+"\n"), "is not the Online Retail CSV"},
		"bytes":           {file(t, strings.Repeat("\x00\xff\x7f", 1<<17)), "is not the Online Retail CSV"},
		"gzip of nothing": {file(t, "\x1f\x8b"), "EOF"},
		"gzip broken":     {file(t, "\x1f\x8bnonsense and more nonsense"), "gzip"},
		"gzip cut short":  {file(t, zipped[:len(zipped)-30]), "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := start(t.Context(), "-data", c.path, "-redrive")
			if code != exitFailed || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want one line with %q", code, stdout, stderr, c.want)
			}
		})
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.csv")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(content))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// mixed holds three good lines, one of them a guest's, and four that are malformed, one of them twice.
var mixed = "\ufeff" + strings.Join([]string{
	header, good, "nonsense", with(colQuantity, "many"), with(colCustomer, ""), "", "nonsense",
	with(colPrice, "1.2345"), with(colSKU, "85123A"),
}, "\r\n")

func TestMalformedLinesBecomeLettersAndTheRunGoesOn(t *testing.T) {
	for name, content := range map[string]string{"plain": mixed, "gzip": gzipped(t, mixed)} {
		t.Run(name, func(t *testing.T) {
			s := startJSON(t, t.Context(), exitDone, "-data", file(t, content), "-redrive")
			equal(t, "rows", s.Rows, 7)
			equal(t, "malformed", s.Malformed, 4)
			equal(t, "duplicates", s.Duplicates, 1)
			equal(t, "done", []uint64{s.Billing.Done, s.Inventory.Done, s.Analytics.Done, s.Notify.Done}, []uint64{2, 3, 3, 3})
			equal(t, "billing's letters", []int{s.Billing.Letters, s.Billing.Sequences}, []int{4, 4})
			equal(t, "redrive", s.Redrive, &redriveSummary{Selected: 1, Succeeded: 1, Guests: 1, Billed: 100800})
		})
	}
}

func TestLetterOfAMalformedLineTellsWhatAndWhere(t *testing.T) {
	in, err := openInput(file(t, mixed))
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(options{workers: 2, rate: defaultRate}, in, deadletter.NewMemory(), io.Discard)
	if _, err := j.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for l, err := range j.letters.List(t.Context(), deadletter.Filter{Reason: deadletter.Undecodable}) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Codec != "" || l.Attempts != 0 {
			t.Errorf("letter with codec %q and %d attempts, want raw bytes, not tried", l.Codec, l.Attempts)
		}
		line := l.Header["line"]
		if line == "7" {
			line = "3" // the same text twice: no order says which of them is the duplicate
		}
		got[line+": "+string(l.Payload)]++
	}
	equal(t, "letters", got, map[string]int{ // one from each stage
		"3: nonsense": 4, "4: " + with(colQuantity, "many"): 4, "8: " + with(colPrice, "1.2345"): 4,
	})
}

func TestInterruptedBeforeItBegins(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := startJSON(t, ctx, exitInterrupted, "-redrive")
	if !s.Interrupted || s.Complete || s.Redrive != nil || s.Left != 0 {
		t.Errorf("summary %+v, want one that was interrupted, with nothing done or left", s)
	}
}

func TestInterruptedRedriveLeavesTheRest(t *testing.T) {
	in, err := openInput("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j := newJob(options{workers: 1, rate: defaultRate, redrive: true}, in, deadletter.NewMemory(), io.Discard)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		defer cancel()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil && j.redriving.done.Load() == 0 {
			<-tick.C
		}
	})
	s, err := j.run(ctx)
	cancel()
	watcher.Wait()
	if err != nil {
		t.Fatal(err)
	}
	r := s.Redrive
	if !s.Interrupted || s.OutOfOrder != 0 || r.Succeeded == 0 || r.Failed != 0 || r.Succeeded+r.Remaining != r.Selected {
		t.Errorf("interrupted %v, %d out of order, redrive %+v", s.Interrupted, s.OutOfOrder, r)
	}
}

// failing fails each write, as a full disk does.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"-data", file(t, mixed)}, failing{}, &stderr)
	if code != exitFailed || stderr.String() != "retail: no space left\n" {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
}

func TestBrokenOrderIsAnError(t *testing.T) {
	var o order
	for _, n := range []int{1, 2, 2, 5, 3, 6} {
		o.see(Line{Number: n})
	}
	if o.breaches != 1 {
		t.Errorf("breaches = %d, want 1", o.breaches)
	}
	if s := (summary{OutOfOrder: 1}); s.check() == nil {
		t.Error("a summary with a line out of order checks")
	}
}

func TestDrawnProgress(t *testing.T) {
	part, whole := int64(0), int64(0)
	p := progress{done: func() (int64, int64) { return part, whole }, text: func() string { return "text" }}
	for _, c := range []struct {
		part, whole int64
		want        string
	}{
		{5, 0, "text"},
		{0, 10, "[..............................]   0 %  text"},
		{5, 10, "[###############...............]  50 %  text"},
		{99, 10, "[##############################] 100 %  text"},
	} {
		part, whole = c.part, c.whole
		if got := p.line(); got != c.want {
			t.Errorf("line at %d of %d = %q, want %q", part, whole, got, c.want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
