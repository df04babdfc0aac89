package deadlettertest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

var keeping = []fact{
	{"a letter comes back as it was put", comesBack},
	{"a letter and its store share no memory", sharesNothing},
	{"bytes are bytes", bytesAreBytes},
	{"a payload of one MiB survives", bigPayload},
	{"Put runs to its end when its context is cancelled", putCancelled},
	{"putting a letter again changes nothing", putAgain},
	{"a letter without an event id is never taken for another", noEventID},
	{"an id is the store's to give", givesIDs},
	{"a discarded letter that dies again is active, at the end", diesAgain},
	{"overlong texts are cut", cutTexts},
	{"letters, claims and holds survive a restart", survives},
}

func full() *deadletter.Letter {
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456000, time.UTC)
	return &deadletter.Letter{
		Stage: "charge", Topic: "orders", Key: "ann", Ordered: true, Holds: true,
		EventID: "o-1", GivenID: "o-1", Origin: 1<<63 + 7, TopicKey: "topic-key", Seq: 1<<63 + 3, Time: at,
		Header: event.Header{"a": "1", "b": ""}, Payload: []byte("{}"), Codec: "json",
		Reason: deadletter.Panicked, Error: "panic: boom", ErrorType: "string",
		Causes:      []deadletter.Cause{{Type: "*x.E", Text: "outer"}, {Type: "string", Text: "boom"}},
		Fingerprint: "abc", Stack: "goroutine 1", Attempts: 2,
		History:  []deadletter.Attempt{{Number: 1, At: at, Error: "one"}, {Number: 2, At: at.Add(1), Error: "two"}},
		Redrives: 1, Notes: []deadletter.Note{{At: at, What: "edit", Who: "me", Why: "typo"}}, Original: []byte("["),
	}
}

func comesBack(t *testing.T, s *suite) {
	store, want := s.open(t), full()
	before := time.Now().Add(-time.Second)
	got := get(t, store, put(t, store, want)[0])
	if got.State != deadletter.Active || got.DeadAt.Before(before) || got.UpdatedAt.Before(before) {
		t.Errorf("State, DeadAt, UpdatedAt = %v, %v, %v", got.State, got.DeadAt, got.UpdatedAt)
	}
	sameText(t, got, *want)
	sameParts(t, got, *want)
}

func sameText(t *testing.T, got, want deadletter.Letter) {
	t.Helper()
	type plain struct {
		Stage, Topic, Key, EventID, GivenID, TopicKey, Codec, Error, ErrorType, Fingerprint, Stack string
		Ordered, Holds, Follower                                                                   bool
		Origin, Seq                                                                                uint64
		Reason                                                                                     deadletter.Reason
		Attempts, Redrives                                                                         int
	}
	of := func(l deadletter.Letter) plain {
		return plain{
			l.Stage, l.Topic, l.Key, l.EventID, l.GivenID, l.TopicKey, l.Codec, l.Error, l.ErrorType, l.Fingerprint, l.Stack,
			l.Ordered, l.Holds, l.Follower, l.Origin, l.Seq, l.Reason, l.Attempts, l.Redrives,
		}
	}
	if of(got) != of(want) {
		t.Errorf("got  %+v\nwant %+v", of(got), of(want))
	}
}

func sameParts(t *testing.T, got, want deadletter.Letter) {
	t.Helper()
	sameTime := func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Microsecond }
	if !maps.Equal(got.Header, want.Header) || !bytes.Equal(got.Payload, want.Payload) || !bytes.Equal(got.Original, want.Original) {
		t.Errorf("header, payload, original = %q, %q, %q", got.Header, got.Payload, got.Original)
	}
	if !sameTime(got.Time, want.Time) || !slices.Equal(got.Causes, want.Causes) {
		t.Errorf("time, causes = %v, %v", got.Time, got.Causes)
	}
	if !slices.EqualFunc(got.History, want.History, func(a, b deadletter.Attempt) bool {
		return a.Number == b.Number && a.Error == b.Error && sameTime(a.At, b.At)
	}) {
		t.Errorf("history = %v, want %v", got.History, want.History)
	}
	if !slices.EqualFunc(got.Notes, want.Notes, func(a, b deadletter.Note) bool {
		return a.What == b.What && a.Who == b.Who && a.Why == b.Why && sameTime(a.At, b.At)
	}) {
		t.Errorf("notes = %v, want %v", got.Notes, want.Notes)
	}
}

