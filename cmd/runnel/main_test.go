package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// result is what a run of the command did.
type result struct {
	code     int
	out, err string
}

func start(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return result{code, out.String(), errs.String()}
}

// dlq runs runnel dlq on a file and fails the test unless it goes well.
func dlq(t *testing.T, file string, args ...string) string {
	t.Helper()
	r := start(t, "", append([]string{"dlq", "--store", "sqlite:" + file}, args...)...)
	if r.code != exitDone || r.err != "" {
		t.Fatalf("runnel dlq %v: exit code %d, stderr %q", args, r.code, r.err)
	}
	return r.out
}

const nasty = "\x1b[2Jgone\n\x00\xff\u202e=cmd()"

// letters is one of each kind: plain ones, followers, and one that is nasty in every text.
func letters() []deadletter.Letter {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	plain := func(key string, n int, follower bool) deadletter.Letter {
		return deadletter.Letter{
			Stage: "charge", Topic: "orders", Key: key, Ordered: true, Holds: true, EventID: fmt.Sprint(key, n), Origin: 1<<63 + 5, TopicKey: key,
			Seq: uint64(n), Time: at, Payload: fmt.Appendf(nil, `{"n":%d}`, n), Codec: "json", Follower: follower, Reason: deadletter.Exhausted,
			Error: "the card service is down", ErrorType: "*net.OpError", Fingerprint: "f1", Attempts: 5, DeadAt: at.Add(time.Duration(n) * time.Hour),
			History: []deadletter.Attempt{{Number: 1, At: at, Error: "down"}}, Causes: []deadletter.Cause{{Type: "*net.OpError", Text: "dial"}},
		}
	}
	evil := plain(nasty, 9, false)
	evil.Stage, evil.Topic, evil.Error, evil.Fingerprint, evil.Payload, evil.Codec = nasty, nasty, nasty, nasty, []byte(nasty), ""
	evil.Header, evil.Stack, evil.Reason = event.Header{nasty: nasty, "plain": "x"}, nasty, deadletter.Undecodable
	return []deadletter.Letter{plain("ann", 1, false), plain("ann", 2, true), plain("bob", 3, false), evil}
}

// file makes a store of letters.
func file(t *testing.T, all ...deadletter.Letter) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "letters.db")
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if _, err := s.Put(t.Context(), &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines are the letters that ls --json prints.
func lines(t *testing.T, text string) (all []letterJSON) {
	t.Helper()
	for line := range strings.Lines(text) {
		var j letterJSON
		if err := json.Unmarshal([]byte(line), &j); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, j)
	}
	return all
}

func events(t *testing.T, path string, args ...string) (ids []string) {
	t.Helper()
	for _, j := range lines(t, dlq(t, path, append([]string{"ls", "--json", "--limit", "0"}, args...)...)) {
		ids = append(ids, string(j.EventID))
	}
	return ids
}

func TestSelection(t *testing.T) {
	path := file(t, letters()...)
	evil := nasty + "9"
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"all":        {nil, []string{"ann1", "ann2", "bob3", evil}},
		"limit":      {[]string{"--limit", "1"}, []string{"ann1"}},
		"stage":      {[]string{"--stage", "charge"}, []string{"ann1", "ann2", "bob3"}},
		"topic":      {[]string{"--topic", nasty}, []string{evil}},
		"key":        {[]string{"--key", "bob"}, []string{"bob3"}},
		"empty key":  {[]string{"--key", ""}, nil},
		"group":      {[]string{"--group", "f1"}, []string{"ann1", "ann2", "bob3"}},
		"error":      {[]string{"--error", "card service"}, []string{"ann1", "ann2", "bob3"}},
		"error type": {[]string{"--error-type", "*net.OpError"}, []string{"ann1", "ann2", "bob3", evil}},
		"reason":     {[]string{"--reason", "undecodable"}, []string{evil}},
		"since":      {[]string{"--since", "2026-01-02T05:30:00Z", "--until", "2026-01-02T08:00:00Z"}, []string{"bob3"}},
		"state":      {[]string{"--state", "discarded,quarantined"}, nil},
		"two flags":  {[]string{"--key", "ann", "--reason", "undecodable"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := events(t, path, c.args...)
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("ls %q lists %q, want %q", c.args, got, c.want)
			}
		})
	}
}

