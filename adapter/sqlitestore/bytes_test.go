package sqlitestore_test

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// odd has every byte, and what texts are mistaken for.
var odd = func() string {
	s := []byte("\x00'; DROP TABLE letters; --\u202e%_\\日本\r\n\xff\xfe\xc3\x28")
	for b := range 256 {
		s = append(s, byte(b))
	}
	return string(s)
}()

// TestEveryFieldSurvives fills every field by reflection: one that is added to the letter and forgotten
// here is found.
func TestEveryFieldSurvives(t *testing.T) {
	path := fresh(t)
	s := open(t, path, sqlitestore.Config{})
	want := &deadletter.Letter{}
	fillIn(t, reflect.ValueOf(want).Elem(), new(int))
	want.Ordered, want.Holds = true, true
	id := put(t, s, want)
	must(t, s.Close())
	got, err := open(t, path, sqlitestore.Config{}).Get(t.Context(), id)
	must(t, err)
	want.ID, want.Value, want.UpdatedAt = got.ID, nil, got.UpdatedAt // the store's own
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("got  %+v\nwant %+v", got, *want)
	}
}

// fillIn gives v a value that no other has.
func fillIn(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Date(1900+*n, 2, 3, 4, 5, 6, 789_012_000, time.UTC)
		return
	case *any:
		return
	case *event.Header:
		*at = event.Header{odd: "", "": odd, fmt.Sprint(*n): odd}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint(*n, odd))
	case reflect.Int:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(1<<63 + uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fillIn(t, v.Index(i), n)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			fillIn(t, field, n)
		}
	default:
		t.Fatalf("a %v: teach this test to fill it in", v.Type())
	}
}

func TestAnEditKeepsAnEmptyPayload(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	l := letter("ann", "1")
	l.Payload = nil
	id := put(t, s, l)
	for _, payload := range []string{"one", "two"} {
		must(t, s.Edit(t.Context(), id, []byte(payload), deadletter.Note{}))
	}
	if got, err := s.Get(t.Context(), id); err != nil || got.Original == nil || len(got.Original) != 0 || string(got.Payload) != "two" {
		t.Errorf("payload %q, original %#v, %v", got.Payload, got.Original, err)
	}
}

func TestTimesSurvive(t *testing.T) {
	s := open(t, fresh(t), sqlitestore.Config{})
	for i, at := range []time.Time{
		{}, time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 1, time.UTC), time.Now(),
	} {
		l := letter("ann", fmt.Sprint(i))
		l.Time, l.History = at, []deadletter.Attempt{{At: at}}
		got, err := s.Get(t.Context(), put(t, s, l))
		if err != nil || !got.Time.Equal(at) || !got.History[0].At.Equal(at) {
			t.Errorf("%v came back as %v, %v", at, got.Time, err)
		}
	}
}

func TestIDsOfAnotherFileNameNothing(t *testing.T) {
	a, b := open(t, fresh(t), sqlitestore.Config{}), open(t, fresh(t), sqlitestore.Config{})
	id := put(t, a, letter("ann", "1"))
	put(t, b, letter("ann", "1"))
	for _, id := range []string{id, "", "1", "-1", "x-1", id + " ", id[:len(id)-1] + "01", id[:len(id)-1] + "-1"} {
		if l, err := b.Get(t.Context(), id); err == nil {
			t.Errorf("Get(%q) = %+v", id, l)
		}
	}
}

// FuzzHeaderSurvives puts names and values of any bytes.
func FuzzHeaderSurvives(f *testing.F) {
	s := open(f, fresh(f), sqlitestore.Config{MaxLetterBytes: -1, MaxLetters: -1})
	f.Add("a", "b", "", odd)
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		l := letter("ann", "")
		l.Header = event.Header{n1: v1, n2: v2}
		l.Causes = []deadletter.Cause{{Type: v1, Text: n2}}
		id := put(t, s, l)
		got, err := s.Get(t.Context(), id)
		if err != nil || !maps.Equal(got.Header, l.Header) || len(got.Causes) != 1 || got.Causes[0].Type != v1 {
			t.Errorf("got %q, %q, %v", got.Header, got.Causes, err)
		}
		_, err = s.Purge(t.Context(), deadletter.Filter{IDs: []string{id}})
		must(t, err)
	})
}
