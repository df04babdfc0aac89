package main

const (
	lanes  = "./stage/internal/lane"
	worker = "stage/internal/lane/worker.go"
	finish = "stage/internal/lane/finish.go"
	lane   = "stage/internal/lane/lane.go"
	index  = "stage/internal/lane/index.go"
	ride   = "stage/internal/lane/ride.go"
	track  = "stage/internal/lane/track.go"
	crew   = "stage/internal/lane/crew.go"
	levels = "stage/internal/lane/levels.go"
)

var ofEngine = []mutant{
	{worker, "a busy key is run beside itself", "case ln != nil:\n\t\te.file(w, ln)\n\t\treturn false\n", "", kit, model, ""},
	{crew, "what comes back to a crew changes places", "for i := range at {", "for i := range 0 * at {", lanes, "Crew", ""},
	{crew, "others join when one has come back", "ln.crew.shut, n.place = true, b.place", "n.place = b.place", lanes, "Crew", ""},
	{crew, "a letter joins a crew", "head.runnable() && !head.redrive", "head.runnable()", lanes, "Crew", ""},
	{crew, "a crew is joined in any order", "!ln.crew.joining && ln.joinable()", "ln.joinable()", lanes, "Crew", ""},
	{crew, "one behind a failure does not hear of it", "if ahead.broken {\n\t\t\treturn false", "if ahead == nil {\n\t\t\treturn false", lanes, "Crew", ""},
	{levels, "a lower level starves", "next.passed < LevelShare", "next.passed < 1<<40", pipe, "TestO5", ""},
	{levels, "no level goes first", "next.len() == 0 || next.passed < LevelShare || l.passed > next.passed", "next.len() == 0", pipe, "TestO5", ""},
	{levels, "what waits in the inlet has no level", "for n := 0; n < sortMost &&", "for n := 0; n < 0 &&", pipe, "TestO5", ""},
	{worker, "a lane is a stack", "ln.queue.pushBack(entry[T]{item: w.item})", "ln.queue.pushFront(entry[T]{item: w.item})", kit, model, ""},
	{worker, "a paused stage starts events", "case e.blocked():\n\t\t\te.rest(w)", "case e.ending:\n\t\t\te.rest(w)", pipe, "TestO10", ""},
	{worker, "a Goexit costs a worker", "delete(e.workers, w)\n\t\te.hire()", "delete(e.workers, w)", lanes, "", ""},
	{worker, "a Goexit settles nothing", "case w.busy:\n\t\te.finish(w, false)", "case w.busy:", kit, model, ""},
	{worker, "a lane never gives way", "w.budget = runBudget\n\t\te.begin(w, ln)", "w.budget = 1 << 40\n\t\te.begin(w, ln)", pipe, "TestO5", ""},
	{worker, "the inlet comes first for ever", "e.inletTurn = !e.inletTurn", "e.inletTurn = true", lanes, "TestO5", ""},
	{finish, "a retry loses its place", "w.lane.queue.pushFront(n)", "w.lane.queue.pushBack(n)", kit, model, ""},
	{finish, "a retry is due at once", "n.due = time.Now().Add(d.Delay)", "n.due = time.Now()", kit, model, ""},
	{finish, "a held event is not held", "n.held = true\n", "", kit, model, ""},
	{finish, "room never comes back", "if !w.redrive {\n\t\te.resident--\n\t}", "_ = w.redrive", lanes, "", ""},
	{finish, "an abandoned event settles", "if w.abandoned {\n\t\te.release(w)\n\t\treturn false\n\t}", "_ = w.abandoned", kit, model, ""},
	{finish, "a redrive is counted as an event", "if w.redrive {\n\t\te.redriven--\n\t\te.redrive[d.Outcome]++\n\t} else {", "if w.redrive {\n\t\te.redriven--\n\t}\n\t{", kit, model, ""},
	{finish, "a drain is never at rest", "e.atRest = true", "e.atRest = false", pipe, "TestS1", ""},
	{lane, "an empty lane stays", "if ln.queue.len() == 0 {\n\t\te.drop(ln)\n\t\treturn\n\t}", "if ln.queue.len() == 0 {\n\t\treturn\n\t}", kit, model, ""},
	{lane, "the last due comes first", ".due.Before(h[j].queue.at(0).due)", ".due.After(h[j].queue.at(0).due)", pipe, "TestR2", ""},
	{index, "a lane that is gone is found", "\t\tp.here = nil\n", "", lanes, "TestIndex", ""},
	{index, "a lane that found its place taken and is gone is found", "delete(x.more, ln.key)", "delete(x.more, \"\")", lanes, "TestIndex", ""},
	{index, "a lane that finds its place taken is lost", "\t} else {\n\t\tx.more[ln.key] = ln", "\t} else if len(ln.key) > 99 {\n\t\tx.more[ln.key] = ln", lanes, "", ""},
	{ride, "lanes that are gone are remembered", "e.forgetLanes(tr)\n\t\te.unlock()", "e.unlock()", lanes, "", ""},
	{"stage/internal/lane/engine.go", "only the inlet's room counts", "q.upTo = min(e.taken()+q.size, bound-e.tallied.Load())", "q.upTo = e.taken() + q.size + 0*bound", pipe, "TestM1", ""},
	{ride, "who rides does not ask the index", "v&lanesOpen != 0 && e.lanes.mayHave(hash) || ", "", lanes, "", ""},
	{ride, "riders do not look at one another", " || e.riddenBy(hash, tr) != nil", "", lanes, "", ""},
	{ride, "who boards does not look at busy keys", "if ln := e.lanes.find(hash, key); ln != nil {", "if ln := e.lanes.find(hash, key); ln != nil && len(key) > 99 {", lanes, "", ""},
	{ride, "who boards does not look at other riders", "if other := e.riddenBy(hash, tr); other != nil {", "if other := e.riddenBy(hash, tr); other != nil && len(key) > 99 {", lanes, "", ""},
	{ride, "who leaves the inlet wakes nobody", "if e.Queued() > 0 && e.inlet.rouse() {", "if e.Queued() < 0 && e.inlet.rouse() {", lanes, "", ""},
	{ride, "riders take no turns", "turns := !alone || e.inlet.rivals", "turns := e.inlet.rivals", lanes, "", ""},
	{"stage/internal/lane/inlet.go", "what may not be ridden is not put back", "q.head--\n", "", lanes, "", ""},
	{track, "riders begin beside who needs a picture", "e.remark(attention)\n\tfor i := range e.tracks {", "for i := range e.tracks {", lanes, "", ""},
	{ride, "a failure settles as a success", "d.Action != Settle || d.Outcome != 0 || d.Notify", "d.Outcome != 0 || d.Notify", kit, model, ""},
	{track, "what was taken from a rider is counted twice", "e.live[0]--\n", "", lanes, "", ""},
	{index, "riders are told of lanes that are gone", "\tp.lanes.Add(^uint32(0))\n", "", lanes, "", ""},
	{"stage/internal/lane/abandon.go", "what is in the channel is forgotten", "for item := *new(T); e.inlet.receive(&item); {", "for item := *new(T); false; {", kit, model, ""},
}
