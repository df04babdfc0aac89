// Package pipelinetest helps to test what is built on pipelines: it runs one for the length of a test,
// records what happens to its events and checks the record.
//
//	func TestOrders(t *testing.T) {
//		pipelinetest.Bubble(t, func(t *testing.T) {
//			rec := pipelinetest.NewRecorder()
//			p := pipeline.New(pipeline.Config{Observer: rec.Observer()})
//			p.Add(...)
//			run := pipelinetest.Start(t, p)
//			publish(...)
//			run.Settle()
//			pipelinetest.ExpectOrder(t, rec, "charge", "ann", "1", "2", "3")
//		})
//	}
//
// There are three ways to run a pipeline in a test:
//
//   - for real, with [Start], inside of a [Bubble], where time passes only while everything waits: an
//     hour of backoff takes none, and nothing sleeps;
//   - step by step, with [Drain]: no goroutine runs but the test's own;
//   - inline, with pipeline.Config.Inline: Publish handles the event and returns the handlers' errors.
//
// Each of them checks that no event was lost: accepted events are settled or still there, each once.
// What happened in which order is proven from a [History], which [Recorder] writes and
// [History.Check] reads, knowing nothing of how the pipeline works. What a recorder's Middleware and
// its Letters add, about handlers and dead letters, is checked too, and [History.CheckStage] checks what a
// stage promises by the way it was put together.
//
// [Faults] makes handlers go wrong by a seed, a [Feed] gives a receipt for each event, and [Stage] checks what
// every handler must do, whatever it does otherwise.
package pipelinetest