// TestFault89_NothingOfALetterReachesTheTerminal but what can be printed.
func TestFault89_NothingOfALetterReachesTheTerminal(t *testing.T) {
	path := file(t, letters()...)
	id := lines(t, dlq(t, path, "ls", "--json", "--reason", "undecodable"))[0].ID
	for _, args := range [][]string{{"ls"}, {"groups"}, {"show", id}, {"redrive", "--all", "--dry-run"}, {"stats"}, {"show", id, "--json"}} {
		out := dlq(t, path, args...)
		if out == "" || strings.ContainsAny(out, "\x1b\x00\u202e") || !json.Valid([]byte(`"`+strings.NewReplacer("\n", " ", `"`, " ", `\`, " ", "\t", " ").Replace(out)+`"`)) {
			t.Errorf("%v prints %q", args, out)
		}
	}
	if out := dlq(t, path, "show", id, "--raw"); out != nasty {
		t.Errorf("show --raw prints %q, want the bytes %q", out, nasty)
	}
}

// TestFault89_AReasonIsEscaped as every other text: the letter may be imported from a file that anybody wrote.
func TestFault89_AReasonIsEscaped(t *testing.T) {
	l := letters()[0]
	l.Reason = nasty
	path := file(t, l)
	id := lines(t, dlq(t, path, "export", "--stage", "charge"))[0].ID
	for _, args := range []string{"ls", "ls --csv", "ls --json", "groups", "redrive --all --dry-run", "show " + id} {
		if out := dlq(t, path, strings.Fields(args)...); !strings.Contains(out, "gone") || strings.ContainsAny(out, "\x1b\x00\u202e") {
			t.Errorf("%s prints %q", args, out)
		}
	}
}

// TestFault91_NoFieldOfACSVIsAFormula, whatever it begins with.
func TestFault91_NoFieldOfACSVIsAFormula(t *testing.T) {
	all := letters()[:1]
	for i, begin := range []string{"=cmd()", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1"} {
		l := all[0]
		l.EventID, l.Error, l.Key, l.Topic = fmt.Sprint("formula ", i), begin, begin, begin
		all = append(all, l)
	}
	rows, err := csv.NewReader(strings.NewReader(dlq(t, file(t, all...), "ls", "--csv", "--error-type", "*net.OpError"))).ReadAll()
	if err != nil || len(rows) != 1+len(all) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		for _, field := range row {
			if field != "" && strings.ContainsAny(field[:1], "=+-@\t\r\n") {
				t.Errorf("a field is %q", field)
			}
		}
	}
}

// TestFault93_ALetterThatIsDiscardedWhileItIsRedriven: the running program keeps its claim, and goes on behind it.
func TestFault93_ALetterThatIsDiscardedWhileItIsRedriven(t *testing.T) {
	path := file(t, letters()...)
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Claim(t.Context(), deadletter.Sequence{Stage: "charge", Key: "ann"}, "a running program", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	head, err := s.Head(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	dlq(t, path, "discard", head.ID)
	<-time.After(30 * time.Millisecond) // Head may answer with what it brought along up to 20 ms ago
	next, err := s.Head(t.Context(), c)
	if err != nil || next.ID == head.ID {
		t.Errorf("the head is %s, %v, and should be the letter behind %s", next.ID, err, head.ID)
	}
	if _, err := s.Claim(t.Context(), c.Sequence, "another", time.Minute); !errors.Is(err, deadletter.ErrClaimed) {
		t.Errorf("another's claim: %v, want that the program's holds", err)
	}
	if err := s.Resolve(t.Context(), c, head.ID); err != nil && !errors.Is(err, deadletter.ErrNotFound) {
		t.Errorf("the redriven letter cannot be settled: %v", err)
	}
}

// TestFault95_ANewerSchemaIsRefused by every command, and stays as it is.
func TestFault95_ANewerSchemaIsRefused(t *testing.T) {
	path := file(t, letters()...)
	db, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = db.Exec("PRAGMA user_version = 1000")
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"ls", "groups", "stats", "show x-1", "check", "ops", "export", "import", "discard --all", "restore --all", "redrive --all",
		"purge --older-than 1h --yes", "edit x-1 --file none", "ops cancel x-op-1",
	} {
		r := start(t, "", append([]string{"dlq", "--store", "sqlite:" + path}, strings.Fields(args)...)...)
		if r.code != exitFailed || r.out != "" || !strings.Contains(r.err, "newer") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, r.code, r.out, r.err)
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file was changed, %v", err)
	}
}

// TestExportAndImport: every byte of every letter comes back, and an import can be repeated.
func TestExportAndImport(t *testing.T) {
	from := file(t, letters()...)
	id := lines(t, dlq(t, from, "ls", "--json", "--limit", "1"))[0].ID
	dlq(t, from, "edit", id, "--file", write(t, `{"n":7}`), "--yes", "--who", "ann", "--why", "typo")
	dlq(t, from, "discard", "--key", "bob", "--why", "no longer wanted")
	text := dlq(t, from, "export")
	to := filepath.Join(t.TempDir(), "other.db")
	for _, want := range []string{"4 letters stored, 0 were there already\n", "0 letters stored, 4 were there already\n"} {
		r := start(t, text, "dlq", "import", "--store", "sqlite:"+to)
		if r.code != exitDone || r.out != want {
			t.Errorf("import: exit code %d, %q, %q; want %q", r.code, r.out, r.err, want)
		}
	}
	before, after := lines(t, text), lines(t, dlq(t, to, "export"))
	for i := range before {
		before[i].ID, after[i].ID = "", ""
		before[i].UpdatedAt, after[i].UpdatedAt = time.Time{}, time.Time{}
	}
	a, _ := json.Marshal(before)
	b, _ := json.Marshal(after)
	if len(before) != 4 || string(a) != string(b) {
		t.Errorf("exported\n%s\nand after the import\n%s", a, b)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadImportsSayWhere(t *testing.T) {
	good := dlq(t, file(t, letters()[0]), "export")
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":      {good + "{nonsense\n", "letter 2 of the input, after 1 were stored"},
		"another file": {`{"a":1}`, `unknown field "a"`},
		"no stage":     {"{}", "it has no stage"},
		"no base64":    {`{"stage":{"base64":"%%%"}}`, "letter 1 of the input"},
		"no state":     {good + `{"stage":"charge","state":"\u001b[31mlost"}`, "letter 2 of the input, after 1 were stored: its state"},
	} {
		r := start(t, c.text, "dlq", "import", "--store", "sqlite:"+filepath.Join(t.TempDir(), "new.db"))
		if r.code != exitFailed || !strings.Contains(r.err, c.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: exit code %d, stderr %q, want one line with %q", name, r.code, r.err, c.want)
		}
	}
}

func TestFault90_DiscardRestorePurge(t *testing.T) {
	path := file(t, letters()...)
	if out := dlq(t, path, "discard", "--key", "ann", "--dry-run"); out != "2 letters would be discarded\n" {
		t.Errorf("discard --dry-run prints %q", out)
	}
	if out := dlq(t, path, "discard", "--key", "ann"); out != "2 letters discarded\n" || len(events(t, path)) != 2 {
		t.Errorf("discard prints %q, and %q are left", out, events(t, path))
	}
	if out := dlq(t, path, "restore", "--key", "ann"); out != "2 letters restored\n" || len(events(t, path)) != 4 {
		t.Errorf("restore prints %q, and there are %q", out, events(t, path))
	}
	if out := dlq(t, path, "purge", "--older-than", "1h"); out != "4 letters would be purged; --yes does it\n" || len(events(t, path)) != 4 {
		t.Errorf("purge without --yes prints %q, and %q are left", out, events(t, path))
	}
	if out := dlq(t, path, "purge", "--older-than", "1h", "--key", "bob", "--yes"); out != "1 letter purged\n" || len(events(t, path)) != 3 {
		t.Errorf("purge prints %q, and %q are left", out, events(t, path))
	}
}

func TestFault93_RedriveIsAskedFor(t *testing.T) {
	path := file(t, letters()...)
	out := dlq(t, path, "redrive", "--group", "f1", "--rate", "5", "--max", "2", "--who", "ann", "--why", "mended", "--json")
	var all []opJSON
	err := json.Unmarshal([]byte(out), &all)
	if err != nil || len(all) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	o := all[0]
	if o.Selected != 3 || o.Rate != 5 || o.Max != 2 || o.Who != "ann" || o.Why != "mended" || o.State != "requested" {
		t.Fatalf("%v in %s", err, out)
	}
	for _, args := range [][]string{{"ops"}, {"ops", o.ID}} {
		if out := dlq(t, path, args...); !strings.Contains(out, o.ID) || !strings.Contains(out, "mended") {
			t.Errorf("%v prints %q", args, out)
		}
	}
	dlq(t, path, "ops", "cancel", o.ID, "--why", "not yet")
	if out := dlq(t, path, "ops", o.ID); !strings.Contains(out, "is cancelled") || !strings.Contains(out, "not yet") {
		t.Errorf("after cancel, ops prints %q", out)
	}
	if r := start(t, "", "dlq", "ops", "cancel", o.ID, "--store", "sqlite:"+path); r.code != exitFailed {
		t.Errorf("a second cancel: exit code %d, %q", r.code, r.err)
	}
	if out := dlq(t, path, "redrive", "--key", "nobody"); !strings.Contains(out, "nothing to redrive") {
		t.Errorf("a redrive of nothing prints %q", out)
	}
}

func TestCheck(t *testing.T) {
	path := file(t, letters()...)
	for most, want := range map[string]int{"0": exitTooMany, "3": exitTooMany, "4": exitDone} {
		r := start(t, "", "dlq", "check", "--max", most, "--store", "sqlite:"+path)
		if r.code != want || !strings.Contains(r.out, "4 letters in 3 sequences") {
			t.Errorf("check --max %s: exit code %d, %q, want %d", most, r.code, r.out, want)
		}
	}
}

func TestEdit(t *testing.T) {
	path := file(t, letters()...)
	id := lines(t, dlq(t, path, "ls", "--json", "--limit", "1"))[0].ID
	store := "sqlite:" + path
	editor := filepath.Join(t.TempDir(), "editor")
	script := "#!/bin/sh\nsed -i 's/1/42/' \"$1\"\n"
	if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", "")
	if r := start(t, "", "dlq", "edit", id, "--store", store); r.code != exitUsage || !strings.Contains(r.err, "set EDITOR") {
		t.Errorf("without an editor: exit code %d, %q", r.code, r.err)
	}
	t.Setenv("EDITOR", editor)
	if r := start(t, "n\n", "dlq", "edit", id, "--store", store); r.code != exitFailed || !strings.Contains(r.err, "nothing was changed") {
		t.Errorf("refused: exit code %d, %q", r.code, r.err)
	}
	if r := start(t, "", "dlq", "edit", id, "--store", store, "--file", write(t, "{nonsense")); r.code != exitFailed || !strings.Contains(r.err, "no longer json") {
		t.Errorf("no JSON: exit code %d, %q", r.code, r.err)
	}
	r := start(t, "y\n", "dlq", "edit", id, "--store", store, "--who", "ann", "--why", "wrong number")
	if r.code != exitDone || !strings.Contains(r.out, "-   \"n\": 1\n+   \"n\": 42\n") {
		t.Errorf("edit: exit code %d, %q, %q", r.code, r.out, r.err)
	}
	var j letterJSON
	if err := json.Unmarshal([]byte(dlq(t, path, "show", id, "--json")), &j); err != nil {
		t.Fatal(err)
	}
	if j.Payload != `{"n":42}` || j.Original == nil || *j.Original != `{"n":1}` || len(j.Notes) != 1 || j.Notes[0].Who != "ann" {
		t.Errorf("the letter is %+v, want it edited by ann, with the old payload", j)
	}
	if out := dlq(t, path, "edit", id, "--file", write(t, `{"n":42}`)); out != "the payload is as it was\n" {
		t.Errorf("no change: %q", out)
	}
}

func TestWrongUseIsExplainedInOneLine(t *testing.T) {
	path := "sqlite:" + file(t, letters()...)
	for _, args := range [][]string{
		{"nonsense"}, {"dlq", "nonsense"}, {"dlq", "ls", "--nonsense"}, {"dlq", "ls"}, {"dlq", "ls", "--store", "letters.db"},
		{"dlq", "ls", "--store", "mysql://x"}, {"dlq", "ls", "--store", "postgres://"}, {"dlq", "ls", "--store", "sqlite:"}, {"dlq", "show", "--store", path},
		{"dlq", "ls", "extra", "--store", path}, {"dlq", "ls", "--limit", "-1", "--store", path}, {"dlq", "ls", "--since", "soon", "--store", path},
		{"dlq", "ls", "--reason", "bad luck", "--store", path}, {"dlq", "ls", "--state", "lost", "--store", path}, {"dlq", "discard", "--store", path},
		{"dlq", "discard", "--all", "--key", "ann", "--store", path}, {"dlq", "redrive", "--store", path}, {"dlq", "redrive", "--all", "--rate", "-1", "--store", path},
		{"dlq", "redrive", "--all", "--rate", "inf", "--store", path}, {"dlq", "redrive", "--all", "--rate", "nan", "--store", path},
		{"dlq", "purge", "--yes", "--store", path}, {"dlq", "purge", "--older-than", "-1h", "--store", path}, {"dlq", "check", "--max", "many", "--store", path},
	} {
		t.Setenv("RUNNEL_STORE", "")
		if r := start(t, "", args...); r.code != exitUsage || strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "runnel: ") || r.out != "" {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, r.code, r.out, r.err)
		}
	}
}

func TestErrorsAreExplainedInOneLine(t *testing.T) {
	store := "sqlite:" + file(t)
	for _, args := range [][]string{
		{"ls", "--store", "sqlite:" + filepath.Join(t.TempDir(), "none.db")}, {"ls", "--store", "sqlite:" + write(t, strings.Repeat("no database ", 999))},
		{"show", "nobody", "--store", store}, {"edit", "nobody", "--file", "x", "--store", store}, {"ops", "nobody", "--store", store}, {"ops", "cancel", "nobody", "--store", store},
	} {
		if r := start(t, "", append([]string{"dlq"}, args...)...); r.code != exitFailed || strings.Count(r.err, "\n") != 1 || r.out != "" {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, r.code, r.out, r.err)
		}
	}
}

