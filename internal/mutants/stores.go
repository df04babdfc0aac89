package main

const (
	letters = "./deadletter/..."
	ids     = "./idempotency/..."
	memory  = "deadletter/memory.go"
	claims  = "deadletter/memory_claim.go"
	walk    = "deadletter/drain_sequence.go"
	shard   = "idempotency/shard.go"
)

var ofStores = []mutant{
	{memory, "a sequence opens with one letter left", "if s.holding--; s.holding == 0 {", "if s.holding--; s.holding <= 1 {", letters, "", ""},
	{memory, "a letter is diverted to an open sequence", "if s == nil || s.holding == 0 {", "if s == nil {", letters, "", ""},
	{memory, "a letter is stored twice", "if old != nil && (live(old.l) || !live(l)) {", "if old != nil && old.l == l {", letters, "", ""},
	{memory, "a key has no limit", "case over(per, m.limits.MaxPerSequence):", "case per < 0:", letters, "", ""},
	{memory, "all letters have no limit", "case over(all, m.limits.MaxLetters):", "case all < 0:", letters, "", ""},
	{memory, "what was removed is still known", "delete(m.events, eventName{e.l.Stage, e.l.EventID})\n", "", letters, "", ""},
	{"deadletter/memory_index.go", "the last letter is the head", "return q[i].n < q[j].n", "return q[i].n > q[j].n", kit, model, ""},
	{claims, "two have a claim", "held.owner != owner && now.Before(held.until)", "held.owner == owner && now.Before(held.until)", letters, "", ""},
	{claims, "a lost claim is good", "return ok && l.token == claim.Token", "return ok && l.token > 0", letters, "", ""},
	{claims, "renewing does nothing", "l.until = time.Now().Add(d)\n", "", letters, "", ""},
	{walk, "a drain goes on behind a failure", "w.pass(blocked, len(w.left), errBehindFailed)\n\t}\n\treturn false", "return true\n\t}\n\treturn false", letters, "", "the letter that failed stays at the head and is selected no more, which blocks what stands behind it as well"},
	{walk, "success is believed", "if w.look(ctx); w.headErr == nil && w.head.ID == l.ID {", "if w.look(ctx); w.headErr == nil && w.head.ID == \"\" {", letters, "", ""},
	{walk, "what was interrupted has failed", "return errors.Is(err, ErrInterrupted) ||", "return", letters, "", ""},
	{walk, "a claim is not given back", "defer d.release(ctx, c)\n", "", letters, "", ""},
	{"deadletter/drain_options.go", "quarantine is no obstacle", "allowed := []State{Active}", "allowed := []State{Active, Quarantined}", letters, "", ""},
	{"deadletter/change.go", "a failed redrive is not counted", "l.Redrives++\n", "", kit, model, ""},

	{shard, "what is done may be released", "if !ok || s.slots.at(i).done {\n\t\treturn ErrLost\n\t}\n\ts.drop(i)", "if !ok {\n\t\treturn ErrLost\n\t}\n\ts.drop(i)", ids, "", ""},
	{shard, "an old claim is good", "&& s.slots.at(i).token == token", "&& s.slots.at(i).token != 0", ids, "", ""},
	{shard, "a key that is done is busy", "c.State, c.Digest = Done, s.mark(i).digest", "c.State, c.Digest = Busy, s.mark(i).digest", ids, "", ""},
	{shard, "a lease has no end", "case e.until <= now:", "case e.until <= now && e.done:", ids, "", ""},
	{shard, "forgetting early is not counted", "s.evicted++\n", "", ids, "", ""},
	{shard, "a claim is forgotten with its lease", "s.slots.at(i).until+retention <= now", "s.slots.at(i).until <= now", ids, "", ""},
}
