package stage

import (
	"fmt"

	"github.com/runnel-go/runnel/event"
)

// maxLevels keeps the levels few: each has its share.
const maxLevels = 8

// describe returns the stage's own key of an event, behind its level where the stage has levels.
func (s *running[T]) describe(c *candidate, payload *T) (own string, err error) {
	if s.ownKey != nil {
		own = s.ownKey(*payload)
		if own == "" && !s.set.allowNoKey {
			return "", event.ErrNoKey
		}
		if len(own) > event.MaxTextBytes {
			return "", fmt.Errorf("key of %d bytes: %w", len(own), event.ErrTooLong)
		}
	}
	if s.level != nil {
		level := s.level(event.Event[T]{Meta: c.meta, Payload: *payload})
		own = levelTexts[min(max(level, 0), s.set.levels-1)] + own
	}
	return own, nil
}

// levelTexts are the levels as texts of one byte.
var levelTexts = [maxLevels]string{"\x00", "\x01", "\x02", "\x03", "\x04", "\x05", "\x06", "\x07"}

// levelOf is what the engine asks. A redriven letter, and what could not be decoded, is at the lowest.
func (s *running[T]) levelOf(p **item[T]) int {
	if keys := (*p).keys; keys != nil {
		return int((*keys)[s.index][0])
	}
	return 0
}