func TestFault94_PasswordsAreMasked(t *testing.T) {
	url := "mysql://ann:s3cr%20et@host/db?password=h1dden%21"
	r := start(t, "", "dlq", "ls", "--store", url)
	if r.code != exitUsage || strings.Contains(r.err, "s3cr") || strings.Contains(r.err, "h1dden") || !strings.Contains(r.err, "ann:xxxxx@host") {
		t.Errorf("exit code %d, stderr %q", r.code, r.err)
	}
	unreadable := "mysql://ann:s3cr%zz@host/db"
	if r := start(t, "", "dlq", "ls", "--store", unreadable); r.code != exitUsage || strings.Contains(r.err, "s3cr") {
		t.Errorf("of a URL that cannot be read: exit code %d, stderr %q", r.code, r.err)
	}
	for _, loose := range []string{
		"host=db user=ann password=s3cret", "host=db user=ann password = 's3c\\' s3cret'", "host=db:5432 password=s3cret", "host=db password=s3c:s3cret",
		"postgres//ann:s3cret@host/db", "ann:s3cret@host/db", "my_user:s3cret@host/db", "ann:s3c@s3c:/s3cret@host/db",
	} {
		if r := start(t, "", "dlq", "ls", "--store", loose); r.code != exitUsage || strings.Contains(r.err, "s3c") || !strings.Contains(r.err, masked) {
			t.Errorf("of the address %q: exit code %d, stderr %q", loose, r.code, r.err)
		}
	}
	t.Setenv("RUNNEL_STORE", url)
	if r := start(t, "", "dlq", "--help"); r.code != exitDone || strings.Contains(r.out, "s3cr") {
		t.Errorf("the help prints the password: %q", r.out)
	}
}

