package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

var update = flag.Bool("update", false, "write the golden files anew")

// now is a time that differs from run to run, in either form.
var now = regexp.MustCompile(`20[2-9]\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|[+-]\d\d:\d\d)?`)

// TestGolden shows what each command prints, of letters that are nasty in every text: none of it is for a terminal
// to obey. `go test -update` writes the files anew.
func TestGolden(t *testing.T) {
	t.Setenv("RUNNEL_STORE", "")
	path := file(t, letters()...)
	prefix, _, _ := strings.Cut(lines(t, dlq(t, path, "ls", "--json", "--limit", "1"))[0].ID, "-")
	for _, c := range []struct{ name, args string }{
		{"help", "-h"}, {"dlq-help", "dlq -h"}, {"redrive-help", "dlq redrive -h"},
		{"groups", "dlq groups"}, {"groups-json", "dlq groups --json"},
		{"ls", "dlq ls"}, {"ls-json", "dlq ls --json"}, {"ls-csv", "dlq ls --csv"}, {"ls-none", "dlq ls --error nothing"},
		{"show", "dlq show ID-1"}, {"show-nasty", "dlq show ID-4"}, {"show-json", "dlq show --json ID-4"},
		{"stats", "dlq stats"}, {"stats-json", "dlq stats --json"}, {"check", "dlq check --max 4"},
		{"redrive-dry", "dlq redrive --all --dry-run"}, {"redrive", "dlq redrive --all --rate 5 --who ann --why mended"},
		{"ops", "dlq ops"}, {"ops-one", "dlq ops ID-op-1"}, {"ops-json", "dlq ops --json"},
		{"discard", "dlq discard --who ann --why junk ID-4"}, {"ls-discarded", "dlq ls --state discarded"},
		{"restore", "dlq restore --who ann ID-4"}, {"export", "dlq export"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(c.args, "ID-", prefix+"-"))
			if !strings.HasSuffix(c.args, "-h") {
				args = append(args, "--store", "sqlite:"+path)
			}
			r := start(t, "", args...)
			if r.code != exitDone || r.err != "" {
				t.Fatalf("runnel %s: exit code %d, %q", c.args, r.code, r.err)
			}
			for _, one := range r.out {
				if one != '\n' && one != '\t' && !unicode.IsPrint(one) {
					t.Errorf("runnel %s prints %U", c.args, one)
				}
			}
			golden(t, c.name, now.ReplaceAllString(strings.ReplaceAll(r.out, prefix, "ID"), "NOW"))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("it prints\n%s\nwant\n%s", got, want)
	}
}

// TestARedriveIsAskedForAtEachStage: a program takes the operations of the stages that it has, and an operation
// without a stage would be nobody's.
func TestARedriveIsAskedForAtEachStage(t *testing.T) {
	path := file(t, letters()...)
	dlq(t, path, "redrive", "--all")
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o, err := s.TakeOperation(t.Context(), "me", []string{"charge"}, time.Hour)
	if err != nil || o.Filter.Stage != "charge" || o.Selected != 3 {
		t.Errorf("TakeOperation = %+v, %v", o, err)
	}
	if _, err := s.TakeOperation(t.Context(), "me", []string{"charge"}, time.Hour); !errors.Is(err, deadletter.ErrNotFound) {
		t.Errorf("another: %v", err)
	}
}

// TestFault90_LookingRemovesNothing: how long discarded letters are kept is the running program's to say.
func TestFault90_LookingRemovesNothing(t *testing.T) {
	path := file(t, letters()[0])
	dlq(t, path, "discard", "--all")
	db, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = db.Exec("UPDATE letters SET dead_at = 1, updated_at = 1") // long ago
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if out := dlq(t, path, "ls", "--state", "discarded"); !strings.Contains(out, "ann1") {
		t.Errorf("ls prints %q", out)
	}
}

// gone is a reader that went away.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, fmt.Errorf("write: %w", syscall.EPIPE) }

func TestFault92_AReaderThatWentAwayEndsTheCommandQuietly(t *testing.T) {
	path := file(t, letters()...)
	for _, args := range []string{"ls", "ls --json", "ls --csv", "groups", "export", "stats", "groups --json"} {
		var stderr bytes.Buffer
		code := run(t.Context(), append([]string{"dlq", "--store", "sqlite:" + path}, strings.Fields(args)...), nil, gone{}, &stderr)
		if code != exitPipe || stderr.String() != "" {
			t.Errorf("%s: exit code %d, stderr %q", args, code, stderr.String())
		}
	}
}

func TestWaitingEndsWithTheOperation(t *testing.T) {
	path := file(t, letters()...)
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan error, 1)
	go func() {
		for {
			o, err := s.TakeOperation(context.Background(), "me", nil, time.Hour)
			if errors.Is(err, deadletter.ErrNotFound) {
				<-time.After(10 * time.Millisecond)
				continue
			}
			if err == nil {
				err = s.EndOperation(context.Background(), o)
			}
			done <- err
			return
		}
	}()
	out := dlq(t, path, "redrive", "--key", "bob", "--wait")
	if err := <-done; err != nil || !strings.Contains(out, "is finished") {
		t.Errorf("redrive --wait: %v, %q", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // interrupt it once it has asked
		for n := 0; n < 2 && ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
			n = 0
			for range s.Operations(context.Background()) {
				n++
			}
		}
		cancel()
	}()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"dlq", "redrive", "--key", "ann", "--wait", "--store", "sqlite:" + path}, nil, &stdout, &stderr)
	if code != exitInterrupted || !strings.Contains(stderr.String(), "goes on") {
		t.Errorf("interrupted: exit code %d, %q", code, stderr.String())
	}
}
