package main

import (
	"fmt"
	"strings"

	"github.com/runnel-go/runnel/event"
)

// payload is the event of every scenario: 100 bytes of fields.
type payload struct {
	Key    string
	ID     string
	Number uint32 // counts the events of one side of a scenario from 0
	KeyNo  uint32
	Body   [60]byte
}

// The topics: without a key, with a key, and with an identity as well.
var (
	plainTopic = event.NewTopic[payload]("plain")
	keyedTopic = event.NewTopic("keyed", event.KeyBy(keyOf))
	knownTopic = event.NewTopic("known", event.KeyBy(keyOf), event.IDBy(func(p payload) string { return p.ID }))
)

func keyOf(p payload) string { return p.Key }

// feed makes events. Their keys come round one after the other. Every text in them was made before and
// lies in the order in which it is used: making it is nobody's cost, and it is in the processor's cache as
// if it had just been made, however many keys there are.
type feed struct {
	keys   []string
	ids    string
	key    uint32
	number uint32
}

const idBytes = 8

// newFeed makes a feed of so many keys. Identities come round after so many events; 0 is none.
func newFeed(keys, ids int) *feed {
	f := &feed{keys: makeKeys(keys)}
	var b strings.Builder
	b.Grow(ids * idBytes)
	for i := range ids {
		fmt.Fprintf(&b, "%0*x", idBytes, i)
	}
	f.ids = b.String()
	return f
}

// makeKeys cuts all keys from one text.
func makeKeys(n int) []string {
	const size = len("customer-0000000")
	var b strings.Builder
	b.Grow(n * size)
	for i := range n {
		fmt.Fprintf(&b, "customer-%07d", i)
	}
	text, keys := b.String(), make([]string, n)
	for i := range keys {
		keys[i] = text[i*size : (i+1)*size]
	}
	return keys
}

// next fills in the next event.
func (f *feed) next(p *payload) {
	if f.key++; int(f.key) >= len(f.keys) {
		f.key = 0
	}
	p.Key, p.KeyNo, p.Number = f.keys[f.key], f.key, f.number
	if f.ids != "" {
		at := int(f.number) * idBytes % len(f.ids)
		p.ID = f.ids[at : at+idBytes]
	}
	f.number++
}