func TestFault92_AnInterruptEndsAChangeBetweenLetters(t *testing.T) {
	path := file(t, letters()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"dlq", "discard", "--all", "--store", "sqlite:" + path}, strings.NewReader(""), &out, &errs); code != exitInterrupted {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
	if got := events(t, path); len(got) != 4 {
		t.Errorf("%q are left, want all", got)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := start(t, "", "completion", shell); r.code != exitDone || !strings.Contains(r.out, "runnel") {
			t.Errorf("%s: exit code %d, %q", shell, r.code, r.err)
		}
	}
	path := file(t, letters()...)
	id := lines(t, dlq(t, path, "ls", "--json", "--limit", "1"))[0].ID
	dlq(t, path, "redrive", "--key", "ann", "--who", "ann", "--why", "mended")
	prefix, _, _ := strings.Cut(id, "-")
	for _, c := range []struct{ args, want string }{
		{"ls --reason", "exhausted\n"}, {"ls --state", "quarantined\n"}, {"ls --stage", "charge\n"}, {"redrive --group", "f1\tcharge: the card service"},
		{"show", id + "\tcharge ann: the card"}, {"edit", id + "\t"}, {"discard", id + "\t"}, {"redrive", id + "\t"},
		{"ops", prefix + "-op-1\trequested of ann: mended\n"}, {"ops cancel", prefix + "-op-1\t"},
	} {
		r := start(t, "", append([]string{"__complete", "dlq", "--store", "sqlite:" + path}, append(strings.Fields(c.args), "")...)...)
		if !strings.Contains(r.out, c.want) || strings.ContainsAny(r.out, "\x1b\x00\u202e") {
			t.Errorf("completion of %s: %q, want %q", c.args, r.out, c.want)
		}
	}
	t.Setenv("RUNNEL_STORE", "")
	for _, store := range []string{"", "--store=sqlite:" + filepath.Join(t.TempDir(), "none.db")} {
		if r := start(t, "", "__complete", "dlq", "show", store, ""); strings.Contains(r.out, id) || r.code != exitDone {
			t.Errorf("completion without a store: exit code %d, %q", r.code, r.out)
		}
	}
}

