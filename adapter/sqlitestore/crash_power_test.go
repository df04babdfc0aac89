//go:build linux

package sqlitestore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// disk is a disk whose power may fail: what was flushed is there, of what was not, anything may be.
type disk struct {
	flushed map[string][]byte
	pending map[string][]act
}

func newDisk() *disk { return &disk{flushed: map[string][]byte{}, pending: map[string][]act{}} }

func (d *disk) do(a act) {
	switch a.kind {
	case "write", "cut":
		d.pending[a.file] = append(d.pending[a.file], a)
	case "sync":
		d.flushed[a.file] = apply(d.flushed[a.file], d.pending[a.file])
		delete(d.pending, a.file)
	case "remove":
		delete(d.flushed, a.file)
		delete(d.pending, a.file)
	}
}

func apply(file []byte, acts []act) []byte {
	for _, a := range acts {
		end := a.at + int64(len(a.data))
		if end > int64(len(file)) {
			file = append(file, make([]byte, end-int64(len(file)))...)
		}
		if a.kind == "cut" {
			file = file[:a.at]
		}
		copy(file[a.at:], a.data)
	}
	return file
}

// fail writes what is left of the disk when the power fails: of what was not flushed nothing, all, or each
// write by chance, in any order.
func (d *disk) fail(t *testing.T, dir string, random *rand.Rand) {
	t.Helper()
	mood := random.IntN(3)
	names := maps.Clone(d.flushed)
	for name := range d.pending {
		names[name] = d.flushed[name]
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var kept []act
		for _, a := range d.pending[name] {
			if mood == 2 || mood == 1 && random.IntN(2) == 0 {
				kept = append(kept, a)
			}
		}
		if mood == 1 {
			random.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
		}
		must(t, os.WriteFile(filepath.Join(dir, name), apply(bytes.Clone(names[name]), kept), 0o600))
	}
}

// powerRecord is what the replays found.
type powerRecord struct {
	points, acks, flushes int // replayed moments; letters acknowledged, and flushes, in the trace
	checked               int // acknowledged letters that were looked for, over all points
	lost, broken          int // of these; and files that could not be opened, or have counters or pages that are wrong
	why                   string
}

// replay lets the power fail at as many moments of a traced run, and looks for what was acknowledged.
func replay(t *testing.T, acts []act, points int) *powerRecord {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d, %d acts", seed, len(acts))
	random := rand.New(rand.NewPCG(seed, 0))
	moments := make([]int, points)
	for i := range moments {
		moments[i] = random.IntN(len(acts) + 1)
	}
	slices.Sort(moments)
	r, d, now := &powerRecord{points: points}, newDisk(), 0
	intended, acked := map[string]bool{}, map[string]bool{}
	for _, moment := range append(moments, len(acts)) {
		for ; now < moment; now++ {
			switch a := acts[now]; a.kind {
			case "I":
				intended[a.file] = true
			case "A":
				acked[a.file] = true
				r.acks++
			case "sync":
				r.flushes++
				d.do(a)
			default:
				d.do(a)
			}
		}
		r.look(t, d, random, intended, acked)
	}
	r.points = len(moments) + 1
	if r.why != "" {
		t.Logf("broken: %s", r.why)
	}
	t.Logf("counts: %d points, %d flushes, %d letters acknowledged, %d looked for: %d lost, %d files broken",
		r.points, r.flushes, r.acks, r.checked, r.lost, r.broken)
	return r
}

// look opens what a failed disk has.
func (r *powerRecord) look(t *testing.T, d *disk, random *rand.Rand, intended, acked map[string]bool) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "disk")
	must(t, err)
	defer func() { must(t, os.RemoveAll(dir)) }()
	d.fail(t, dir, random)
	found, err := readFailed(filepath.Join(dir, "letters.db"), intended)
	if err != nil {
		r.broken++
		r.why = err.Error()
		return
	}
	for id := range acked {
		r.checked++
		if !found[id] {
			r.lost++
		}
	}
}

// readFailed opens the file as a new process does, reads every letter, and has the file checked.
func readFailed(path string, intended map[string]bool) (map[string]bool, error) {
	s, err := sqlitestore.Open(context.Background(), path, sqlitestore.Config{Watch: -1})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	found := map[string]bool{}
	for l, err := range s.List(context.Background(), deadletter.Filter{}) {
		switch {
		case err != nil:
			return nil, err
		case !intended[l.EventID], found[l.EventID], string(l.Payload) != checksum(l.EventID):
			return nil, fmt.Errorf("letter %s is torn, there twice, or nobody put it", l.EventID)
		}
		found[l.EventID] = true
	}
	return found, s.OnReader(wrongPages)
}

