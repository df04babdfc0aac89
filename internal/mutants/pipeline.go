package main

const (
	pipe = "./pipeline"
	run  = "pipeline/run.go"
)

var ofPipeline = []mutant{
	{run, "the intake stays open in a drain", "for _, in := range a.intakes {\n\t\tin.Close()\n\t}\n\tfor _, r := range a.runtimes {\n\t\tr.Drain()", "for _, r := range a.runtimes {\n\t\tr.Drain()", pipe, "TestS1|TestL2", ""},
	{run, "a drain does not begin", "for _, r := range a.runtimes {\n\t\tr.Drain()\n\t}", "_ = 0", pipe, "TestS1", ""},
	{run, "rest is believed at the first sight", "if !r.AtRest() {\n\t\t\treturn false\n\t\t}", "if !r.AtRest() {\n\t\t\tcontinue\n\t\t}", kit, model, ""},
	{run, "a forced shutdown interrupts nobody", "if closed(p.forced) {\n\t\tp.interrupt(a)\n\t}", "_ = 0", pipe, "TestS3", ""},
	{run, "what is left is not handed back", "left.Events = append(left.Events, r.Abandon(stage.ErrShutdown)...)", "_ = r", kit, model, ""},
	{run, "the grace has no end", "case <-grace:\n\t\tp.beginForce()", "case <-grace:\n\t\tgrace = nil", pipe, "TestS3", ""},
	{run, "a handler waits for its own shutdown", "if p.host.Inside(ctx) {", "if p.host == nil {", pipe, "TestS4", ""},
	{"pipeline/redrive.go", "an interrupted redrive has failed", "case errors.Is(err, stage.ErrShutdown):", "case errors.Is(err, stage.ErrFull):", pipe, "TestX8", ""},
	{"pipeline/redrive.go", "a letter loses its place", "Seq: l.Seq, ", "", kit, model, ""},
	{"pipeline/step.go", "a limit is no limit", "for limit <= 0 || n < limit {", "for limit <= 0 || n <= limit {", pipe, "TestT1", ""},
	{"pipeline/stall.go", "an idle stage stands still", "|| n.Running < n.Workers || n.Running == 0", "", pipe, "Fault26", ""},
	{"pipeline/stall.go", "a stage that moves stands still", "ended != m.ended || ", "", pipe, "Fault26", ""},
	{"pipeline/assembly.go", "a cycle is not seen", "if i := slices.Index(path, s.Name()); i >= 0 {\n\t\t\treturn append(slices.Clone(path[i:]), s.Name())", "if i := slices.Index(path, s.Name()); i >= 0 {\n\t\t\treturn nil", pipe, "TestO8", ""},
	{"event/topic.go", "an empty key is no fault", "case m.Key == \"\" && t.key != nil && !t.allowNoKey:", "case m.Key == \"\" && t.key == nil && !t.allowNoKey && t.id != nil && t.name == \"\":", "./event", "", ""},
	{"event/topic.go", "a payload at the limit is too large", "n > t.maxSize", "n >= t.maxSize", "./event", "Fault07", ""},
}
