package stage

import "time"

// clock tells publishers the time. To read the processor's clock costs about as much as to send an event through
// a channel, so while events come fast it is read once for many of them: by a timer, every clockEvery, and by
// each clockMost-th event in case the timer is late. So the time of an event may be behind by about a
// millisecond when more than some ten thousand events a second come in, and is exact otherwise. A
// clock is guarded by the lock of its door.
type clock struct {
	now    time.Time
	uses   int  // since it was read
	coarse bool // the timer is set, and now is good enough
	timer  *time.Timer
}

const (
	clockEvery = time.Millisecond
	clockMost  = 4096
	// An event that comes sooner after the one before makes the clock coarse, and it stays so while so
	// many come in clockEvery.
	clockClose = 20 * time.Microsecond
	clockBusy  = 32
)

// read returns the time. Tick is called by the timer, and must call tick.
func (c *clock) read(tick func()) time.Time {
	if c.uses++; c.coarse && c.uses < clockMost {
		return c.now
	}
	return c.look(tick)
}

// look is read where the time that is known is not good enough.
func (c *clock) look(tick func()) time.Time {
	before := c.now
	c.now = time.Now()
	if c.coarse {
		c.uses = clockBusy // since the timer looked
		return c.now
	}
	c.uses = 0
	if c.now.Sub(before) < clockClose {
		c.coarse = true
		if c.timer == nil {
			c.timer = time.AfterFunc(clockEvery, tick)
		} else {
			c.timer.Reset(clockEvery)
		}
	}
	return c.now
}

// tick reads the clock anew, as long as it is asked often.
func (c *clock) tick() {
	if c.coarse = c.coarse && c.uses >= clockBusy; c.coarse {
		c.now, c.uses = time.Now(), 0
		c.timer.Reset(clockEvery)
	}
}

// stop stops the timer for good; the time is exact from then on.
func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.coarse = false
}
