package main

const (
	door   = "stage/door.go"
	runner = "stage/runner.go"
	former = "stage/former.go"
)

var ofStage = []mutant{
	{door, "an ended context may publish", "if ctx.Err() != nil {\n\t\treturn d.refuse(context.Cause(ctx))\n\t}", "_ = 0", pipe, "Fault04", ""},
	{door, "handlers cannot publish in a drain", "(d.sealed || !d.host.Inside(ctx))", "(d.sealed || ctx != nil)", pipe, "TestS1", ""},
	{door, "Reject waits", "if s.set.overflow == Reject {", "if s.set.overflow == Reject && ctx == nil {", pipe, "TestM4", ""},
	{"stage/running.go", "fewer workers leave the bound where it was", "s.engine.AdmitsNow()\n", "", pipe, "TestM1", ""},
	{"stage/label.go", "a stage gets the key of another", "s.fillOwn(c.own(i), &c.meta, payload)", "s.fillOwn(c.own(0*i), &c.meta, payload)", pipe, "TestManyStages", ""},
	{"stage/waitgraph.go", "waiting for oneself is not seen", "if path := g.path(to, from, g.way); path != nil {", "if path := g.path(to, from, g.way); len(path) > 99 {", pipe, "TestO8", ""},
	{runner, "success in a shutdown is lost", "if Interrupted(r.ctx) && !v.isFact() {", "if Interrupted(r.ctx) {", pipe, "Fault41", ""},
	{runner, "an interruption is a failure", "if Interrupted(r.ctx) && !v.isFact() {\n\t\tr.interrupted(d)\n\t\treturn\n\t}", "_ = v.isFact", kit, model, ""},
	{runner, "TryOnce tries for ever", "case TryOnce:\n\t\tr.d.Final = true", "case TryOnce:\n\t\t_ = 0", pipe, "TestS1", ""},
	{runner, "an attempt is not counted", "case KindRetry:\n\t\tm.fail(r.cause, time.Now())", "case KindRetry:", kit, model, ""},
	{runner, "a postponed attempt is counted", "case KindRetry:\n\t\tm.fail(r.cause, time.Now())", "case KindRetry, KindPostpone:\n\t\tm.fail(r.cause, time.Now())", kit, model, ""},
	{runner, "after a release the attempts go on", "m.failed, m.kept = 0, nil", "m.kept = nil", kit, model, ""},
	{runner, "a Goexit passes the middleware by", "r.judge(r.reenter(), d)", "_ = r.reenter", pipe, "Fault12", ""},
	{runner, "next may be called twice", "case r.called:\n\t\treturn errCalledTwice\n\t}", "}", pipe, "Fault22", ""},
	{runner, "a redrive that failed is a letter more", "if r.d.Redrive != nil {\n\t\treturn OutcomeFailed\n\t}\n\treturn o", "return o", kit, model, ""},
	{former, "a failure does not stop the rest of its run", "if !r.seat.Turn(context.WithoutCancel(f.stage.base)) { // those ahead were in this batch: their handler has returned too\n\t\t\treturn untried()\n\t\t}", "_ = r.seat.Turn(context.WithoutCancel(f.stage.base))", pipe, "TestB", ""},
	{former, "a key is in two batches", "(f.forming == nil || behind != &f.forming.sealed)", "behind == nil", pipe, "TestB1", ""},
	{former, "a batch that failed is a batch again", "r.goAlone()\n", "", pipe, "TestB3", ""},
	{former, "what is not handled ends before its turn", "if !r.seat.Turn(f.stage.base) {\n\t\t\t\terr, v", "if r == nil {\n\t\t\t\terr, v", pipe, "TestB", ""},
	{"stage/emit.go", "a failed attempt emits", "err := next(ctx, d)\n\t\t\tif err == nil {\n\t\t\t\tvar sent int", "err := next(ctx, d)\n\t\t\tif true {\n\t\t\t\tvar sent int", kit, model, ""},
	{"stage/chain.go", "a transaction emits before its commit", "if m.Commits {", "if m.Commits && len(m.Name) < 0 {", pipe, "TestI4", ""},
	{"stage/emit.go", "an emission that failed repeats the handler", "d.Keep(unsentOwner{}, &unsent[U]{append([]U(nil), box.out[sent:]...)})", "_ = sent", pipe, "TestO9", ""},
	{"stage/emit.go", "a Map's emission that failed repeats its handler", "r.d.Keep(unsentOwner{}, &unsent[U]{[]U{v}})", "_ = v", pipe, "TestO9", ""},
	{"stage/room.go", "a key's count never falls", "if k.of[key]--; k.of[key] <= 0 {", "if k.of[key] <= 0 {", pipe, "TestM3", ""},
}
