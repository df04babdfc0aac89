// Package conformance holds no code: its tests run suites that others wrote for what they build against
// runnel, through thin adapters.
//
//   - Watermill's pubsub/tests: a topic's subscriber is a pipeline with one Serial stage. It passes the set for a
//     Pub/Sub with guaranteed order, exactly once, in one process, without consumer groups. Watermill's own
//     GoChannel declares no order; asked for it, v1.5.1 fails TestPublishSubscribeInOrder and TestNoAck.
//   - Go CDK's pubsub/drivertest: a topic is a topic of a pipeline, each of its subscriptions a stage. Acknowledging a
//     message is its handler's success and refusing it a failure, so what comes again is the next attempt; metadata
//     travel as the event's headers. It passes all of RunConformanceTests, with batches of any size and with
//     several subscriptions. The suite asks for no order, so the stages are Unordered. Of TestAs only the part
//     that every driver gets applies: no types of a service lie behind a pipeline.
//   - porcupine: what concurrent callers of the Memory stores saw, of claims that are asked for, renewed, confirmed,
//     released, resolved and lost, is linearizable.
package conformance
