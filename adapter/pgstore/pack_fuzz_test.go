package pgstore

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// packOf packs what a row keeps packed.
func packOf(l *deadletter.Letter) *packed {
	return &packed{packTime(l.Time), packHeader(l.Header), packCauses(l.Causes), packHistory(l.History), packNotes(l.Notes)}
}

// FuzzUnpack reads packed columns that anybody may have written: they are damaged, or what they say survives being
// written again.
func FuzzUnpack(f *testing.F) {
	good := packOf(&deadletter.Letter{
		Time: time.Unix(1, 2), Header: event.Header{"a": "b", "": "\xff"}, Causes: []deadletter.Cause{{Type: "t", Text: "x"}},
		History: []deadletter.Attempt{{Number: 3, At: time.Unix(math.MinInt32, 1), Error: "e"}}, Notes: []deadletter.Note{{What: "w", Who: "o", Why: "y"}},
	})
	f.Add(good.time, good.header, good.causes, good.history, good.notes)
	f.Fuzz(func(t *testing.T, at, header, causes, history, notes []byte) {
		var l, again deadletter.Letter
		if err := (&packed{at, header, causes, history, notes}).unpack(&l); err != nil {
			return
		}
		if err := packOf(&l).unpack(&again); err != nil {
			t.Fatalf("%+v was packed and does not unpack: %v", l, err)
		}
		if len(at) == 0 {
			again.Time = l.Time // a row always has one
		}
		if !reflect.DeepEqual(l, again) {
			t.Errorf("unpacked, packed and unpacked:\n%+v\n%+v", l, again)
		}
	})
}

// FuzzPack writes any texts and reads them again.
func FuzzPack(f *testing.F) {
	f.Add("name", "value", "", "\x00\xff", int64(-1), int64(1))
	f.Fuzz(func(t *testing.T, a, b, c, d string, seconds, number int64) {
		at := time.Unix(seconds, number%1e9).UTC()
		want := deadletter.Letter{
			Time: at, Header: event.Header{a: b, c: d}, Causes: []deadletter.Cause{{Type: b, Text: a}, {Type: d, Text: c}},
			History: []deadletter.Attempt{{Number: int(number), At: at, Error: a}, {Error: d, At: time.Unix(0, 0).UTC()}},
			Notes:   []deadletter.Note{{At: at, What: a, Who: b, Why: c}},
		}
		var got deadletter.Letter
		if err := packOf(&want).unpack(&got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v came back as\n%+v, %v", want, got, err)
		}
	})
}
