// Package runnel is the landing page of an in-process event pipeline: events flow through typed
// channels into stages, one or more for each topic; every handler is wrapped by composable middleware;
// and the order that a stage keeps is written down, holds across retries, dead letters and redrive,
// and is proven by tests. There is no code here. The packages, in the order in which a program meets
// them:
//
//   - [github.com/runnel-go/runnel/event]: what flows and where it flows to. Event, Topic, Publisher,
//     Source.
//   - [github.com/runnel-go/runnel/stage]: who handles it. Handle, Map, Expand, Middleware, and the
//     verdicts that a handler or a middleware returns.
//   - [github.com/runnel-go/runnel/middleware]: what wraps a handler. Recover, Retry, Idempotent,
//     DeadLetter, Timeout and others.
//   - [github.com/runnel-go/runnel/pipeline]: what runs it all. New, Use, Add, Run, Plan, Snapshot.
//   - [github.com/runnel-go/runnel/deadletter] and [github.com/runnel-go/runnel/idempotency]: the stores
//     behind two of the middlewares, each with a memory store and a conformance suite for others.
//   - [github.com/runnel-go/runnel/pipelinetest]: the same pipeline step by step, in tests.
//
// What is promised is numbered in docs/GUARANTEES.md, and each promise names its tests. How it works
// is in docs/DESIGN.md. A whole program that needs nothing but Go is in examples/retail.
package runnel
