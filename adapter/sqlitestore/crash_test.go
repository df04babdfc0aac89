//go:build unix

package sqlitestore_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The crash tests start this program anew as a child, which works on a store and says each thing it does,
// before and after, on a pipe that belongs to the parent: the record survives the kill. The parent
// kills it at any moment and compares the file with the record. The variables RUNNEL_CRASH_… say how often.

// TestMain runs the child's part where a crash test asks for it.
func TestMain(m *testing.M) {
	if role := os.Getenv("RUNNEL_SQLITE_CHILD"); role != "" {
		children[role](newDiary(os.NewFile(3, "diary")), os.Getenv("RUNNEL_SQLITE_FILE"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// children are the parts that a child can play.
var children = map[string]func(d *diary, path string){
	"put":            func(d *diary, path string) { putChild(d, path, false) },
	"put early":      func(d *diary, path string) { putChild(d, path, true) },
	"drain":          func(d *diary, path string) { drainChild(d, path, false) },
	"drain careless": func(d *diary, path string) { drainChild(d, path, true) },
}

// diary writes a line at a time, unbuffered: a line is there or it is not.
type diary struct {
	mu  sync.Mutex
	out *os.File
}

func newDiary(f *os.File) *diary { return &diary{out: f} }

func (d *diary) say(words ...any) {
	line := fmt.Sprintln(words...)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.out.WriteString(line); err != nil {
		os.Exit(3) // the parent is gone
	}
}

// died ends a child that found something wrong by itself.
func (d *diary) died(why ...any) {
	d.say(append([]any{"X"}, why...)...)
	os.Exit(2)
}

// times is how often to do what the variable counts.
func times(t *testing.T, variable string) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("RUNNEL_CRASH_" + variable))
	if err != nil || n < 1 {
		t.Skipf("RUNNEL_CRASH_%s is not a number: run `make crash`", variable)
	}
	return n
}

// child is a process of ours.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *os.File
	ready chan struct{}
	done  chan struct{} // closed when it says that it has nothing more to begin
	lines chan []string // all that it said, once it has ended
	ended chan struct{}
	input *os.File // closed, it tells the child to come to an end
}

func start(t *testing.T, role, path string, env ...string) *child {
	return startWith(t, role, path, false, env...)
}

// startWith starts a child, with an input when it listens to that.
func startWith(t *testing.T, role, path string, listens bool, env ...string) *child {
	t.Helper()
	program, err := os.Executable()
	must(t, err)
	read, write, err := os.Pipe()
	must(t, err)
	c := &child{t: t, cmd: exec.Command(program), out: read, ready: make(chan struct{}), done: make(chan struct{}), lines: make(chan []string, 1), ended: make(chan struct{})}
	c.cmd.Env = append(append(os.Environ(), "RUNNEL_SQLITE_CHILD="+role, "RUNNEL_SQLITE_FILE="+path), env...)
	c.cmd.ExtraFiles = []*os.File{write}
	c.cmd.Stderr = os.Stderr
	if listens {
		in, out, err := os.Pipe()
		must(t, err)
		defer in.Close()
		c.cmd.Stdin, c.input = in, out
	}
	must(t, c.cmd.Start())
	must(t, write.Close())
	go c.listen()
	return c
}

// listen reads until the pipe's last end is closed, which the child's death does.
func (c *child) listen() {
	var lines []string
	in := bufio.NewReader(c.out)
	for {
		line, err := in.ReadString('\n')
		switch {
		case line == "R\n":
			close(c.ready)
		case line == "P\n":
			close(c.done)
		case err == nil:
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			if !errors.Is(err, io.EOF) || line != "" {
				c.t.Errorf("the pipe ended with %q, %v", line, err)
			}
			break
		}
	}
	c.lines <- lines
	close(c.ended)
}

// kill ends the child within 40 ms of its being ready, and returns what it said.
func (c *child) kill(r *rand.Rand) []string {
	c.t.Helper()
	select {
	case <-c.ready:
		<-time.After(time.Duration(r.IntN(40_000)) * time.Microsecond)
	case <-c.ended:
	case <-time.After(time.Minute):
		c.t.Error("the child was not ready within a minute")
	}
	_ = c.cmd.Process.Kill() // it may have ended
	if c.input != nil {
		c.input.Close()
	}
	return c.wait()
}

func (c *child) wait() []string {
	lines := <-c.lines
	_ = c.cmd.Wait() // killed
	c.out.Close()
	for _, line := range lines {
		if strings.HasPrefix(line, "X ") {
			c.t.Errorf("the child says %s", line[2:])
		}
	}
	return lines
}

// checksum is what a letter's payload must be, by its id.
func checksum(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
