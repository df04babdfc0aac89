// Package stage describes what is done with the events of a topic, and does it.
//
// [Handle], [Map], [Expand] and [To] make descriptions; options say how many workers, how much room,
// which order. A pipeline collects descriptions, checks them all and runs them.
//
//	stage.Map(Orders, "charge", Receipts, charge, stage.Workers(8), stage.Use(middleware.Timeout(2*time.Second)))
//
// Every attempt at an event runs the stage's chain: its middleware, the first outermost, around its
// handler. What the chain returns is a verdict: nil settles the event as done, and an error may ask for
// another attempt ([RetryAfter]), a skip ([Skip]), a place in a store ([Stored]) or a stop ([Hold],
// [Halt]). See [Verdict]. The mechanism, running, parking, holding and settling, is this package's;
// policy, when to retry and what to store, is the middleware's.
//
// # Order
//
// Under [PerKey], events with equal keys are handled one at a time in the order in which they were
// accepted, across retries, while other keys go on. What the handler did for one event happens before
// the handler of the next one of that key, so state per key needs no lock. Under [Serial] all events
// are one key. Under [Unordered] only the attempts of one event never overlap.
package stage
