package main

import (
	"bytes"
	"encoding/json"
	neturl "net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// inMemory is a store for one command.
type inMemory struct{ *deadletter.Memory }

func (inMemory) Close() error { return nil }

func newInMemory() inMemory {
	return inMemory{deadletter.NewMemory(deadletter.MemoryConfig{MaxLetterBytes: -1})}
}

// transfer imports lines into a store of their own and exports them again.
func transfer(t *testing.T, lines []byte) ([]byte, error) {
	t.Helper()
	s, out := newInMemory(), bytes.Buffer{}
	a := &app{in: bytes.NewReader(lines), out: &out, errs: &bytes.Buffer{}, json: true}
	if err := a.importLines(t.Context(), s, nil); err != nil {
		return nil, err
	}
	out.Reset()
	all := deadletter.Filter{States: []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}}
	if err := a.exportLines(t.Context(), s, all, 0); err != nil {
		t.Fatalf("what was imported cannot be exported: %v", err)
	}
	return out.Bytes(), nil
}

// FuzzImport imports what may be in a file: it is refused, or what comes out imports again, to the same lines.
func FuzzImport(f *testing.F) {
	var lines bytes.Buffer
	for _, l := range letters() {
		if err := printLine(&lines, toJSON(&l)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(lines.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := transfer(t, data)
		if err != nil {
			return
		}
		second, err := transfer(t, first)
		if err != nil {
			t.Fatalf("what was exported cannot be imported: %v\n%s", err, first)
		}
		if got, want := withoutIDs(t, second), withoutIDs(t, first); !reflect.DeepEqual(got, want) {
			t.Errorf("exported\n%s\nand then\n%s", first, second)
		}
	})
}

// withoutIDs are letters without what each store gives them itself.
func withoutIDs(t *testing.T, text []byte) []letterJSON {
	t.Helper()
	all := lines(t, string(text))
	for i := range all {
		all[i].ID, all[i].UpdatedAt = "", time.Time{}
	}
	return all
}

// FuzzLetterJSON has letters of any bytes written and read.
func FuzzLetterJSON(f *testing.F) {
	f.Add("charge", nasty, "", "id", []byte("{}"), []byte(nil), uint64(1<<63), int64(1), true)
	f.Fuzz(func(t *testing.T, stage, key, text, id string, payload, original []byte, seq uint64, seconds int64, holds bool) {
		at := time.Unix(seconds%1e10, seconds%1e9).UTC() // RFC 3339 has its year
		want := &deadletter.Letter{
			Stage: stage, Topic: key, Key: key, Ordered: holds, Holds: holds, EventID: id, GivenID: text, Origin: seq, TopicKey: stage,
			Seq: seq, Time: time.Unix(seconds, seconds%1e9).UTC(), Payload: append([]byte{}, payload...), Codec: text, Error: text, ErrorType: id, Fingerprint: key, Stack: stage,
			Header: event.Header{stage: key, text: id}, Attempts: int(seconds), Redrives: int(seconds >> 3), DeadAt: at, UpdatedAt: at,
			Causes: []deadletter.Cause{{Type: text, Text: id}}, History: []deadletter.Attempt{{Number: 1, At: at, Error: text}},
			Notes: []deadletter.Note{{At: at, What: stage, Who: id, Why: text}}, Original: original,
		}
		data, err := json.Marshal(toJSON(want))
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		var j letterJSON
		if err := json.Unmarshal(data, &j); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if got := j.letter(); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nbecame\n%+v", want, got)
		}
	})
}

