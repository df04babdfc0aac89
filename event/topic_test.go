package event_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/event"
)

type order struct {
	Number   string
	Customer string
}

func byCustomer(o order) string { return o.Customer }
func byNumber(o order) string   { return o.Number }

func TestTopicTellsWhatItIs(t *testing.T) {
	bare := event.NewTopic[order]("orders")
	if bare.Name() != "orders" || bare.Keyed() || bare.Identified() || bare.AllowsNoKey() || bare.Codec().Name() != "json" || bare.Check() != nil {
		t.Errorf("a topic without options is %+v, %v", bare, bare.Check())
	}
	full := event.NewTopic("orders", event.KeyBy(byCustomer), event.IDBy(byNumber), event.AllowNoKey[order](), event.WithCodec[order](upper{}))
	if !full.Keyed() || !full.Identified() || !full.AllowsNoKey() || full.Codec().Name() != "upper" || full.Check() != nil {
		t.Errorf("a topic with all options is %+v, %v", full, full.Check())
	}
}

// TestTopicCheckNamesEveryFault, all at once, with the mend.
func TestTopicCheckNamesEveryFault(t *testing.T) {
	cases := map[string]struct {
		topic *event.Topic[order]
		want  []string
	}{
		"no name":         {event.NewTopic[order](""), []string{"the name is empty", "give NewTopic a name"}},
		"a long name":     {event.NewTopic[order](strings.Repeat("x", event.MaxTextBytes+1)), []string{"1025 bytes", "1024 is the limit"}},
		"a nil option":    {event.NewTopic[order]("orders", nil), []string{"topic orders", "nil option", "leave it out"}},
		"a nil key":       {event.NewTopic("orders", event.KeyBy[order](nil)), []string{"KeyBy(nil)", "give it a function"}},
		"a nil id":        {event.NewTopic("orders", event.IDBy[order](nil)), []string{"IDBy(nil)", "give it a function"}},
		"a nil codec":     {event.NewTopic("orders", event.WithCodec[order](nil)), []string{"WithCodec(nil)", "leave it out for JSON"}},
		"several at once": {event.NewTopic("", event.KeyBy[order](nil), event.IDBy[order](nil)), []string{"name is empty", "KeyBy(nil)", "IDBy(nil)"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.topic.Check()
			if err == nil {
				t.Fatal("Check = nil, want a fault")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Check = %q, want it to say %q", err, part)
				}
			}
		})
	}
}

func TestDescribeFillsInWhatTheTopicKnows(t *testing.T) {
	topic := event.NewTopic("orders", event.KeyBy(byCustomer), event.IDBy(byNumber))
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	var m event.Meta
	err := topic.Describe(&m, order{"A1", "ann"}, []event.PublishOption{nil, event.WithTime(at), event.WithHeader("trace", "7")})
	if err != nil {
		t.Fatal(err)
	}
	if m.Topic != "orders" || m.Key != "ann" || m.GivenID != "A1" || !m.Time.Equal(at) || m.Header["trace"] != "7" {
		t.Errorf("meta = %+v", m)
	}
}

func TestOptionsWinOverTheTopic(t *testing.T) {
	topic := event.NewTopic("orders", event.KeyBy(byCustomer), event.IDBy(byNumber))
	var m event.Meta
	if err := topic.Describe(&m, order{}, []event.PublishOption{event.WithKey("bob"), event.WithID("B1")}); err != nil {
		t.Fatal(err)
	}
	if m.Key != "bob" || m.GivenID != "B1" {
		t.Errorf("key %q, identity %q, want those of the options", m.Key, m.GivenID)
	}
}

