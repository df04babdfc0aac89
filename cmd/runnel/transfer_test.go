package main

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// TestAnImportLeavesWhatWasDiscarded since it was first done.
func TestAnImportLeavesWhatWasDiscarded(t *testing.T) {
	path := file(t, letters()[:3]...)
	text := dlq(t, path, "export")
	dlq(t, path, "discard", "--key", "ann", "--who", "ann", "--why", "refunded by hand")
	r := start(t, text, "dlq", "import", "--store", "sqlite:"+path)
	if want := "0 letters stored, 3 were there already\n"; r.code != exitDone || r.out != want {
		t.Errorf("import: exit code %d, %q, %q; want %q", r.code, r.out, r.err, want)
	}
	if got := events(t, path, "--key", "ann"); len(got) != 0 {
		t.Errorf("%q are active again", got)
	}
	if got := lines(t, dlq(t, path, "export", "--state", "discarded")); len(got) != 2 || len(got[0].Notes) != 1 || got[0].Notes[0].Why != "refunded by hand" {
		t.Errorf("%+v are discarded, want ann's two with their notes", got)
	}
}

// TestATimeBeyondTheYear9999, as of milliseconds that were taken for seconds, hides no letter and comes back as it was.
func TestATimeBeyondTheYear9999(t *testing.T) {
	all := letters()[:3]
	far := time.Unix(all[1].Time.UnixMilli(), 678901000).UTC()
	before := time.Date(-5, 1, 2, 3, 4, 5, 0, time.UTC)
	all[1].Time, all[2].Time = far, before
	path := file(t, all...)
	text := dlq(t, path, "export")
	to := filepath.Join(t.TempDir(), "other.db")
	if r := start(t, text, "dlq", "import", "--store", "sqlite:"+to); r.code != exitDone {
		t.Fatalf("import: exit code %d, %q", r.code, r.err)
	}
	for what, got := range map[string][]letterJSON{
		"export": lines(t, text), "ls --json": lines(t, dlq(t, path, "ls", "--json")), "imported": lines(t, dlq(t, to, "export")),
	} {
		var times []time.Time
		for _, j := range got {
			times = append(times, j.Time.UTC())
		}
		if want := []time.Time{all[0].Time, far, before}; !reflect.DeepEqual(times, want) {
			t.Errorf("%s: the events are of %v, want %v", what, times, want)
		}
	}
	dlq(t, path, "show", lines(t, text)[1].ID, "--json")
}
