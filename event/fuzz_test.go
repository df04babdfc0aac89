package event_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/runnel-go/runnel/event"
)

// parcel has a field of each kind that JSON knows.
type parcel struct {
	Name   string            `json:"name"`
	Weight float64           `json:"weight"`
	Count  uint64            `json:"count"`
	Sent   bool              `json:"sent"`
	At     time.Time         `json:"at"`
	Bytes  []byte            `json:"bytes"`
	Labels map[string]string `json:"labels"`
	Next   *parcel           `json:"next,omitempty"`
}

// FuzzJSON decodes what may stand in a letter: it fails, or gives a value that survives the codec from then on.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{`{"name":"a","next":{"count":18446744073709551615}}`, `null`, `{`, `{"at":"0000-01-01T00:00:00Z"}`} {
		f.Add([]byte(text))
	}
	codec := event.JSON[parcel]()
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		v, err := codec.Decode(data)
		if !bytes.Equal(data, before) {
			t.Errorf("Decode changed %q to %q", before, data)
		}
		if err != nil {
			return
		}
		written, err := codec.Encode(v)
		if err != nil {
			return // a time with a zone that RFC 3339 cannot write
		}
		back, err := codec.Decode(written)
		if err != nil {
			t.Fatalf("%s was written and cannot be read: %v", written, err)
		}
		again, err := codec.Encode(back)
		if err != nil || !bytes.Equal(again, written) {
			t.Errorf("%s became %s, %v", written, again, err)
		}
	})
}

// FuzzDescribe gives events any texts: an event is refused for what is wrong with it, or has them byte by byte.
func FuzzDescribe(f *testing.F) {
	f.Add("key", "id", "name", "value", "", true)
	f.Add("", "", "", "", "", false)
	f.Fuzz(func(t *testing.T, key, id, name, value, given string, keyless bool) {
		opts := []event.TopicOption[string]{event.KeyBy(func(string) string { return key }), event.IDBy(func(string) string { return id })}
		if keyless {
			opts = append(opts, event.AllowNoKey[string]())
		}
		var m event.Meta
		wantKey := key
		publish := []event.PublishOption{event.WithHeader(name, value)}
		if given != "" {
			wantKey, publish = given, append(publish, event.WithKey(given))
		}
		err := event.NewTopic("texts", opts...).Describe(&m, "", publish)
		var want error
		switch {
		case wantKey == "" && !keyless:
			want = event.ErrNoKey
		case id == "":
			want = event.ErrNoID
		case len(wantKey) > event.MaxTextBytes, len(id) > event.MaxTextBytes:
			want = event.ErrTooLong
		}
		if !errors.Is(err, want) {
			t.Fatalf("key %.40q, identity %.40q: %v, want %v", wantKey, id, err, want)
		}
		if err == nil && (m.Key != wantKey || m.ID() != id || !reflect.DeepEqual(m.Header, event.Header{name: value})) {
			t.Errorf("%+v, want key %q, identity %q, header %q: %q", m, wantKey, id, name, value)
		}
	})
}
