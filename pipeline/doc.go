// Package pipeline collects stages and middleware, checks them as a whole, and runs them.
//
//	Publisher.Publish ─► accept: identity, key, seq ─► for each stage of the topic:
//	   inlet (bounded: this is the backpressure)
//	     └► lane of its key ─► worker ─► middleware… ─► handler
//	            ▲                           │ verdict
//	            │   done · dropped ─────────┤► settled: counted, source acked, next of the lane
//	            │   retry after d ──────────┤► parked in the lane until due; the worker goes on with other keys
//	            │   dead-lettered ──────────┤► stored first, then settled; followers by policy
//	            └── hold key · halt ────────┘
//
// # Ordering
//
// Publish gives an event its place: if Publish(a) returned before Publish(b) was called, a comes first,
// at every stage of the topic. A stage that is per key handles events with equal keys one at a time in
// that order, across retries, dead letters and redrive; [Pipeline.Plan] says in words what each stage
// promises.
//
// # Delivery
//
// Every accepted event ends, at each stage of its topic, in exactly one [stage.Outcome], and
// [Pipeline.Snapshot] counts them: accepted = done + dead-lettered + diverted + dropped + duplicate +
// failed + returned + resident, always. In memory an accepted event gets an attempt while the process
// lives; across a crash of the process, what was not stored is gone, unless a [event.Source] delivers it
// again.
//
// # Backpressure
//
// A stage holds a bounded number of events. When it is full, a publish waits, or what the stage's
// overflow mode says. A handler whose publish would wait for itself gets [ErrCycle].
//
// # Shutdown
//
// [Pipeline.Run] drains when its context ends or Shutdown is called: sources stop, publishers from
// outside get [ErrClosed], handlers may go on publishing, and Run returns nil when nothing is in flight
// anywhere. When the grace ends first, the handlers' contexts end with [ErrShutdown] and Run returns an
// [UnfinishedError] with every event that did not finish. Shutting down is no failure of an event: it
// counts no attempt and writes no dead letter.
//
// # Testing
//
// A pipeline that does not run keeps what is published; [Pipeline.Drain] handles it on the caller's
// goroutine, step by step. With Config.Inline, Publish handles the event before it returns. And
// everything runs inside a testing/synctest bubble, where an hour of backoff takes no time.
package pipeline
