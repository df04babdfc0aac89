//go:build linux

package sqlitestore_test

import (
	"bufio"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The power-loss tests record what a putting child asks of the system, in order: its writes to the
// database and its log, the flushes, and its acknowledgements. A prefix of that record is a moment at which
// the power may fail.

// act is one thing that the child asked for.
type act struct {
	kind string // write, sync, cut, remove, or what the diary says: I, A
	file string // the file's name, or the letter's id
	at   int64  // of a write, or the size that a file is cut to
	data []byte
}

// traced has strace record a child that puts some letters and ends.
func traced(t *testing.T, role string) []act {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace on this machine: apt-get install strace")
	}
	if out, err := exec.Command(strace, "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	dir := t.TempDir()
	path, record := filepath.Join(dir, "letters.db"), filepath.Join(t.TempDir(), "trace")
	program, err := os.Executable()
	must(t, err)
	diary, err := os.Create(filepath.Join(dir, "diary"))
	must(t, err)
	defer diary.Close()
	c := exec.Command(strace, "-f", "-y", "-xx", "-s", "1000000", "-o", record,
		"-e", "trace=pwrite64,write,fsync,fdatasync,ftruncate,unlink,unlinkat", program)
	c.Env = append(os.Environ(), "RUNNEL_SQLITE_CHILD="+role, "RUNNEL_SQLITE_FILE="+path)
	c.ExtraFiles = []*os.File{diary}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("the child: %v: %s", err, out)
	}
	return parseTrace(t, record, dir)
}

var (
	entered = regexp.MustCompile(`^\d+ +(\w+)\((\d+)<([^>]*)>(?:, )?(.*)$`)
	removed = regexp.MustCompile(`^\d+ +unlink(?:at)?\((?:AT_FDCWD[^,]*, )?"([^"]*)"`)
	quoted  = regexp.MustCompile(`^"((?:\\x[0-9a-f]{2})*)"(?:, (\d+))?(?:, (\d+))?`)
)

// parseTrace reads what strace wrote. A call counts from where it is entered, a flush too: the one goroutine
// that writes waits for each of them.
func parseTrace(t *testing.T, record, dir string) (acts []act) {
	t.Helper()
	f, err := os.Open(record)
	must(t, err)
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		line := in.Text()
		if m := removed.FindStringSubmatch(line); m != nil {
			if name := string(unhex(t, m[1])); filepath.Dir(name) == dir {
				acts = append(acts, act{kind: "remove", file: filepath.Base(name)})
			}
			continue
		}
		m := entered.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := m[3]
		if strings.HasPrefix(name, `\x`) {
			name = string(unhex(t, name))
		}
		if filepath.Dir(name) != dir {
			continue
		}
		acts = append(acts, parseCall(t, m[1], filepath.Base(name), m[4])...)
	}
	must(t, in.Err())
	return acts
}

func parseCall(t *testing.T, call, file, args string) []act {
	t.Helper()
	switch call {
	case "fsync", "fdatasync":
		return []act{{kind: "sync", file: file}}
	case "ftruncate":
		size, err := strconv.ParseInt(regexp.MustCompile(`^\d+`).FindString(args), 10, 64)
		must(t, err)
		return []act{{kind: "cut", file: file, at: size}}
	}
	m := quoted.FindStringSubmatch(args)
	if m == nil {
		t.Fatalf("%s of %s: cannot read %.80s", call, file, args)
	}
	data := unhex(t, m[1])
	if file == "diary" {
		what, id, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
		return []act{{kind: what, file: id}}
	}
	if call != "pwrite64" || m[3] == "" || m[2] != strconv.Itoa(len(data)) {
		t.Fatalf("%s of %s: %d bytes of %s at %q", call, file, len(data), m[2], m[3])
	}
	at, err := strconv.ParseInt(m[3], 10, 64)
	must(t, err)
	return []act{{kind: "write", file: file, at: at, data: data}}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	must(t, err)
	return b
}
