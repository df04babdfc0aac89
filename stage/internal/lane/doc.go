// Package lane is the ordering engine: it takes items from one bounded queue, the inlet, and runs them on a
// number of workers such that items of one key run one at a time, in the order of the inlet, while
// every other key goes on. It knows nothing of events, retries or letters; a Decision tells it what
// to do with an item that was run.
//
// # How it works
//
// There are three ways to go on from the inlet, and pace.go chooses between them by how long the runs take.
//
// The shortest runs are ridden by one worker alone (ride.go): it receives, runs an item whose key is idle by itself, and
// receives again. A ride takes two compare-and-swaps of one word, and neither the lock nor a lane (track.go). A
// watcher steals rides that last: the item becomes an ordinary run in a lane of its key, and another worker takes the
// rider's place (watch.go).
//
// Runs of some microseconds are ridden by several workers together, one a processor. They take turns at the inlet, and
// each looks at what the others ride, so that no key is ridden twice. Lanes are no hindrance: an index tells a rider,
// without the lock, which keys may have one (index.go).
//
// Other items are shared (worker.go). A worker that is free takes the lock, receives an item, opens a
// lane for its key and runs it without the lock; whoever is free next does the same. An item whose key is
// busy is filed into the key's lane. A worker that is done with an item goes on with the next of the same lane, up
// to a small budget, and then puts the lane at the end of the ready queue. Workers take from the ready queue and
// from the inlet in turn, so that neither starves the other. Only when both are empty does one of them lead, which
// then means to wait; the others wait until they are called.
//
// A parked item stays at the head of its lane, and the lane in a heap ordered by due time. One timer, set to the
// earliest, calls a worker: a parked item holds no worker, no goroutine and no timer of its own.
//
// Runs of one key go on together where the first lets the next begin (crew.go), and ready lanes are taken by level where
// items have levels (levels.go).
//
// A lane exists only while it has an item. Everything but the inlet, the words of rides and the counts of the index is
// guarded by one mutex, held for a few instructions and never across a blocking operation, a callback or a run.
//
// # Fairness
//
// A lane that is ready waits for at most a budget of each other lane that is ready, and for as many new items. A
// new item of an idle key waits in the inlet for those before it: when all workers are busy that is at most what
// the inlet holds, of which those whose keys are busy are filed, in passing, while there is room.
package lane
