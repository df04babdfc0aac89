//go:build !race

// SQLite under the race detector is twenty times as slow, and the rest of this package runs under it.

package main

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

const (
	diskBytes = 64 << 20
	diskRoom  = 3 << 20 // of it, for the letters, which need several times as much
	diskWait  = 800     // lines that wait for a full disk while others go on; the stage has room for some 1,000
)

// TestFault39_TheDiskFillsDuringARun: the letters' file lies on a disk that fills up while the job runs. Nothing is
// lost, other keys go on for as long as the stage has room for those that wait, and with space all of it comes
// right. The maintenance job meets the same after it.
func TestFault39_TheDiskFillsDuringARun(t *testing.T) {
	if dir := os.Getenv("RUNNEL_RETAIL_DISK"); dir != "" {
		d := mountDisk(t, dir)
		t.Run("a run", func(t *testing.T) { runOnFullDisk(t, d) })
		t.Run("a redrive", func(t *testing.T) { redriveOnFullDisk(t, d) })
		return
	}
	program, err := os.Executable()
	check(t, err)
	cmd := exec.Command(program, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "RUNNEL_RETAIL_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // what it mounts ends with it
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	switch refused := strings.Contains(string(out), notMounted); {
	case errors.Is(err, syscall.EPERM) || refused:
		mayNotMount(t)
	case err != nil:
		t.Error(err)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()+"/a_redrive"):
		t.Error("it did not run")
	}
}

const notMounted = "this process may not mount"

func mayNotMount(t *testing.T) {
	t.Helper()
	const reason = "a process that may not mount has no small disk to fill: run it as root"
	if os.Getenv("RUNNEL_REQUIRE_SERVICES") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// disk is a small one, and something of others that takes its space.
type disk struct{ dir, letters, ballast string }

func mountDisk(t *testing.T, dir string) disk {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
		t.Skipf("%s: %v", notMounted, err)
	}
	return disk{dir, filepath.Join(dir, "letters.db"), filepath.Join(dir, "ballast")}
}

// fill leaves room bytes.
func (d disk) fill(t *testing.T, room int64) {
	t.Helper()
	var s syscall.Statfs_t
	check(t, syscall.Statfs(d.dir, &s))
	f, err := os.Create(d.ballast)
	check(t, err)
	defer f.Close()
	if n := int64(s.Bavail)*s.Bsize - room; n > 0 {
		check(t, syscall.Fallocate(int(f.Fd()), 0, 0, n))
	}
}

func (d disk) free(t *testing.T) {
	t.Helper()
	check(t, os.Remove(d.ballast))
}

// until waits, for a minute at most.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute not yet: %s", what)
		}
	}
}

func runOnFullDisk(t *testing.T, d disk) {
	d.fill(t, diskRoom)
	in := openFeed(t)
	store, _, done, err := openFresh(t.Context(), d.letters)
	check(t, err)
	var stderr strings.Builder
	j := newJob(options{workers: 32, rate: defaultRate}, in.input, store, &stderr)
	var s summary
	over := make(chan error, 1)
	go func() {
		var err error
		s, err = j.run(t.Context())
		over <- err
	}()

	for j.letters.wait() == 0 { // a disk that has space
		in.feed(t, 100)
		until(t, "all is done, or the disk is full", func() bool {
			n := j.billingNow()
			return int(n.Settled()) == in.fed || j.letters.wait() > 0
		})
	}
	from := in.customers
	for in.feed(t, 100); in.guests-j.stored() < diskWait; in.feed(t, 100) {
		until(t, "other keys go on", func() bool {
			return int(j.tally.rows.Load()) == in.fed && int(j.billingNow().Done) == in.customers
		})
	}
	n := j.billingNow()
	t.Logf("on a full disk billing did %d lines of other keys, and %d lines wait for %d letters", in.customers-from, n.Resident(), j.letters.wait())
	if in.customers-from < diskWait/2 {
		t.Error("that is too little to prove anything")
	}

	in.rest()
	n = j.standstill(t)
	t.Logf("with the rest of the file waiting: %d lines done, %d wait, the room is %d", n.Done, n.Resident(), n.Capacity)
	if n.Resident() < 1024 || n.Failed+n.Returned > 0 {
		t.Errorf("billing at a standstill: %+v, want its room full of lines that wait, and none given up", n)
	}
	readable(t, store, j.stored())

	d.free(t)
	check(t, errors.Join(<-over, s.check(), done()))
	checkDecember(t, s)
	t.Logf("outage: %s", text(t, s.Outage))
	if o := s.Outage; o.Refused < o.Waited || o.Waited == 0 || o.Unkept != 0 || !strings.Contains(o.Error, sqlitestore.ErrDiskFull.Error()) {
		t.Errorf("outage %+v, want writes that a full disk refused, and nothing unkept", o)
	}
	told(t, stderr.String())
	whole(t, d.letters)
}

