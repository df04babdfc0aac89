package ratelimit

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

func TestOnlyNamesThatWereUsedLatelyAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keyed{rate: Rate{Events: 1, Per: time.Second, Burst: 1}, of: map[string]*rate.Limiter{}}
		most := 0
		for i := range 10_000 {
			k.limiter(fmt.Sprint(i), time.Now()).Allow()
			most = max(most, len(k.of))
			time.Sleep(10 * time.Millisecond) // 100 names are used in a second
		}
		if most > 400 {
			t.Errorf("%d names were kept, of 100 that were used within a second", most)
		}
		busy := k.limiter("busy", time.Now())
		busy.Allow()
		for i := range 1000 {
			k.limiter(fmt.Sprint("other", i), time.Now()).Allow()
		}
		if k.limiter("busy", time.Now()) != busy {
			t.Error("a name whose rate is used up was forgotten")
		}
	})
}