// TestEveryChangeIsToldAsJSON to a program that asks for it.
func TestEveryChangeIsToldAsJSON(t *testing.T) {
	path := file(t, letters()...)
	id := lines(t, dlq(t, path, "ls", "--json", "--limit", "1"))[0].ID
	prefix, _, _ := strings.Cut(id, "-")
	payload := write(t, `{"n":42}`)
	other, longer := lines(t, dlq(t, path, "ls", "--json", "--reason", "undecodable"))[0].ID, write(t, nasty+"\n")
	for _, c := range []struct{ args, want string }{
		{"edit " + id + " --yes --file " + payload, `"changed":true`}, {"edit " + id + " --yes --file " + payload, `"changed":false`},
		{"edit " + other + " --yes --file " + longer, `"changed":true`},
		{"discard " + id, `"letters":1`}, {"restore " + id, `"letters":1`}, {"redrive --key bob", `"selected":1`},
		{"ops cancel " + prefix + "-op-1", `"state":"cancelled"`}, {"purge --key bob --yes", `"letters":1`}, {"check --max 9", `"ok":true`},
	} {
		var compacted bytes.Buffer
		out := dlq(t, path, append(strings.Fields(c.args), "--json")...)
		if err := json.Compact(&compacted, []byte(out)); err != nil || !strings.Contains(compacted.String(), c.want) {
			t.Errorf("%s prints %s, %v, want %s", c.args, out, err, c.want)
		}
	}
}

