package main

const (
	model      = "TestModel$"
	kit        = "./pipelinetest"
	mw         = "./middleware"
	deadLetter = "middleware/deadletter.go"
	live       = "middleware/deadletter_live.go"
	redrive    = "middleware/deadletter_redrive.go"
	idempotent = "middleware/idempotent.go"
	retry      = "middleware/retry.go"
)

var ofMiddleware = []mutant{
	{retry, "a shutdown is a failure", "case stage.Interrupted(ctx):\n\t\treturn err\n\tcase v.Kind == stage.KindRetry:", "case v.Kind == stage.KindRetry:", mw, "R4", ""},
	{retry, "a drain does not end the attempts", "if d.Final || delay == backoff.Stop {", "if delay == backoff.Stop {", mw, "", ""},
	{retry, "a delay may be nothing", "delay = min(max(delay, minDelay), maxDelay)", "delay = min(delay, maxDelay)", mw, "", ""},
	{retry, "If is turned round", "r.retryable == nil || r.retryable(err)", "r.retryable == nil || !r.retryable(err)", mw, "", ""},
	{retry, "a delay that was chosen costs no attempt of the policy", "w = r.waits(d); return w.backoff.NextBackOff()", "w = r.waits(d)\n\t\tif isChosen {\n\t\t\treturn 0\n\t\t}\n\t\treturn w.backoff.NextBackOff()\n\t", mw, "", ""},
	{"middleware/timeout.go", "a shutdown is a timeout", "if time.Now().Before(deadline) || stage.Interrupted(parent) ||", "if time.Now().Before(deadline) ||", mw, "", ""},
	{"middleware/timeout.go", "what was not tried is a timeout", " || stage.VerdictOf(err).Kind == stage.KindPostpone {", " {", mw, "", ""},
	{"middleware/timeout.go", "success after the timeout counts", "return t.err\n}", "return err\n}", mw, "", ""},
	{"middleware/recover.go", "the stack has no end", "r.Stack[:min(len(r.Stack), stage.MaxStackBytes)]", "r.Stack", mw, "Fault11", ""},

	{live, "a parked key is not asked for", "p.store.MayHold(d.Stage, d.Lane)", "p.store == nil", kit, model, ""},
	{live, "an event settles though the store failed", "case err != nil:\n\t\treturn p.retry(ctx, d, u, err)\n\tcase r.Existed && !u.tried:\n\t\treturn stage.Skip(stage.ReasonDuplicate)\n\tdefault:\n\t\tp.doubts.settle(u)\n\t\treturn stage.Stored", "case err != nil && ctx == nil:\n\t\treturn nil\n\tcase r.Existed && !u.tried:\n\t\treturn stage.Skip(stage.ReasonDuplicate)\n\tdefault:\n\t\tp.doubts.settle(u)\n\t\treturn stage.Stored", kit, model, ""},
	{live, "what a shutdown interrupted becomes a letter", "k == stage.KindPermanent) && !stage.Interrupted(ctx)", "k == stage.KindPermanent)", mw, "R4", ""},
	{live, "a letter does not hold its key", "l.Holds = policy == deadletter.Park", "l.Holds = false", kit, model, ""},
	{live, "an event is diverted though nothing holds", "case !held:", "case !held && ctx == nil:", mw, "", ""},
	{live, "what is handled goes behind a letter", " && !d.Handled()", "", "./pipeline", "TestB1_WhatWaits|TestI4_WhatIsCommitted", ""},
	{live, "what may be stored is not remembered", "u.tried = true\n", "", mw, "", ""},
	{live, "a letter that is in doubt is redriven", "p.doubts.add(u)\n", "", mw, "Fault41", ""},
	{live, "a doubt has no end", "default:\n\t\tp.doubts.settle(u)\n\t\treturn stage.Stored(r.ID, u.cause)", "default:\n\t\treturn stage.Stored(r.ID, u.cause)", mw, "Fault41", ""},
	{live, "a letter that is too large is not slimmed", "if !u.slim {", "if u.slim {", mw, "", ""},
	{deadLetter, "events without an order hold their key", "case !d.Ordered:\n\t\treturn deadletter.Continue\n", "", mw, "D3", ""},
	{redrive, "a letter goes though its handler failed", "case k == stage.KindDone || k == stage.KindSkip:", "case k >= stage.KindFailed:", kit, model, ""},
	{redrive, "quarantine comes one late", "d.Redrive.Count >= p.maxRedrives", "d.Redrive.Count > p.maxRedrives", kit, model, ""},
	{redrive, "a lost claim is a failure of the store", "case errors.Is(err, deadletter.ErrClaimLost), errors.Is(err, deadletter.ErrNotFound):", "case errors.Is(err, deadletter.ErrNotFound):", "./pipeline", "TestX5|TestFault64", ""},
	{"middleware/outage.go", "waiting for a store costs attempts", "return stage.Postpone(p.next(), err)", "return stage.RetryAfter(p.next(), err)", mw, "", ""},
	{"middleware/outage.go", "a shutdown reaches into the store", "context.WithoutCancel(ctx), storeLimit", "ctx, storeLimit", "./pipeline", "Fault41", ""},

	{idempotent, "a failure keeps its claim", "if !succeeded {\n\t\t\ti.giveBack(ctx, d, *c)\n\t\t}", "_ = succeeded", mw, "I2", ""},
	{idempotent, "success is not marked", "succeeded = true\n\treturn i.confirm(ctx, d, c, err)", "succeeded = true\n\treturn err", kit, model, ""},
	{idempotent, "a failed mark repeats the handler", "g.confirm, g.succeed = &kept, verdict", "_ = kept", mw, "I1", ""},
	{idempotent, "a duplicate of one that runs is done", "case c.State == idempotency.Busy:\n\t\treturn i.busy(d, c)", "case c.State == idempotency.Busy:\n\t\treturn stage.Skip(stage.ReasonDuplicate)", mw, "I1", ""},
	{idempotent, "waiting for a duplicate costs attempts", "return stage.Postpone(delay, ErrBusy)", "return stage.RetryAfter(delay, ErrBusy)", mw, "", ""},
	{idempotent, "a failing store lets events through", "case i.failOpen:\n\t\ti.warn(ctx, d, \"the store fails", "case true:\n\t\ti.warn(ctx, d, \"the store fails", mw, "Fault31", ""},
	{idempotent, "another payload is a duplicate", "c.Digest != r.Digest:", "c.Digest == r.Digest+1:", mw, "Fault36", ""},
}
