package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// outages watches the store of the letters. While it refuses to write, on a full disk for one, the lines whose
// letters it refused wait in their places and are tried again, by the pipeline; here it is counted, and said
// once when it begins and once when all that waited is stored, so that an operator knows what the program waits
// for.
type outages struct {
	deadletter.Store
	log *log.Logger

	mu      sync.Mutex // guards all below
	waiting map[string]bool
	since   time.Time // of the outage that lasts
	sum     outageSummary
}

// outageSummary is what -json says of the writes that the store refused.
type outageSummary struct {
	Refused int     `json:"refused"` // writes, each of which was tried again
	Waited  int     `json:"waited"`  // letters
	Unkept  int     `json:"unkept"`  // letters that still waited when the program ended: their lines were handed back
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error"` // the last
}

// watch returns a store that tells stderr of its outages.
func watch(letters deadletter.Store, stderr io.Writer) *outages {
	prefix := "retail: "
	if isTerminal(stderr) {
		prefix = wipe + prefix // a bar may stand there
	}
	return &outages{Store: letters, log: log.New(stderr, prefix, 0), waiting: map[string]bool{}}
}

// Put implements deadletter.Keeper.
func (o *outages) Put(ctx context.Context, l *deadletter.Letter) (deadletter.Receipt, error) {
	r, err := o.Store.Put(ctx, l)
	o.note(l.Stage+" "+l.EventID, err)
	return r, err
}

// Divert implements deadletter.Keeper.
func (o *outages) Divert(ctx context.Context, l *deadletter.Letter) (deadletter.Receipt, bool, error) {
	r, held, err := o.Store.Divert(ctx, l)
	o.note(l.Stage+" "+l.EventID, err)
	return r, held, err
}

// Resolve implements deadletter.Keeper.
func (o *outages) Resolve(ctx context.Context, c deadletter.Claim, id string) error {
	err := o.Store.Resolve(ctx, c, id)
	o.note(id, err)
	return err
}

// Fail implements deadletter.Keeper.
func (o *outages) Fail(ctx context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	err := o.Store.Fail(ctx, c, id, f)
	o.note(id, err)
	return err
}

// answers are errors of a store that works.
var answers = []error{deadletter.ErrNotFound, deadletter.ErrClaimed, deadletter.ErrClaimLost, deadletter.ErrTooLarge}

// note takes down how a write ended.
func (o *outages) note(letter string, err error) {
	if slices.ContainsFunc(answers, func(a error) bool { return errors.Is(err, a) }) {
		err = nil
	}
	if text := o.count(letter, err); text != "" {
		o.log.Print(text)
	}
}

// count returns what is to be said: when the first letter waits, and when none does any more.
func (o *outages) count(letter string, err error) (news string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
		if len(o.waiting) == 0 {
			o.since = time.Now()
			news = fmt.Sprintf("letters wait, and their keys with them: %v", err)
		}
		if !o.waiting[letter] {
			o.waiting[letter] = true
			o.sum.Waited++
		}
		o.sum.Refused++
		o.sum.Error = err.Error()
	case o.waiting[letter]:
		delete(o.waiting, letter)
		if len(o.waiting) == 0 {
			o.sum.Seconds += time.Since(o.since).Seconds()
			news = fmt.Sprintf("all letters that waited are stored, after %.1f s", time.Since(o.since).Seconds())
		}
	}
	return news
}

// wait is how many letters wait for the store.
func (o *outages) wait() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting)
}

// summary is nil when the store never failed.
func (o *outages) summary() *outageSummary {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sum.Refused == 0 {
		return nil
	}
	s := o.sum
	if s.Unkept = len(o.waiting); s.Unkept > 0 {
		s.Seconds += time.Since(o.since).Seconds()
	}
	return &s
}

func (s *outageSummary) text() string {
	end := "all were stored in the end"
	if s.Unkept > 0 {
		end = fmt.Sprintf("%s of them were not stored, and their lines were handed back", thousands(s.Unkept))
	}
	return fmt.Sprintf("  for %.1f s it refused %s writes, and %s letters waited for it; %s\n  %s\n",
		s.Seconds, thousands(s.Refused), thousands(s.Waited), end, s.Error)
}
