package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

// edit changes a letter's payload in the user's editor.
func (a *app) edit() *cobra.Command {
	var file string
	var yes bool
	c := a.command("edit ID", "Change a letter's payload in $EDITOR; the old one is kept", exactly(1, "the id of a letter"), existing, func(ctx context.Context, s store, args []string) error {
		l, err := s.Get(ctx, args[0])
		if err != nil {
			return fmt.Errorf("letter %s: %w", args[0], err)
		}
		changed, err := a.edited(ctx, &l, file)
		switch {
		case err != nil:
			return err
		case bytes.Equal(changed, l.Payload):
			return a.sayEdited(l.ID, false, "", "the payload is as it was")
		}
		if err := valid(l.Codec, changed); err != nil {
			return fmt.Errorf("letter %s: the payload is no longer %s: %w", l.ID, l.Codec, err)
		}
		shown := difference(pretty(l.Codec, l.Payload), pretty(l.Codec, changed))
		if !a.json {
			fmt.Fprint(a.out, shown)
		} else if !yes { // who is asked must see what for
			fmt.Fprint(a.errs, shown)
		}
		if !yes && !a.confirmed("store it?") {
			return errors.New("nothing was changed")
		}
		if err := s.Edit(ctx, l.ID, changed, a.note("edit")); err != nil {
			return err
		}
		return a.sayEdited(l.ID, true, shown, fmt.Sprintf("letter %s has a new payload; runnel dlq redrive %s sends it back", l.ID, l.ID))
	})
	c.ValidArgsFunction = a.letterIDs()
	c.Flags().StringVar(&file, "file", "", "take the new payload from `FILE`, - for the standard input, and open no editor")
	c.Flags().BoolVar(&yes, "yes", false, "store it without asking")
	return c
}

// sayEdited says what became of the letter.
func (a *app) sayEdited(id string, changed bool, difference, text string) error {
	if a.json {
		return printJSON(a.out, map[string]any{"id": id, "changed": changed, "difference": difference})
	}
	_, err := fmt.Fprintln(a.out, text)
	return err
}

// edited returns the new payload.
func (a *app) edited(ctx context.Context, l *deadletter.Letter, file string) ([]byte, error) {
	switch file {
	case "":
		return a.inEditor(ctx, l)
	case "-":
		return io.ReadAll(a.in)
	}
	return os.ReadFile(file)
}

func (a *app) inEditor(ctx context.Context, l *deadletter.Letter) ([]byte, error) {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if strings.TrimSpace(editor) == "" {
		return nil, misuse("edit: no editor; set EDITOR, or give --file")
	}
	dir, err := os.MkdirTemp("", "runnel-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "payload"+extension(l.Codec))
	shown := pretty(l.Codec, l.Payload)
	if err := os.WriteFile(path, shown, 0o600); err != nil {
		return nil, err
	}
	words := strings.Fields(editor)
	run := exec.CommandContext(ctx, words[0], append(words[1:], path)...)
	run.Stdout, run.Stderr = a.out, a.errs
	if terminal, ok := a.in.(*os.File); ok { // anything else would be read for the editor, and be missed later
		run.Stdin = terminal
	}
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("the editor %s: %w", words[0], err)
	}
	changed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(changed, shown) {
		return l.Payload, nil
	}
	return compact(l.Codec, changed), nil
}

func extension(codec string) string {
	if codec == "json" {
		return ".json"
	}
	return ""
}

// valid holds a payload to its codec, as far as this command knows it.
func valid(codec string, payload []byte) error {
	if codec != "json" {
		return nil
	}
	var v any
	return json.Unmarshal(payload, &v)
}

// pretty and compact lay a JSON payload out for the editor, and back.
func pretty(codec string, payload []byte) []byte {
	var b bytes.Buffer
	if codec != "json" || json.Indent(&b, payload, "", "  ") != nil {
		return payload
	}
	return append(b.Bytes(), '\n')
}

func compact(codec string, payload []byte) []byte {
	var b bytes.Buffer
	if codec != "json" || json.Compact(&b, payload) != nil {
		return payload
	}
	return b.Bytes()
}

// difference shows the lines that went and the lines that came between what both texts begin and end with.
func difference(before, after []byte) string {
	a, b := strings.Split(strings.TrimSuffix(string(before), "\n"), "\n"), strings.Split(strings.TrimSuffix(string(after), "\n"), "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	var out strings.Builder
	for _, line := range a {
		out.WriteString("- " + escapeBut(line, "\t") + "\n")
	}
	for _, line := range b {
		out.WriteString("+ " + escapeBut(line, "\t") + "\n")
	}
	return out.String()
}

// confirmed asks; no answer is no.
func (a *app) confirmed(question string) bool {
	fmt.Fprintf(a.errs, "%s [y/N] ", question)
	var answer string
	_, _ = fmt.Fscanln(a.in, &answer)
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes")
}
