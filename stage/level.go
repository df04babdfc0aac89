package stage

// maxLevels keeps the levels few: each has its share.
const maxLevels = 8

// levelOf is what the engine asks. A redriven letter, and what could not be decoded, is at the lowest.
func (s *running[T]) levelOf(p **item[T]) int { return int((*p).own.level) }
