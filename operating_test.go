//go:build unix

package runnel_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const operatingPage = "docs/guides/operating.md"

// TestOperatingGuide runs every command of the operator's guide in one shell, with the programs that it is about, and
// compares what they print. `go test -run TestOperatingGuide . -update` writes the guide anew.
func TestOperatingGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs the main example")
	}
	page, err := os.ReadFile(operatingPage)
	if err != nil {
		t.Fatal(err)
	}
	parts := consoles(string(page))
	printed := inShell(t, commandsOf(parts))
	var anew strings.Builder
	n := 0
	for _, p := range parts {
		anew.WriteString(p.text)
		for _, c := range p.commands {
			fmt.Fprintf(&anew, "$ %s\n%s", c.line, printed[n])
			if !*update && settled(c.output) != settled(printed[n]) {
				t.Errorf("$ %s\nprints\n%s\nand the guide says\n%s", c.line, printed[n], c.output)
			}
			n++
		}
	}
	if n < 10 {
		t.Errorf("the guide has %d commands", n)
	}
	if *update {
		writeFile(t, operatingPage, anew.String())
	}
}

// part is text of the page, and the commands that follow it.
type part struct {
	text     string
	commands []command
}

type command struct{ line, output string }

// consoles cuts a page at its blocks of commands.
func consoles(page string) (parts []part) {
	const fence = "```"
	for {
		before, rest, found := strings.Cut(page, fence+"console\n")
		if !found {
			return append(parts, part{text: page})
		}
		p := part{text: before + fence + "console\n"}
		block, after, _ := strings.Cut(rest, fence+"\n")
		for line := range strings.Lines(block) {
			if text, is := strings.CutPrefix(line, "$ "); is {
				p.commands = append(p.commands, command{line: strings.TrimSuffix(text, "\n")})
			} else if last := len(p.commands) - 1; last >= 0 {
				p.commands[last].output += line
			}
		}
		parts, page = append(parts, p), fence+"\n"+after
	}
}

func commandsOf(parts []part) (lines []string) {
	for _, p := range parts {
		for _, c := range p.commands {
			lines = append(lines, c.line)
		}
	}
	return lines
}

// inShell runs the commands one after the other and returns what each printed.
func inShell(t *testing.T, lines []string) []string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	bin, dir := t.TempDir(), t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./examples/retail", "./examples/maintenance", "./cmd/runnel")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const few = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n" +
		"536544,21773,DECORATIVE ROSE BATHROOM BOTTLE,1,2010-12-01 14:32:00,2.51,,United Kingdom\n" +
		"536544,21774,no price,1,2010-12-01 14:32:00,much,,United Kingdom\n"
	writeFile(t, filepath.Join(dir, "some.csv"), few)
	const mark = "\x01"
	var script strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&script, "%s\nprintf '\\001'\n", line)
	}
	shell := exec.Command(bash, "-u")
	shell.Dir, shell.Stdin = dir, strings.NewReader(script.String())
	shell.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+dir, "TZ=UTC", "RUNNEL_STORE=")
	out, err := shell.CombinedOutput()
	all := strings.Split(string(out), mark)
	if err != nil || len(all) != len(lines)+1 {
		t.Fatalf("%d of %d commands ran: %v\n%s", len(all)-1, len(lines), err, out)
	}
	return all
}

// settled is text without what differs from run to run: ids, times, and the columns that they widen.
func settled(text string) string {
	text = regexp.MustCompile(`\b[0-9a-z]{5}-(op-)?[0-9a-z]{1,4}\b`).ReplaceAllString(text, "ID")
	text = regexp.MustCompile(`20[2-9]\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.\d]*Z?`).ReplaceAllString(text, "NOW")
	text = regexp.MustCompile(`"seconds": [0-9.e-]+`).ReplaceAllString(text, "SECONDS")
	text = regexp.MustCompile(`\b\d{7}\b`).ReplaceAllString(text, "BYTES")
	text = regexp.MustCompile(`failed again: \d+ of \d+`).ReplaceAllString(text, "failed again: SOME of ALL")
	return regexp.MustCompile(`[ \t]+`).ReplaceAllString(text, " ")
}