func sharesNothing(t *testing.T, s *suite) {
	store, mine := s.open(t), full()
	id := put(t, store, mine)[0]
	spoil(mine)
	sameParts(t, get(t, store, id), *full())
	yours := get(t, store, id)
	spoil(&yours)
	for l, err := range store.List(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		spoil(&l)
	}
	head, err := store.Head(t.Context(), claim(t, store, sequence("charge", "ann"), "me", time.Minute))
	if err != nil {
		t.Fatalf("Head = %v", err)
	}
	spoil(&head)
	sameParts(t, get(t, store, id), *full())
}

func spoil(l *deadletter.Letter) {
	l.Header["a"] = "spoilt"
	l.Payload[0], l.Original[0] = '!', '!'
	l.Causes[0].Text, l.History[0].Error, l.Notes[0].Who = "spoilt", "spoilt", "spoilt"
}

func bytesAreBytes(t *testing.T, s *suite) {
	store := s.open(t)
	for i, odd := range []string{"a\x00b", "\xff\xfe", "\x00", "'; DROP TABLE letters; --", "\u202e%_\\", "日本\n\t"} {
		l := letter("st"+odd, "k"+odd, odd+name("-", i))
		l.Topic, l.Payload, l.Error, l.ErrorType, l.Stack = odd, []byte(odd), odd, odd, odd
		l.Header = event.Header{"h" + odd: odd}
		l.Causes = []deadletter.Cause{{Type: odd, Text: odd}}
		got := get(t, store, put(t, store, l)[0])
		sameText(t, got, *l)
		sameParts(t, got, *l)
		if !store.MayHold(l.Stage, l.Key) || !divert(t, store, letter(l.Stage, l.Key, odd+"f")) {
			t.Errorf("key %q is not held", l.Key)
		}
		wantEvents(t, store, deadletter.Filter{Stage: l.Stage, Key: &l.Key, ErrorText: odd}, l.EventID, odd+"f")
	}
}

func bigPayload(t *testing.T, s *suite) {
	store, l := s.open(t), letter("charge", "ann", "big")
	l.Payload = bytes.Repeat([]byte{0, 255, 'x', '\n'}, 1<<18)
	if got := get(t, store, put(t, store, l)[0]); !bytes.Equal(got.Payload, l.Payload) {
		t.Errorf("a payload of %d bytes came back with %d", len(l.Payload), len(got.Payload))
	}
}

func putCancelled(t *testing.T, s *suite) {
	store := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Put(ctx, letter("charge", "ann", "1")); err != nil {
		t.Errorf("Put with a cancelled context = %v", err)
	}
	if _, held, err := store.Divert(ctx, letter("charge", "ann", "2")); err != nil || !held {
		t.Errorf("Divert with a cancelled context = %v, %v", held, err)
	}
	wantEvents(t, store, deadletter.Filter{}, "1", "2")
}

func putAgain(t *testing.T, s *suite) {
	store := s.open(t)
	id := put(t, store, letter("charge", "ann", "1"))[0]
	put(t, store, letter("email", "ann", "1"))
	again := letter("charge", "bob", "1")
	again.Error = "another"
	r, err := store.Put(t.Context(), again)
	if err != nil || !r.Existed || r.ID != id {
		t.Errorf("Put again = %+v, %v, want %s, existed", r, err, id)
	}
	r, held, err := store.Divert(t.Context(), letter("charge", "ann", "1"))
	if err != nil || !held || !r.Existed || r.ID != id {
		t.Errorf("Divert of a letter that is there = %+v, %v, %v, want %s, existed", r, held, err, id)
	}
	if l := get(t, store, id); l.Error != "boom" || l.Follower {
		t.Errorf("the letter changed: %+v", l)
	}
	wantEvents(t, store, deadletter.Filter{}, "1", "1")
}

func noEventID(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", ""), letter("charge", "ann", ""))
	if ids[0] == ids[1] {
		t.Errorf("both letters are %s", ids[0])
	}
}

