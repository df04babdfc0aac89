package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// warm is how long a look at a store may take, of any size, once its pages are in memory.
const warm = 100 * time.Millisecond

// TestSoak_LooksAreQuickHoweverManyLetters fills a file with as many letters as RUNNEL_LETTERS says, ten million in a
// soak, and times whole commands, from opening the file to closing it. It takes a quarter of an hour and 10 GB. With
// RUNNEL_LETTERS_FILE the file stays, and the next run looks at it again.
func TestSoak_LooksAreQuickHoweverManyLetters(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("RUNNEL_LETTERS"))
	if err != nil || n < 1000 {
		t.Skip("RUNNEL_LETTERS is not the number of letters: run `make soak`")
	}
	path := os.Getenv("RUNNEL_LETTERS_FILE")
	if path == "" {
		path = filepath.Join(t.TempDir(), "letters.db")
	}
	began := time.Now()
	if _, err := os.Stat(path); err != nil {
		heap(t, path, n)
	}
	t.Logf("counts: %d letters stored in %.0f s, %s", n, time.Since(began).Seconds(), sizes(t, path))

	ids := lines(t, dlq(t, path, "ls", "--json", "--limit", "1", "--key", "customer-777"))
	for _, look := range []string{
		"ls", "groups", "show " + ids[0].ID, "stats",
		"ls --stage charge", "ls --key customer-777", "ls --group 00000007", "ls --since 1000h",
		"ls --stage charge --state active --reason exhausted --json", "check --max 1", "groups --stage charge",
		"redrive --stage charge --dry-run", "check --state active",
	} {
		took := timed(t, path, strings.Fields(look))
		t.Logf("counts: runnel dlq %-60s %7.1f ms", look, float64(took.Microseconds())/1000)
		if took > warm {
			t.Errorf("runnel dlq %s takes %v, %v are allowed", look, took, warm)
		}
	}
}

// timed is the median of the command's times, after a first run for the pages to be read.
func timed(t *testing.T, path string, args []string) time.Duration {
	t.Helper()
	var all []time.Duration
	for range 8 {
		began := time.Now()
		r := start(t, "", append([]string{"dlq", "--store", "sqlite:" + path}, args...)...)
		all = append(all, time.Since(began))
		if r.out == "" || r.err != "" {
			t.Fatalf("runnel dlq %v: exit code %d, %q", args, r.code, r.err)
		}
	}
	all = all[1:]
	slices.Sort(all)
	return all[len(all)/2]
}

// heap puts n letters of 4 stages, 40 causes and a hundredth as many keys.
func heap(t *testing.T, path string, n int) {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{MaxLetters: -1})
	if err != nil {
		t.Fatal(err)
	}
	const writers = 256 // they share commits
	keys := max(n/100, min(n, 1000))
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < n && !t.Failed(); i += writers {
				if _, err := s.Put(context.Background(), heaped(i, keys)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func heaped(i, keys int) *deadletter.Letter {
	key, id := fmt.Sprint("customer-", i%keys), fmt.Sprintf("order-%09d", i)
	now := time.Now()
	return &deadletter.Letter{
		Stage: []string{"charge", "ship", "bill", "mail"}[i%4], Topic: "orders", Key: key, Ordered: true, Holds: true,
		EventID: id, GivenID: id, Origin: 12345678901, TopicKey: key, Seq: uint64(i), Time: now,
		Header:  event.Header{"trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		Payload: fmt.Appendf(nil, `{"number":%q,"customer":%q,"cents":%d,"note":%q}`, id, key, i, strings.Repeat("x", 120)), Codec: "json",
		Reason: deadletter.Exhausted, Error: "card service: 503 service unavailable", ErrorType: "*card.Error",
		Causes:      []deadletter.Cause{{Type: "*card.Error", Text: "card service: 503 service unavailable"}},
		Fingerprint: fmt.Sprintf("%08x", i%40), Attempts: 5,
		History: []deadletter.Attempt{{Number: 1, At: now, Error: "503"}, {Number: 2, At: now, Error: "503"}},
	}
}

func sizes(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%.1f GB", float64(info.Size())/1e9)
}
