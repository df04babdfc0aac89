package runnel_test

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestComparison holds docs/comparison.md to its word: each row names a test of ours, and it exists; what it says of
// others names a source, which is listed, but for a plain no and a dash.
func TestComparison(t *testing.T) {
	page, err := os.ReadFile("docs/comparison.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile("\\[`(Test\\w+)`\\]\\(([^)]+)\\)")
	source := regexp.MustCompile(`\]\[([a-z-]+)\]`)
	rows, used := 0, map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| |") {
			continue
		}
		rows++
		m := link.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("a row names no test: %s", line)
			continue
		}
		code, err := os.ReadFile(path.Join("docs", m[2]))
		if err != nil || !strings.Contains(string(code), "func "+m[1]+"(") {
			t.Errorf("%s is not in %s (%v)", m[1], m[2], err)
		}
		for _, cell := range strings.Split(strings.TrimSuffix(strings.TrimSpace(line), " |"), " | ")[2:] {
			sources := source.FindAllStringSubmatch(cell, -1)
			if len(sources) == 0 && cell != "no" && cell != "–" {
				t.Errorf("%q names no source: %s", cell, line)
			}
			for _, s := range sources {
				used[s[1]] = true
			}
		}
	}
	listed := regexp.MustCompile(`(?m)^\[([a-z-]+)\]: https://\S+$`).FindAllStringSubmatch(string(page), -1)
	for _, l := range listed {
		if !used[l[1]] {
			t.Errorf("source %s is listed and not used", l[1])
		}
		delete(used, l[1])
	}
	for s := range used {
		t.Errorf("source %s is not listed", s)
	}
	if rows == 0 {
		t.Error("the table has no rows")
	}
}