func TestABarIsDrawnOnTerminalsOnly(t *testing.T) {
	var out bytes.Buffer
	b := startBar(&out, "discarded", 10)
	b.add(5)
	b.stop()
	if out.Len() > 0 {
		t.Errorf("a bar for no terminal: %q", out.String())
	}
	b.w = &out // as if it were one
	b.add(1)
	b.stop()
	if want := "\r[##################............]  60 %  6 of 10 letters discarded\x1b[K\r\x1b[K"; out.String() != want {
		t.Errorf("the bar is %q, want %q", out.String(), want)
	}
	if got := (&bar{what: "imported", done: 1}).line(); got != "1 letter imported" {
		t.Errorf("of an unknown number: %q", got)
	}
}

func FuzzStoreURL(f *testing.F) {
	for _, url := range []string{"", "sqlite:", "sqlite:///x", "postgres://u:p@h/d", "://", "sqlite:\x00"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		a := &app{url: url}
		switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
		case "sqlite":
			a.url = "sqlite:" + filepath.Join(t.TempDir(), "none", url)
		case "postgres", "postgresql": // nobody listens there
			a.url = scheme + "://127.0.0.1:1/" + neturl.PathEscape(rest)
		}
		if _, err := a.open(t.Context(), existing); err == nil {
			t.Errorf("open(%q) = nil", url)
		}
	})
}

