package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// machine describes where it was measured.
func machine() string {
	return fmt.Sprintf("%s, %d cores, %s/%s, %s, %s", processor(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH,
		runtime.Version(), time.Now().Format(time.DateOnly))
}

// processor reads the processor's name where Linux tells it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "a processor of unknown name"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "a processor of unknown name"
}

const mdHead = `# What it costs

<!-- Written by ` + "`go run ./bench -md > docs/BENCHMARKS.md`" + `; do not edit. -->

Measured on %s.

Every figure is a ratio: runnel and what it is set against are measured in turn in one process, a ratio for each pair, and the median
of at least %d pairs counts; *rounds* are the least and the greatest of them. An absolute time on a shared machine says nothing. The event is 100 bytes. Before
anything is timed, each side runs once with every event recorded: none may be lost or doubled, and where a side promises the order
of keys, none overtaken. *Allocs* are allocations for each event. Under each scenario stand the libraries that do the nearest equal work, set
against the same base, and what they promise less.

| | what | goal | ratio | rounds | verdict | allocs | |
|---|---|---|---|---|---|---|---|
`

const mdTail = `
## Growth

P2 over the number of keys, on one core and on two (` + "`go run ./bench -svg docs/benchmarks-growth.svg`" + `): a line that bends upward is a defect.

![The cost of an event over the number of keys](benchmarks-growth.svg)
`

// writeMarkdown prints docs/BENCHMARKS.md.
func writeMarkdown(w io.Writer, c *config, reports []*report) {
	fmt.Fprintf(w, mdHead, machine(), min(c.rounds, longRounds))
	for _, r := range reports {
		for _, row := range r.rows() {
			cells := row.cells()
			for i, cell := range cells {
				cells[i] = mdCell(cell)
			}
			if row.verdict == "missed" || row.verdict == "lost" || row.verdict == "allocates" {
				cells[5] = "**" + cells[5] + "**"
			}
			fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	fmt.Fprintf(w, "\n## Notes\n\n")
	for _, r := range reports {
		for _, n := range r.notes {
			fmt.Fprintf(w, "- **%s** %s\n", r.id, n)
		}
	}
	fmt.Fprintf(w, "- %s\n", absent)
	fmt.Fprint(w, mdTail)
}

// mdCell keeps what a cell is indented by.
func mdCell(s string) string {
	text := strings.TrimLeft(s, " ")
	return strings.Repeat("&nbsp;", len(s)-len(text)) + strings.ReplaceAll(text, "|", `\|`)
}
