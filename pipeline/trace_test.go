package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestATraceGoesThroughTopics: by a Map's emission, and by a handler's own publish.
func TestATraceGoesThroughTopics(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	trace, retry := middleware.Trace(), middleware.Retry(middleware.Exponential{})
	for name, chain := range map[string][]stage.Middleware{
		"alone":             {trace},
		"recover":           {trace, middleware.Recover()},
		"retry":             {trace, retry},
		"retry and recover": {trace, retry, middleware.Recover()},
	} {
		t.Run(name, func(t *testing.T) { traceGoesThroughTopics(t, parent, chain) })
	}
}

func traceGoesThroughTopics(t *testing.T, parent string, chain []stage.Middleware) {
	synctest.Test(t, func(t *testing.T) {
		mails := event.NewTopic[job]("mails")
		var atParts, atMails event.Header
		p := pipeline.New(pipeline.Config{})
		mail := pipeline.NewPublisher(p, mails)
		p.Use(chain...)
		p.Add(
			stage.Map(jobs, "charge", parts, func(_ context.Context, e event.Event[job]) (job, error) { return e.Payload, nil }),
			stage.Handle(parts, "ship", func(ctx context.Context, e event.Event[job]) error {
				atParts = e.Header
				return mail.Publish(ctx, e.Payload, event.WithHeader("own", "1"))
			}),
			stage.Handle(mails, "mail", func(_ context.Context, e event.Event[job]) error { atMails = e.Header; return nil }),
		)
		run := pipelinetest.Start(t, p)
		pub := pipeline.NewPublisher(p, jobs)
		if err := pub.Publish(t.Context(), job{"a", 1}, event.WithHeader("traceparent", parent)); err != nil {
			t.Fatal(err)
		}
		run.Settle()
		for name, h := range map[string]event.Header{"parts": atParts, "mails": atMails} {
			if got := h["traceparent"]; len(got) != 55 || got[:36] != parent[:36] || got == parent {
				t.Errorf("the event of %s has the trace %q, want a new span of %s", name, got, parent)
			}
		}
		if atMails["own"] != "1" || atMails["traceparent"] == atParts["traceparent"] {
			t.Errorf("headers %v and %v: want the publish's own, and a span of each attempt", atParts, atMails)
		}
	})
}
