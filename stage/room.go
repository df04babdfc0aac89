package stage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// room is where publishers wait for a full inlet: a token passes from the stage to one of them, and from
// each that got in to the next.
//
// To wake a publisher for each event that leaves a full stage costs more than many events do. So where the buffer
// is large, it is woken when a part of it is free, or after roomLate, whichever comes first.
type room struct {
	waiters atomic.Int32
	token   chan struct{}
	late    atomic.Bool // the timer is set
	timer   *time.Timer // made by the first publisher that waits
	made    sync.Once
}

const (
	roomPart = 32 // this part of the buffer
	roomLate = time.Millisecond
)

// signal wakes a publisher that waits; it reports whether it did.
func (r *room) signal() bool {
	if r.waiters.Load() == 0 {
		return false
	}
	select {
	case r.token <- struct{}{}:
		return true
	default:
		return false
	}
}

// enter makes the caller one of those who wait.
func (r *room) enter() {
	r.made.Do(func() {
		r.timer = time.AfterFunc(time.Hour, func() {
			r.late.Store(false)
			r.signal()
		})
		r.timer.Stop()
	})
	r.waiters.Add(1)
}

// took is called when there is more room in the stage than before. It reports whether it has woken a publisher.
func (s *running[T]) took() (woken bool) {
	r := &s.room
	if r.waiters.Load() == 0 {
		return false
	}
	size := s.engine.Slots()
	if free := size - s.engine.Queued(); free == size || free >= size/roomPart {
		return r.signal()
	}
	if r.late.CompareAndSwap(false, true) {
		r.timer.Reset(roomLate)
	}
	return false
}

// keyCounts counts the events of each key in a stage with MaxPerKey.
type keyCounts struct {
	mu    sync.Mutex
	of    map[string]int
	freed chan struct{} // closed and renewed when a key's count falls while somebody waits
	wait  int
}

func (k *keyCounts) count(key string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of[key]
}

func (k *keyCounts) add(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[string]int{}
	}
	k.of[key]++
}

func (k *keyCounts) remove(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of[key]--; k.of[key] <= 0 {
		delete(k.of, key)
	}
	if k.wait > 0 {
		k.wait = 0
		close(k.freed)
		k.freed = make(chan struct{})
	}
}

// full returns a channel that closes when any key's count falls, if key has reached its limit.
func (k *keyCounts) full(key string, limit int) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of[key] < limit {
		return nil
	}
	k.wait++
	return k.freed
}

// admits reports whether the stage can take the item now. It is called under the door's lock.
func (s *running[T]) admits(c *candidate) bool {
	return s.engine.Admits() && (s.set.maxPerKey == 0 || s.admitsKey(c))
}

// admitsKey reports whether the stage has fewer events of the item's key than it may.
func (s *running[T]) admitsKey(c *candidate) bool {
	key := s.keyIn(c)
	return key == "" || s.keys.count(key) < s.set.maxPerKey
}

// awaitRoom waits until the stage may admit the item; the caller looks again.
func (s *running[T]) awaitRoom(ctx context.Context, c *candidate, stop <-chan struct{}) error {
	s.room.enter()
	defer s.room.waiters.Add(-1)
	token := s.room.token
	var freed <-chan struct{}
	if key := s.keyIn(c); s.set.maxPerKey > 0 && key != "" {
		if freed = s.keys.full(key, s.set.maxPerKey); freed != nil {
			token = nil
			s.door.passOn() // it may have been woken by room that is not for its key
		}
	}
	if freed == nil {
		s.door.mu.Lock()
		has := s.admits(c)
		s.door.mu.Unlock()
		if has {
			return nil
		}
	}
	s.host.Quiet() // a drain looks whether there ever will be
	select {
	case <-token:
		return nil
	case <-freed:
		return nil
	case <-stop:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
