//go:build unix

package pgstore_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is a Postgres of the test's own, which it may kill. It runs as a user without privileges.
type cluster struct {
	t          *testing.T
	dir, dsn   string
	port       int
	credential *syscall.Credential // nil: this process has no privileges itself
}

// newCluster makes a cluster in a folder of its own and starts it on a port of its own, or skips the test where the programs for that are missing.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	if _, err := exec.LookPath("initdb"); err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if len(found) == 0 {
			t.Skip("there is no initdb on this machine")
		}
		t.Setenv("PATH", filepath.Dir(found[len(found)-1])+":"+os.Getenv("PATH"))
	}
	if null, err := os.Stat(os.DevNull); err != nil || null.Mode()&os.ModeDevice == 0 {
		t.Skipf("%s of this machine is no device, and initdb writes to it: mknod -m 666 %[1]s c 1 3", os.DevNull)
	}
	dir, err := os.MkdirTemp("", "runnel-pg")
	must(t, err)
	c.dir = dir
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	if os.Geteuid() == 0 {
		c.lower()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c.port = l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	c.run("initdb", "-D", c.dir+"/data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	c.start()
	t.Cleanup(func() { c.stop() })
	c.dsn = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port)
	t.Setenv("RUNNEL_POSTGRES_DSN", c.dsn)
	return c
}

// lower finds a user without privileges, whom the server may run as.
func (c *cluster) lower() {
	c.t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		must(c.t, err)
		gid, err := strconv.Atoi(u.Gid)
		must(c.t, err)
		must(c.t, os.Chown(c.dir, uid, gid))
		c.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return
	}
	c.t.Skip("there is no user postgres or nobody to run a server as")
}

func (c *cluster) run(program string, args ...string) {
	c.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = c.dir, &syscall.SysProcAttr{Credential: c.credential}
	log, err := os.CreateTemp(c.t.TempDir(), "log") // a pipe would stay open with the server
	must(c.t, err)
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		out, _ := os.ReadFile(log.Name())
		server, _ := os.ReadFile(c.dir + "/server.log")
		c.t.Fatalf("%s %s: %v: %s%s", program, strings.Join(args, " "), err, out, server)
	}
}

func (c *cluster) start() {
	c.run("pg_ctl", "-D", c.dir+"/data", "-l", c.dir+"/server.log", "-w", "-o",
		fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories=", c.port), "start")
}

// stop ends the server at once, as a crash does: with transactions open, and without a checkpoint.
func (c *cluster) stop() { c.run("pg_ctl", "-D", c.dir+"/data", "-m", "immediate", "-w", "stop") }

// kill ends the server and everything that it started with SIGKILL, as a machine does that runs out of memory.
func (c *cluster) kill() {
	c.t.Helper()
	lock := filepath.Join(c.dir, "data", "postmaster.pid")
	content, err := os.ReadFile(lock)
	must(c.t, err)
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	must(c.t, err)
	must(c.t, syscall.Kill(pid, syscall.SIGSTOP)) // it would start others meanwhile
	c.until("stops", func() bool { return c.family(pid)[pid] == 'T' })
	all := c.family(pid)
	for p := range all {
		_ = syscall.Kill(p, syscall.SIGKILL) // some end by themselves when others do
	}
	c.until("ends", func() bool {
		living := c.family(pid, slices.Collect(maps.Keys(all))...)
		return len(living) == 0
	})
	must(c.t, os.Remove(lock)) // whoever is dead and not reaped would count as alive
}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("the server was killed, and after 10 seconds not yet %s", what)
		}
	}
}

// family has the states of the server, of what it started, and of others, as far as they live.
func (c *cluster) family(server int, others ...int) map[int]byte {
	c.t.Helper()
	states := map[int]byte{}
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,stat=").Output()
	must(c.t, err)
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		var state string
		if _, err := fmt.Sscan(line, &pid, &parent, &state); err != nil {
			c.t.Fatalf("ps says %q: %v", line, err)
		}
		if (pid == server || parent == server || slices.Contains(others, pid)) && state[0] != 'Z' {
			states[pid] = state[0]
		}
	}
	return states
}

// leaveOpen begins a transaction that spoils letters, and that nobody will ever commit.
func (c *cluster) leaveOpen(schema string) (letters int64) {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.dsn)
	must(c.t, err)
	_, err = conn.Exec(c.t.Context(), "BEGIN")
	must(c.t, err)
	tag, err := conn.Exec(c.t.Context(), "UPDATE "+schema+".letters SET payload = 'never committed' WHERE ctid IN (SELECT ctid FROM "+schema+".letters LIMIT 200)")
	must(c.t, err)
	return tag.RowsAffected()
}

// crashServer kills the server under putting children, and compares what it has when it is back.
func crashServer(t *testing.T, role string, crashes int) *putRecord {
	t.Helper()
	c, seed := newCluster(t), rand.Uint64()
	t.Logf("seed %d", seed)
	random, schema := rand.New(rand.NewPCG(seed, 0)), "crash" // it goes with the cluster
	r := &putRecord{intended: map[string]bool{}, acked: map[string]bool{}}
	spoilt := int64(0)
	for range crashes {
		one := start(t, role, schema, fmt.Sprint("RUNNEL_PG_FIRST=", (r.highest/4+1)*4))
		select {
		case <-one.ready:
		case <-one.ended:
		}
		spoilt += c.leaveOpen(schema)
		<-time.After(time.Duration(random.IntN(400_000)) * time.Microsecond)
		c.kill()
		r.kills++
		_ = one.cmd.Process.Kill() // nothing more can be acknowledged
		lines := <-one.lines
		_ = one.cmd.Wait()
		r.read(t, lines, writers)
		c.start()
		r.compare(t, schema)
		if t.Failed() || r.lost > 0 {
			break
		}
	}
	if spoilt < int64(r.kills) {
		t.Errorf("%d kills with a transaction open, which had changed %d letters", r.kills, spoilt)
	}
	t.Logf("counts: %d kills of the server with a transaction open, %d after an acknowledgement: "+
		"%d letters acknowledged, %d lost, %d ambiguous", r.kills, r.withAcks, len(r.acked), r.lost, r.ambiguous)
	return r
}

func TestCrashServer(t *testing.T) {
	crashes := times(t, "SERVER_KILLS")
	r := crashServer(t, "put", crashes)
	if r.lost > 0 {
		t.Errorf("%d acknowledged letters are lost", r.lost)
	}
	if r.kills != crashes || r.withAcks < crashes || len(r.acked) < crashes*8 {
		t.Errorf("%d crashes, %d of them after an acknowledgement, %d letters: too few to prove anything", r.kills, r.withAcks, len(r.acked))
	}
}

// TestCrashServerFindsLazyCommits plants the bug that TestCrashServer is there for: commits that are
// acknowledged before they are flushed.
func TestCrashServerFindsLazyCommits(t *testing.T) {
	times(t, "SERVER_KILLS")
	if r := crashServer(t, "put lazy", 10); r.lost == 0 {
		t.Error("commits were acknowledged before they were flushed, and no letter is missed")
	}
}