// FuzzFilterFlags gives the flags that choose letters any values: they are refused, or make a filter that says just
// that and survives being recorded with an operation.
func FuzzFilterFlags(f *testing.F) {
	f.Add("charge", "ann", "2h", "2026-01-31", "exhausted", "active,discarded", "text", true)
	f.Add("", "", "", "", "", "", "", false)
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, stage, key, since, until, reason, states, text string, keyed bool) {
		var flags filterFlags
		c := &cobra.Command{}
		flags.add(&app{}, c)
		var args []string
		for name, value := range map[string]string{"stage": stage, "since": since, "until": until, "reason": reason, "state": states, "error": text} {
			if value != "" { // an empty one is refused
				args = append(args, "--"+name+"="+value)
			}
		}
		if keyed {
			args = append(args, "--key="+key)
		}
		if c.ParseFlags(args) != nil {
			return
		}
		got, err := flags.filter(nil, now)
		if err != nil {
			return
		}
		if flags.empty() != (stage+since+until+reason+text == "" && len(flags.states) == 0 && !keyed) {
			t.Errorf("%q: empty = %v", args, flags.empty())
		}
		if got.Stage != stage || string(got.Reason) != reason || got.ErrorText != text || (got.Key != nil) != keyed || keyed && *got.Key != key ||
			got.After.IsZero() != (since == "") || got.Before.IsZero() != (until == "") {
			t.Errorf("%q make %+v", args, got)
		}
		data, err := got.MarshalBinary()
		var back deadletter.Filter
		if err == nil {
			err = back.UnmarshalBinary(data)
		}
		if err != nil || !back.After.Equal(got.After) || !back.Before.Equal(got.Before) || back.Stage != got.Stage || len(back.States) != len(got.States) {
			t.Errorf("%+v was recorded as %+v, %v", got, back, err)
		}
	})
}

// FuzzMask has errors that quote the store's URL: no password is left in what is printed.
// FuzzMask: what stands between the masks has no secret. Secrets without an x, so that it is known where the masks are.
func FuzzMask(f *testing.F) {
	f.Add("ann", "s3cret", "db", "")
	f.Add("", "p%40:/", "y", "pa ss&=")
	f.Fuzz(func(t *testing.T, user, password, db, parameter string) {
		u := &neturl.URL{Scheme: "postgres", User: neturl.UserPassword(user, password), Host: "h", Path: "/" + db}
		if parameter != "" {
			u.RawQuery = neturl.Values{"password": {parameter}}.Encode()
		}
		a := &app{url: u.String()}
		for _, secret := range []string{password, parameter} {
			if secret == "" || strings.Contains(secret, "x") {
				continue
			}
			parts := strings.Split(a.mask("pgstore: "+secret+": h"), masked)
			if len(parts) < 2 || slices.ContainsFunc(parts, func(s string) bool { return strings.Contains(s, secret) }) {
				t.Errorf("%q is left in %q", secret, strings.Join(parts, masked))
			}
		}
	})
}

func TestMask(t *testing.T) {
	for name, test := range map[string]struct{ url, text, want string }{
		"a password":                       {"postgres://ann:s3cret@h/db", "no s3cret here", "no xxxxx here"},
		"its escaped form":                 {"postgres://ann:p%20q@h/db", "p%20q, p+q and p q", "xxxxx, xxxxx and xxxxx"},
		"one that begins another":          {"postgres://ann:sec@h/db?password=secret", "a secret!", "a xxxxx!"},
		"one that ends where another does": {"postgres://ann:abc@h/db?password=cde", "(abcde)", "(xxxxx)"},
		"one in the mask":                  {"postgres://ann:xx@h/db?password=xxxxxxx", "xx and xxxxxxxxxxxx", "xxxxx and xxxxx"},
		"one with a frame's byte":          {"postgres://ann:x:@h/db", "store: x:: h", "store: xxxxx: h"},
		"no password":                      {"postgres://ann@h/db", "ann at h", "ann at h"},
		"a URL that cannot be read":        {"postgres://ann:p q@h:z", "bad postgres://ann:p q@h:z", "bad postgres:xxxxx"},
	} {
		a := &app{url: test.url}
		if got := a.mask(test.text); got != test.want {
			t.Errorf("%s: %q became %q, want %q", name, test.text, got, test.want)
		}
	}
}
