package main

import (
	"fmt"
	"io"
	"strings"
)

const pageHead = `# Mutants

Small breaks of the code, one at a time, and the test that noticed each. ` + "`make mutants`" + ` prints them as it goes, and
` + "`go run ./internal/mutants -md > docs/MUTANTS.md`" + ` wrote this page. One that no test notices is a test that is missing, and the
command fails. One that nobody could notice is equivalent, and says why.

`

// writePage prints the table of docs/MUTANTS.md.
func writePage(w io.Writer, trials []trial) {
	equivalent := 0
	for _, t := range trials {
		if t.equivalent != "" {
			equivalent++
		}
	}
	alive := survivors(trials)
	fmt.Fprint(w, pageHead)
	fmt.Fprintf(w, "%d mutants: %d found, %d equivalent, %d survive.\n\n", len(trials), len(trials)-equivalent-alive, equivalent, alive)
	fmt.Fprintln(w, "| File | Break | Outcome |\n| --- | --- | --- |")
	for _, t := range trials {
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", t.file, cell(t.what), cell(t.verdict))
	}
}

// cell is a text as a table of Markdown takes it, on one line.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}
