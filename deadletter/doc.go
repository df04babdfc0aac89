// Package deadletter keeps the events that a stage gave up on, and brings them back.
//
// # Sequences
//
// A dead letter is not alone: under [Park], the default of a stage that keeps an order, the events of
// its key that come after it go to the store behind it, untried, as followers. Letters of one stage
// and key are a [Sequence]. It is held while it has a letter that is active or quarantined; the last
// one that goes opens it, in the same critical section in which the store decides where the next live
// event goes. So what completes is exactly the order in which events were accepted, across dead
// lettering and redrive. A letter of a stage without an order is a sequence of its own.
//
// What happens to followers is a [Policy]: Park stores them, [Continue] runs them past the gap, [Block]
// keeps the key waiting in memory, [HaltStage] stops the stage.
//
// # Words
//
// A group is the letters of one cause, which a [Fingerprint] names. To redrive is to send a letter
// through its own stage again, in its key's lane: deliver, confirm, then remove. To discard is to give a
// letter up, restorable until it is purged, which is final. A letter that was redriven too often is
// quarantined: it holds its sequence, but only a redrive that names it takes it. A claim is a
// drainer's lease on a sequence; what is settled with a claim that was lost is refused.
//
// # The maintenance job
//
// An operator looks at the groups, mends the cause, and drains:
//
//	report, err := deadletter.Drain(ctx, letters, pipeline, deadletter.DrainOptions{
//		Filter: deadletter.Filter{Fingerprint: group.Fingerprint},
//		Rate:   50, // letters a second
//		Who:    "ann", Why: "the card service is back",
//	})
//	fmt.Println(report) // redrove 12 of 12 letters in 240ms: 12 succeeded; 0 remain; finished
//
// [Drain] fixes what it takes when it starts and touches a letter at most once, so a job always ends;
// many may run at once, in one process or several. Retention is a call too:
//
//	n, err := letters.Purge(ctx, deadletter.Filter{Before: time.Now().AddDate(0, 0, -30)})
//
// # Stores
//
// [Memory] keeps letters while the process lives. The rules that another [Store] must obey are in its
// doc, what happens to a letter there is in the methods of [Letter], and deadlettertest.Run checks both.
//
// The package imports the standard library and event only.
package deadletter