// wrongPages has SQLite check every page and every index.
func wrongPages(conn *sql.Conn) error {
	var verdict string
	if err := conn.QueryRowContext(context.Background(), "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return errors.New(verdict)
	}
	return nil
}

// putSome has writers put letters, enough for the log to be written back into the file more than once.
func putSome(d *diary, path string) {
	s, err := sqlitestore.Open(context.Background(), path, sqlitestore.Config{Watch: -1})
	if err != nil {
		d.died(err)
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range 80 {
				key, id := fmt.Sprintf("%d-%d", w, n/4), fmt.Sprintf("%d-%d", w, n)
				l := letter(key, id)
				l.Seq, l.Payload = uint64(n), []byte(checksum(id))
				d.say("I", id)
				if err := store(s, l, n%4 > 0); err != nil {
					d.died(id, err)
				}
				d.say("A", id)
			}
		})
	}
	all.Wait()
	if err := s.Close(); err != nil {
		d.died(err)
	}
}

func init() {
	children["put some"] = putSome
	children["put some, synchronous NORMAL"] = func(d *diary, path string) { sqlitestore.Weaken("NORMAL", "1"); putSome(d, path) }
	children["put some, synchronous OFF"] = func(d *diary, path string) { sqlitestore.Weaken("OFF", "0"); putSome(d, path) }
}

func TestCrashPowerLoss(t *testing.T) {
	points := times(t, "POINTS")
	r := replay(t, traced(t, "put some"), points)
	if r.lost > 0 || r.broken > 0 {
		t.Errorf("%d acknowledged letters are lost, %d files are broken: %s", r.lost, r.broken, r.why)
	}
	if r.points < points || r.acks != writers*80 || r.flushes < 50 || r.checked < points*r.acks/4 {
		t.Errorf("%d acknowledged letters, %d flushes, %d looked for: too few to prove anything", r.acks, r.flushes, r.checked)
	}
}

// TestCrashPowerLossFindsWeakSettings plants the bugs that TestCrashPowerLoss is there for, which no kill of
// a process finds.
func TestCrashPowerLossFindsWeakSettings(t *testing.T) {
	times(t, "POINTS")
	for _, weak := range []string{"NORMAL", "OFF"} {
		r := replay(t, traced(t, "put some, synchronous "+weak), 40)
		if r.lost == 0 {
			t.Errorf("with synchronous %s no acknowledged letter is lost", weak)
		}
	}
}

// TestATraceIsReadAsItIs reads a trace of every kind of call.
func TestATraceIsReadAsItIs(t *testing.T) {
	record := filepath.Join(t.TempDir(), "trace")
	dir := "/d"
	must(t, os.WriteFile(record, []byte(strings.Join([]string{
		`7 pwrite64(5</d/a.db>, "\x61\x62", 2, 10) = 2`, `7 pwrite64(5</other/a.db>, "\x61", 1, 0) = 1`,
		`8 fdatasync(5</d/a.db> <unfinished ...>`, `8 <... fdatasync resumed>) = 0`,
		`7 ftruncate(5</d/a.db>, 11) = 0`, `7 write(3</d/diary>, "\x41\x20\x78\x0a", 4) = 4`,
		`7 unlink("\x2f\x64\x2f\x6a") = 0`, `7 +++ exited with 0 +++`,
	}, "\n")), 0o600))
	d := newDisk()
	acts := parseTrace(t, record, dir)
	for _, a := range acts {
		d.do(a)
	}
	want := "write a.db, sync a.db, cut a.db, A x, remove j"
	var got []string
	for _, a := range acts {
		got = append(got, a.kind+" "+a.file)
	}
	if strings.Join(got, ", ") != want {
		t.Errorf("acts %q, want %q", got, want)
	}
	if f := d.flushed["a.db"]; string(f) != "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ab" {
		t.Errorf("flushed %q", f)
	}
	if f := apply(bytes.Clone(d.flushed["a.db"]), d.pending["a.db"]); len(f) != 11 {
		t.Errorf("%d bytes after the cut, want 11", len(f))
	}
}
