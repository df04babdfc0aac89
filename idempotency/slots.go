package idempotency

import "time"

// slot is a key. It has the size of a cache line: a store of many keys costs what it costs to fetch one.
type slot struct {
	key        Key
	token      uint64
	until      time.Duration // since the Memory was made: end of the lease, or of the retention
	tag        uint32        // see the function; the low half of the hash chose the shard
	next, prev uint32
	done       bool
}

// slots is a growing list. It grows by pieces that stay where they are: nobody waits until many keys are copied, and
// the collector has no copies to look at.
type slots struct {
	pieces []*[piece]slot
	made   uint32
}

const (
	pieceBits = 7
	piece     = 1 << pieceBits
)

func (l *slots) at(i uint32) *slot { return &l.pieces[i>>pieceBits][i&(piece-1)] }

// add makes another slot, which is zero, and returns its number.
func (l *slots) add() uint32 {
	i := l.made
	if int(i) == l.room() {
		l.pieces = append(l.pieces, new([piece]slot))
	}
	l.made++
	return i
}

// room is how many slots have their memory.
func (l *slots) room() int { return piece * len(l.pieces) }