func FuzzFilterTimes(f *testing.F) {
	for _, text := range []string{"2h", "7d", "-1d", "1e9d", "2026-01-31", "NaNd"} {
		f.Add(text)
	}
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parseAge(text); err == nil && d < 0 {
			t.Errorf("parseAge(%q) = %v", text, d)
		}
		_, _ = parseTime("--since", text, now)
	})
}

func FuzzRaw(f *testing.F) {
	f.Add("plain")
	f.Add(nasty)
	f.Fuzz(func(t *testing.T, text string) {
		data, err := json.Marshal(raw(text))
		var back raw
		if err == nil {
			err = json.Unmarshal(data, &back)
		}
		if err != nil || string(back) != text {
			t.Errorf("%q became %s and then %q, %v", text, data, back, err)
		}
	})
}

// TestFault94_AServerThatRefusesIsToldOfWithoutThePassword: its URL is understood, and a server that refuses it is told of without the password.
func TestFault94_AServerThatRefusesIsToldOfWithoutThePassword(t *testing.T) {
	r := start(t, "", "dlq", "stats", "--store", "postgres://ann:s3cret@127.0.0.1:1/none?sslmode=disable&connect_timeout=2")
	if r.code != exitFailed || !strings.Contains(r.err, "pgstore: ") || strings.Contains(r.err, "s3cret") || strings.Count(r.err, "\n") != 1 {
		t.Errorf("exit code %d, stderr %q", r.code, r.err)
	}
}