// givesIDs puts letters that have an id of another store, all the same one.
func givesIDs(t *testing.T, s *suite) {
	store := s.open(t)
	mine := put(t, store, letter("charge", "ann", "1"))[0]
	named := func(l *deadletter.Letter) *deadletter.Letter { l.ID = mine; return l }
	ids := append(put(t, store, named(letter("charge", "bob", "2")), named(solo("charge", "3"))), mine)
	r, held, err := store.Divert(t.Context(), named(letter("charge", "ann", "4")))
	if err != nil || !held {
		t.Fatalf("Divert = %v, %v", held, err)
	}
	ids = append(ids, r.ID)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 4 {
		t.Errorf("four letters have the ids %q", ids)
	}
	wantEvents(t, store, deadletter.Filter{}, "1", "2", "3", "4")
	if l := get(t, store, mine); l.EventID != "1" {
		t.Errorf("the first letter is %s now", l.EventID)
	}
	for _, key := range []string{"ann", "bob"} { // each has its own letter first
		c := claim(t, store, sequence("charge", key), "me", time.Hour)
		if l, err := store.Head(t.Context(), c); err != nil || l.Key != key {
			t.Errorf("Head of %s = %s of %s, %v", key, l.EventID, l.Key, err)
		}
	}
}

func diesAgain(t *testing.T, s *suite) {
	store := s.open(t)
	ids := put(t, store, letter("charge", "ann", "1"), letter("charge", "ann", "2"))
	if _, err := store.Discard(t.Context(), ids[:1], deadletter.Note{Who: "me"}); err != nil {
		t.Fatal(err)
	}
	again := letter("charge", "ann", "1")
	again.Error = "another"
	r, err := store.Put(t.Context(), again)
	if err != nil || r.Existed || r.ID != ids[0] {
		t.Errorf("Put of a discarded letter = %+v, %v, want %s, not existed", r, err, ids[0])
	}
	l := get(t, store, ids[0])
	if l.State != deadletter.Active || l.Error != "another" || len(l.Notes) != 2 || l.Notes[0].Who != "me" {
		t.Errorf("the letter is %+v", l)
	}
	wantEvents(t, store, deadletter.Filter{}, "2", "1")
}

func cutTexts(t *testing.T, s *suite) {
	store, l := s.open(t), letter("charge", "ann", "1")
	l.Error = strings.Repeat("é", deadletter.MaxErrorBytes)
	l.Stack = strings.Repeat("x", 2*deadletter.MaxStackBytes)
	l.Causes = make([]deadletter.Cause, 2*deadletter.MaxCauses)
	l.History = make([]deadletter.Attempt, 2*deadletter.MaxHistory)
	for i := range l.History {
		l.History[i].Number = i + 1
	}
	got := get(t, store, put(t, store, l)[0])
	if len(got.Error) > deadletter.MaxErrorBytes || len(got.Stack) > deadletter.MaxStackBytes || len(got.Causes) > deadletter.MaxCauses {
		t.Errorf("error, stack, causes have %d, %d, %d", len(got.Error), len(got.Stack), len(got.Causes))
	}
	n := len(got.History)
	if n > deadletter.MaxHistory || n == 0 || got.History[0].Number != 1 || got.History[n-1].Number != len(l.History) {
		t.Errorf("history = %v, want the first and the last attempts", got.History)
	}
}

func survives(t *testing.T, s *suite) {
	if s.Reopen == nil {
		t.Skip("the store ends with its process")
	}
	store := s.open(t)
	ids := put(t, store, full(), letter("charge", "ann", "o-2"), letter("email", "bob", "o-3"))
	c := claim(t, store, sequence("charge", "ann"), "me", time.Hour)
	if _, err := store.Discard(t.Context(), ids[2:], deadletter.Note{Who: "me"}); err != nil {
		t.Fatal(err)
	}
	store = s.Reopen(t, store)
	sameText(t, get(t, store, ids[0]), *full())
	sameParts(t, get(t, store, ids[0]), *full())
	if !store.MayHold("charge", "ann") {
		t.Error("MayHold = false for a sequence that was held before the restart")
	}
	_, err := store.Claim(t.Context(), sequence("charge", "ann"), "you", time.Hour)
	wantError(t, "Claim by another after the restart", err, deadletter.ErrClaimed)
	if err := store.Resolve(t.Context(), c, ids[0]); err != nil {
		t.Errorf("Resolve after the restart = %v", err)
	}
	if !divert(t, store, letter("charge", "ann", "o-4")) || divert(t, store, letter("email", "bob", "o-5")) {
		t.Error("Divert after the restart: want charge held and email open")
	}
	wantEvents(t, store, deadletter.Filter{}, "o-2", "o-4")
}