// feed is the job's file as a pipe, into which the test gives as much as it wants.
type feed struct {
	*input
	lines             []string
	pipe              *os.File
	seen              map[string]bool
	fed               int
	customers, guests int // different lines of what was fed
}

func openFeed(t *testing.T) *feed {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(december))
	check(t, err)
	all, err := io.ReadAll(z)
	check(t, err)
	read, write, err := os.Pipe()
	check(t, err)
	first, rest, _ := strings.Cut(string(all), "\n")
	_, err = write.WriteString(first + "\n")
	check(t, err)
	in, err := openInput(fmt.Sprintf("/proc/self/fd/%d", read.Fd()))
	check(t, errors.Join(err, read.Close()))
	t.Cleanup(func() { check(t, in.close()) })
	return &feed{input: in, lines: slices.Collect(strings.Lines(rest)), pipe: write, seen: map[string]bool{}}
}

func (f *feed) feed(t *testing.T, n int) {
	t.Helper()
	for _, text := range f.lines[:n] {
		l, err := ParseLine(strings.TrimRight(text, "\r\n"))
		check(t, err)
		switch {
		case f.seen[text]:
		case l.Customer == "":
			f.guests++
		default:
			f.customers++
		}
		f.seen[text] = true
		_, err = f.pipe.WriteString(text)
		check(t, err)
	}
	f.lines, f.fed = f.lines[n:], f.fed+n
}

// rest gives all that is left, as far as the job takes it.
func (f *feed) rest() {
	go func() {
		defer f.pipe.Close()
		for _, text := range f.lines {
			if _, err := f.pipe.WriteString(text); err != nil {
				return // the job is over, and the test says so
			}
		}
	}()
}

func (j *job) billingNow() stage.Snapshot { return find(j.p.Snapshot(), billingStage) }

// stored is how many letters the pipeline knows to be stored.
func (j *job) stored() int {
	n := j.billingNow()
	return int(n.DeadLettered + n.Diverted)
}

// standstill waits until nothing moves any more: the room of billing is full, and the file is not read on.
func (j *job) standstill(t *testing.T) (n stage.Snapshot) {
	t.Helper()
	since := time.Now()
	until(t, "nothing moves", func() bool {
		last := n
		n = j.billingNow()
		if n.Settled() != last.Settled() || n.Accepted != last.Accepted {
			since = time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
	return n
}

// readable: a full disk can still be read, and holds what the pipeline says it stored.
func readable(t *testing.T, letters deadletter.Store, want int) {
	t.Helper()
	n, err := letters.Stats(t.Context())
	check(t, err)
	equal(t, "letters on the full disk", n.Active, want)
}

// told: an operator was told that letters wait, and that all are stored.
func told(t *testing.T, stderr string) {
	t.Helper()
	began := strings.Count(stderr, "retail: letters wait, and their keys with them: "+sqlitestore.ErrDiskFull.Error())
	ended := strings.Count(stderr, "retail: all letters that waited are stored, after ")
	if began == 0 || ended != began || strings.Count(stderr, "\n") != 2*began {
		t.Errorf("stderr has\n%s", stderr)
	}
}

// whole asks SQLite about its file.
func whole(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	check(t, err)
	defer db.Close()
	var answer string
	check(t, db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&answer))
	equal(t, "integrity_check", answer, "ok")
}

// redriveOnFullDisk: the maintenance job can claim no more and ends; what it has billed by then waits until its letter
// can be removed, so that nobody is billed twice. When there is space the next job does the rest.
func redriveOnFullDisk(t *testing.T, d disk) {
	store, err := openExisting(t.Context(), d.letters)
	check(t, err)
	var stderr strings.Builder
	j := newJob(options{workers: 8, rate: defaultRate}, nil, store, &stderr)
	d.fill(t, 512<<10)
	over := make(chan error, 1)
	var first maintenance
	go func() {
		var err error
		first, err = j.maintain(t.Context(), j.redrive)
		over <- err
	}()
	ended := false
	until(t, "the disk is full", func() bool { ended = len(over) > 0; return ended || j.letters.wait() > 0 })
	d.free(t)
	err = <-over
	check(t, store.Close())
	t.Logf("on a full disk: %s, %v", text(t, first), err)
	if first.Outage == nil && !errors.Is(err, sqlitestore.ErrDiskFull) {
		t.Error("the disk was not full")
	}
	succeeded, billed, outOfOrder := first.Redrive.Succeeded, first.Redrive.Billed, first.OutOfOrder
	until(t, "all are redriven: a claim that could not be given back on the full disk ends with its lease", func() bool {
		next := maintain(t, d.letters)
		t.Logf("with space:     %s", text(t, next))
		succeeded += next.Redrive.Succeeded
		billed += next.Redrive.Billed
		outOfOrder += next.OutOfOrder
		return next.Redrive.Remaining == 0
	})
	equal(t, "redriven by all", succeeded, 15627)
	equal(t, "billed by all", billed, 194350750)
	equal(t, "out of order", outOfOrder, 0)
	whole(t, d.letters)
}
