package main

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the README's sample anew")

func TestReadmeShowsARealRun(t *testing.T) {
	args := []string{"-redrive"}
	if !*update { // the text is the same but for the name, and a disk takes its time
		args = append(args, "-letters", inMemory)
	}
	code, printed, stderr := start(t.Context(), args...)
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const fence = "```"
	before, rest, _ := strings.Cut(string(page), fence+"text\n")
	sample, after, found := strings.Cut(rest, fence+"\n")
	if !found {
		t.Fatal("README.md has no sample")
	}
	if *update {
		printed = regexp.MustCompile(`\S+letters\.db`).ReplaceAllString(printed, "/tmp/retail-1234567890/letters.db")
		page := before + fence + "text\n" + printed + fence + "\n" + after
		if err := os.WriteFile("README.md", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if timeless(sample) != timeless(printed) {
		t.Errorf("README.md shows\n%s\nbut the program prints\n%s", sample, printed)
	}
}

var times = regexp.MustCompile(`[0-9.m]+ ?m?s\b|[0-9,]+ lines a second|They are in \S+`)

// timeless is text without the times in it, and without the name of the temporary folder.
func timeless(text string) string { return times.ReplaceAllString(text, "…") }
