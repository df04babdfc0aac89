//go:build unix

package sqlitestore_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
)

func TestAPipeIsRefused(t *testing.T) {
	path := fresh(t)
	must(t, syscall.Mkfifo(path, 0o600))
	_, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
	refused(t, err, path, nil, "no regular file")
}

// TestAFileThatCannotBeWritten runs in a process of another user, since root may write everything.
func TestAFileThatCannotBeWritten(t *testing.T) {
	if path := os.Getenv("RUNNEL_SQLITE_READONLY"); path != "" {
		_, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
		refused(t, err, path, sqlitestore.ErrReadOnly, "write access")
		return
	}
	dir, err := os.MkdirTemp("", "sqlitestore") // another user could not look into t.TempDir's
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	path, program := filepath.Join(dir, "letters.db"), filepath.Join(dir, "program")
	whole(t, path)
	content, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip("there is no copy of this program")
	}
	must(t, os.WriteFile(program, content, 0o755))
	must(t, os.Chmod(path, 0o444))
	for _, mode := range []os.FileMode{0o555, 0o777} { // the directory, then only the file
		must(t, os.Chmod(dir, mode))
		cmd := exec.Command(program, "-test.run", "^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "RUNNEL_SQLITE_READONLY="+path)
		cmd.Dir = "/"
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("directory %v: %v\n%s", mode, err, out)
		}
	}
}
