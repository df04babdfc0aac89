package main

// order checks, from inside a handler, what the stage promised: that the lines of a key come in the
// order of the file. Each key has one. It is unsynchronised on purpose, see perKey.
type order struct {
	last     int // the number of the line that came last
	breaches int
}

// see takes note of a line that is about to be handled. The same line again is a retry, or a dead letter
// on its way back.
func (o *order) see(l Line) {
	if l.Number < o.last {
		o.breaches++
		return
	}
	o.last = l.Number
}
