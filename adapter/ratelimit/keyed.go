package ratelimit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// keyed has a limiter for each name that was used lately.
type keyed struct {
	rate Rate

	mu sync.Mutex // guards of
	of map[string]*rate.Limiter
}

// sweep is how many names each new one looks at, to forget those that are as good as new. More than one, so that
// the names become fewer when they can.
const sweep = 3

// limiter is called, and what it returns is asked, under the lock: one that was not asked yet could be forgotten.
func (k *keyed) limiter(name string, now time.Time) *rate.Limiter {
	if l, ok := k.of[name]; ok {
		return l
	}
	k.forget(now)
	l := k.rate.limiter()
	k.of[name] = l
	return l
}

// forget drops some limiters that could begin a full burst again, as a new one could. Go's maps begin to range
// anywhere, so every one is looked at in the end.
func (k *keyed) forget(now time.Time) {
	left := sweep
	for name, l := range k.of {
		if l.TokensAt(now) >= float64(k.rate.Burst) {
			delete(k.of, name)
		}
		if left--; left == 0 {
			return
		}
	}
}
