package deadletter_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

func FuzzFilterBinary(f *testing.F) {
	f.Add("", "", "", "", false, int64(0), []byte("{}"))
	f.Add("a\xff\x00", "\xc3", "k", "e", true, int64(1), []byte(`{"ids":["!"]}`))
	f.Fuzz(func(t *testing.T, stage, id, key, text string, named bool, at int64, raw []byte) {
		want := deadletter.Filter{Stage: stage, ErrorText: text, Topic: id, Reason: deadletter.Reason(text)}
		if named {
			want.IDs, want.Key = []string{id, stage}, &key
			want.Before, want.After = time.Unix(at%1e10, at%1e9).UTC(), time.Unix(at%1e9, 1).UTC()
			if at%2 == 0 {
				want.IDs = []string{}
			}
		}
		b, err := want.MarshalBinary()
		if err != nil {
			t.Fatalf("MarshalBinary(%+v) = %v", want, err)
		}
		var got deadletter.Filter
		if err := got.UnmarshalBinary(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v\nwant %+v", got, err, want)
		}
		_ = got.UnmarshalBinary(raw) // it must not panic
	})
}