// TestFault05_EmptyKeyOrIdentity is refused where the topic promises one, and let through where it does not.
func TestFault05_EmptyKeyOrIdentity(t *testing.T) {
	keyed := event.NewTopic("orders", event.KeyBy(byCustomer))
	lax := event.NewTopic("orders", event.KeyBy(byCustomer), event.AllowNoKey[order]())
	identified := event.NewTopic("orders", event.IDBy(byNumber))
	bare := event.NewTopic[order]("orders")
	for name, c := range map[string]struct {
		topic *event.Topic[order]
		want  error
	}{
		"a keyed topic": {keyed, event.ErrNoKey}, "one that allows it": {lax, nil},
		"a topic with identities": {identified, event.ErrNoID}, "a bare one": {bare, nil},
	} {
		var m event.Meta
		if err := c.topic.Describe(&m, order{}, nil); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: Describe = %v, want %v", name, err, c.want)
		}
	}
	err := keyed.Describe(new(event.Meta), order{}, nil)
	if text := err.Error(); !strings.Contains(text, "publish to orders") || !strings.Contains(text, "AllowNoKey") {
		t.Errorf("the error reads %q, want it to name the topic and the mend", text)
	}
}

// TestFault08_LongAndStrangeTexts: keys and identities are bounded in length, and whatever else they hold
// is kept as it is.
func TestFault08_LongAndStrangeTexts(t *testing.T) {
	topic := event.NewTopic("orders", event.KeyBy(byCustomer), event.IDBy(byNumber))
	long := strings.Repeat("k", event.MaxTextBytes+1)
	for name, o := range map[string]order{"key": {"A1", long}, "identity": {long, "ann"}, "key of a MiB": {"A1", strings.Repeat("k", 1<<20)}} {
		err := topic.Describe(new(event.Meta), o, nil)
		if !errors.Is(err, event.ErrTooLong) {
			t.Errorf("long %s: Describe = %v, want %v", name, err, event.ErrTooLong)
		} else if len(err.Error()) > 300 {
			t.Errorf("long %s: the error has %d bytes itself", name, len(err.Error()))
		}
	}
	for _, text := range []string{long[1:], "a\x00b", "a\nb", "\xff\xfe", "../../etc", "ключ", " "} {
		var m event.Meta
		if err := topic.Describe(&m, order{text, text}, nil); err != nil || m.Key != text || m.ID() != text {
			t.Errorf("Describe of %q = %v, key %q, want it kept", text, err, m.Key)
		}
	}
}

// TestDescribeRaw asks the payload nothing: there is none.
func TestDescribeRaw(t *testing.T) {
	asked := false
	topic := event.NewTopic("orders", event.KeyBy(func(order) string { asked = true; return "" }))
	var m event.Meta
	if err := topic.DescribeRaw(&m, []event.PublishOption{event.WithKey("ann"), nil, event.WithID("A1")}); err != nil {
		t.Error(err)
	}
	if asked || m.Topic != "orders" || m.Key != "ann" || m.GivenID != "A1" {
		t.Errorf("meta = %+v, payload asked: %v", m, asked)
	}
}

// TestDescribeDoesNotAllocate without options: it is on the way of every event.
func TestDescribeDoesNotAllocate(t *testing.T) {
	topic := event.NewTopic("orders", event.KeyBy(byCustomer), event.IDBy(byNumber))
	var m event.Meta
	o := order{"A1", "ann"}
	if n := testing.AllocsPerRun(100, func() {
		if err := topic.Describe(&m, o, nil); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("Describe allocates %v times, want 0", n)
	}
}

// TestDescribeRawIsBounded: an event that could not be decoded has neither a key nor an identity above the limit.
func TestDescribeRawIsBounded(t *testing.T) {
	topic := event.NewTopic[int]("numbers")
	long := strings.Repeat("k", event.MaxTextBytes+1)
	for name, opt := range map[string]event.PublishOption{"key": event.WithKey(long), "identity": event.WithID(long)} {
		err := topic.DescribeRaw(&event.Meta{}, []event.PublishOption{opt})
		if !errors.Is(err, event.ErrTooLong) || !strings.Contains(err.Error(), name) {
			t.Errorf("DescribeRaw = %v, want %v, naming the %s", err, event.ErrTooLong, name)
		}
	}
	if err := topic.DescribeRaw(&event.Meta{}, nil); err != nil {
		t.Errorf("DescribeRaw without options = %v, want nil", err)
	}
}
