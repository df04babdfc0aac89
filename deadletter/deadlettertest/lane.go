package deadlettertest

import (
	"context"
	"errors"
	"hash/fnv"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// lane plays a stage's lane of one key: one event at a time, live or redriven, each settled before the
// next. The lock stands for the lane's turn.
type lane struct {
	turn   sync.Mutex
	failed map[string]int
	done   []string
}

var errBoom = errors.New("boom")

// attempt fails a third of the events once or twice, always the same ones.
func (l *lane) attempt(id string) error {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	if l.failed[id] < int(h.Sum32()/7%6)-3 {
		l.failed[id]++
		return errBoom
	}
	l.done = append(l.done, id)
	return nil
}

func (l *lane) live(t *testing.T, s deadletter.Store, id string) {
	t.Helper()
	l.turn.Lock()
	defer l.turn.Unlock()
	if s.MayHold("charge", "ann") && divert(t, s, letter("charge", "ann", id)) {
		return
	}
	if l.attempt(id) != nil {
		put(t, s, letter("charge", "ann", id))
	}
}

// catchUp waits until n events are done, but no longer than a broken store deserves.
func (l *lane) catchUp(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); runtime.Gosched() {
		l.turn.Lock()
		done := len(l.done)
		l.turn.Unlock()
		if done >= n {
			return
		}
	}
	t.Fatalf("the drains did not bring back the first %d events", n)
}

// redrive takes the turn; locked gives it back once the letter is settled.
func (l *lane) redrive(_ context.Context, letter deadletter.Letter) error {
	l.turn.Lock()
	return l.attempt(letter.EventID)
}

// locked is a store whose settling ends the lane's turn.
type locked struct {
	deadletter.Keeper
	lane *lane
}

func (k locked) Resolve(ctx context.Context, c deadletter.Claim, id string) error {
	defer k.lane.turn.Unlock()
	return k.Keeper.Resolve(ctx, c, id)
}

func (k locked) Fail(ctx context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	defer k.lane.turn.Unlock()
	return k.Keeper.Fail(ctx, c, id, f)
}
