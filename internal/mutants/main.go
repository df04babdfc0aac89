// Mutants breaks the code in small ways, one at a time, and says which test notices. Nothing is written into the
// tree: a broken file is laid over its original for one run of the go command. One that no test notices is a
// test that is missing, and the exit code is 1; one that nobody could notice is marked as equivalent, with
// the reason.
//
//	go run ./internal/mutants [-run regexp] [-timeout 60s] [-md > docs/MUTANTS.md]
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mutant is one break: in file, old, which stands there once, becomes new. Tests of pkg whose names match run
// find it.
type mutant struct {
	file     string
	what     string
	old, new string
	pkg, run string
	// equivalent says why nobody could notice it.
	equivalent string
}

func all() []mutant {
	var list []mutant
	for _, part := range [][]mutant{ofMiddleware, ofStores, ofPipeline, ofStage, ofEngine} {
		list = append(list, part...)
	}
	return list
}

func main() {
	pattern := flag.String("run", "", "break only what matches, in its file or its description")
	timeout := flag.Duration("timeout", time.Minute, "of the tests of one mutant; a deadlock is noticed by it")
	page := flag.Bool("md", false, "print the page docs/MUTANTS.md; what goes on goes to the standard error")
	flag.Parse()
	chosen, err := regexp.Compile(*pattern)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	progress := io.Writer(os.Stdout)
	if *page {
		progress = os.Stderr
	}
	trials := try(chosen, *timeout, progress)
	if *page {
		writePage(os.Stdout, trials)
	}
	if n := survivors(trials); n > 0 {
		fmt.Fprintf(progress, "%d survive: each is a test that is missing\n", n)
		os.Exit(1)
	}
}

// trial is a mutant and what became of it.
type trial struct {
	mutant
	verdict string
	took    time.Duration
}

// try breaks the code in every chosen way, one at a time, and says so as it goes.
func try(chosen *regexp.Regexp, timeout time.Duration, progress io.Writer) (trials []trial) {
	for i, m := range all() {
		if !chosen.MatchString(m.file + " " + m.what) {
			continue
		}
		verdict, took := m.verdict(timeout)
		trials = append(trials, trial{m, verdict, took})
		fmt.Fprintf(progress, "%3d  %-34s %-68s %s (%.1fs)\n", i+1, m.file, m.what, verdict, took.Seconds())
	}
	return trials
}

func survivors(trials []trial) (n int) {
	for _, t := range trials {
		if strings.HasPrefix(t.verdict, survives) {
			n++
		}
	}
	return n
}

const survives = "SURVIVES"

// verdict runs the tests on the mutant.
func (m mutant) verdict(timeout time.Duration) (string, time.Duration) {
	began := time.Now()
	if m.equivalent != "" {
		return "equivalent: " + m.equivalent, 0
	}
	text, err := m.test(timeout)
	took := time.Since(began)
	switch {
	case err == nil:
		return survives + " " + m.pkg + " " + m.run, took
	case !errors.As(err, new(*exec.ExitError)):
		return survives + ", for it was not tried: " + err.Error(), took
	case strings.Contains(text, "[build failed]"), strings.Contains(text, "[setup failed]"):
		return survives + ", for it does not build: " + text, took
	}
	return "found by " + firstFailure(text, m), took
}

var failed = regexp.MustCompile(`--- FAIL: (Test\w+)|(?m)^panic: test timed out|(?m)^(?:panic|fatal error): (.*)`)

// firstFailure names what noticed the mutant.
func firstFailure(text string, m mutant) string {
	found := failed.FindStringSubmatch(text)
	switch {
	case found == nil:
		return m.pkg
	case found[1] != "":
		return m.pkg + " " + found[1]
	case found[2] != "":
		return m.pkg + " " + m.run + ": " + found[2]
	}
	return m.pkg + " " + m.run + ": it hangs"
}

func (m mutant) test(timeout time.Duration) (string, error) {
	dir, err := os.MkdirTemp("", "runnel-mutant-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout+2*time.Minute) // it has to be built too
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-failfast", "-overlay="+overlay, "-timeout="+timeout.String(), //nolint:gosec // the table is ours
		"-run", cmp.Or(m.run, "."), m.pkg)
	cmd.Env = append(os.Environ(), "RUNNEL_MODEL="+cmp.Or(os.Getenv("RUNNEL_MODEL"), "3000"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// overlay writes the broken file, and what lays it over the original, into dir.
func (m mutant) overlay(dir string) (string, error) {
	broken, err := m.apply(".")
	if err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	in, list := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: in}})
	if err != nil {
		return "", err
	}
	return list, errors.Join(os.WriteFile(in, broken, 0o600), os.WriteFile(list, text, 0o600))
}

// apply returns the broken text of the file below root.
func (m mutant) apply(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return nil, fmt.Errorf("%s: %q stands there %d times, want once", m.file, m.old, n)
	}
	return []byte(strings.Replace(string(text), m.old, m.new, 1)), nil
}
