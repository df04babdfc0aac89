package stage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

type order struct{ Number, Customer string }

var (
	orders  = event.NewTopic("orders", event.KeyBy(func(o order) string { return o.Customer }))
	keyless = event.NewTopic[order]("keyless")
)

func handle(context.Context, event.Event[order]) error { return nil }

func turn(context.Context, event.Event[order]) (order, error) { return order{}, nil }

func pair(context.Context, event.Event[order]) ([]order, error) { return nil, nil }

// through is middleware that does nothing.
func through(next stage.Handler) stage.Handler { return next }

// named is middleware that does nothing.
func named(name string) stage.Middleware { return stage.Middleware{Name: name, Wrap: through} }

func TestCheckAcceptsWhatIsRight(t *testing.T) {
	for _, s := range []*stage.Stage{
		stage.Handle(orders, "all defaults", handle),
		stage.Handle(orders, "nil options", handle, nil),
		stage.Handle(keyless, "keyless", handle),
		stage.Handle(keyless, "serial", handle, stage.WithOrder(stage.Serial)),
		stage.Handle(keyless, "own key", handle, stage.KeyBy(func(o order) string { return o.Number }), stage.AllowNoKey()),
		stage.Handle(orders, "all options", handle, stage.Workers(1), stage.Buffer(1), stage.MaxPerKey(1), stage.WithOverflow(stage.DropNewest),
			stage.OnDrain(stage.Return), stage.Use(named("audit"))),
		stage.Map(orders, "map", keyless, turn), stage.Expand(orders, "expand", keyless, pair), stage.To(orders, "to", make(chan event.Event[order])),
	} {
		if faults := s.Check(nil); len(faults) > 0 {
			t.Errorf("%s: Check = %v, want no fault", s.Name(), faults)
		}
	}
}

// TestCheckNamesTheFieldAndTheMend, for every option that can be wrong.
func TestCheckNamesTheFieldAndTheMend(t *testing.T) {
	with := func(o ...stage.Option) *stage.Stage { return stage.Handle(orders, "charge", handle, o...) }
	bad := event.NewTopic[order]("")
	cases := map[string]struct {
		stage *stage.Stage
		want  []string // each in one and the same fault
	}{
		"no name":                    {stage.Handle(orders, "", handle), []string{"a stage of topic orders", "the name is empty", "give it a name"}},
		"no handler":                 {stage.Handle(orders, "charge", nil), []string{"charge", "the handler is nil", "give it one"}},
		"no handler of Map":          {stage.Map[order, order](orders, "charge", keyless, nil), []string{"charge", "the handler is nil"}},
		"no handler of Expand":       {stage.Expand[order, order](orders, "charge", keyless, nil), []string{"charge", "the handler is nil"}},
		"no channel of To":           {stage.To(orders, "charge", nil), []string{"charge", "the handler is nil"}},
		"no topic":                   {stage.Handle[order](nil, "charge", handle), []string{"charge", "the topic is nil", "event.NewTopic"}},
		"no topic of Map":            {stage.Map[order](nil, "charge", keyless, turn), []string{"charge", "the topic is nil"}},
		"no output":                  {stage.Map[order, order](orders, "charge", nil, turn), []string{"charge", "the topic to publish to is nil", "event.NewTopic"}},
		"a faulty topic":             {stage.Handle(bad, "charge", handle), []string{"the name is empty", "NewTopic"}},
		"a faulty output":            {stage.Map(orders, "charge", bad, turn), []string{"the name is empty", "NewTopic"}},
		"no workers":                 {with(stage.Workers(0)), []string{"charge", "Workers(0)", "from 1 to"}},
		"negative workers":           {with(stage.Workers(-1)), []string{"Workers(-1)", "from 1 to"}},
		"no buffer":                  {with(stage.Buffer(0)), []string{"charge", "Buffer(0)", "from 1 to"}},
		"an unknown order":           {with(stage.WithOrder(9)), []string{"WithOrder(9)", "PerKey, Serial or Unordered"}},
		"an unknown overflow":        {with(stage.WithOverflow(9)), []string{"WithOverflow(9)", "Block, Reject, DropOldest or DropNewest"}},
		"an unknown drain policy":    {with(stage.OnDrain(9)), []string{"OnDrain(9)", "WaitUntilDue, TryOnce, GiveUp or Return"}},
		"a negative MaxPerKey":       {with(stage.MaxPerKey(-1)), []string{"MaxPerKey(-1)", "positive"}},
		"MaxPerKey without keys":     {with(stage.MaxPerKey(5), stage.WithOrder(stage.Unordered)), []string{"MaxPerKey(5)", "unordered", "PerKey"}},
		"MaxPerKey of Serial":        {with(stage.MaxPerKey(5), stage.WithOrder(stage.Serial)), []string{"MaxPerKey(5)", "serial", "PerKey"}},
		"MaxPerKey with DropOldest":  {with(stage.MaxPerKey(5), stage.WithOverflow(stage.DropOldest)), []string{"MaxPerKey", "DropOldest", "another overflow mode"}},
		"PerKey without a key":       {stage.Handle(keyless, "charge", handle, stage.WithOrder(stage.PerKey)), []string{"PerKey", "keyless has no key", "event.KeyBy", "stage.KeyBy"}},
		"a key of another type":      {with(stage.KeyBy(func(int) string { return "" })), []string{"KeyBy", "func(int) string", "give it a func(stage_test.order) string"}},
		"a nil key":                  {with(stage.KeyBy[order](nil)), []string{"charge", "KeyBy"}},
		"middleware without a name":  {with(stage.Use(stage.Middleware{Wrap: through})), []string{"charge", "middleware 1 has no Name", "give it one"}},
		"middleware without a Wrap":  {with(stage.Use(stage.Middleware{Name: "audit"})), []string{"middleware audit has no Wrap", "give it one"}},
		"middleware that is mis-set": {with(stage.Use(stage.Middleware{Name: "audit", Wrap: through, Fault: errors.New("Retry(nil); give it a policy")})), []string{"charge", "Retry(nil); give it a policy"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			faults := c.stage.Check(nil)
			found := slices.ContainsFunc(faults, func(err error) bool {
				return !slices.ContainsFunc(c.want, func(part string) bool { return !strings.Contains(err.Error(), part) })
			})
			if !found {
				t.Errorf("Check = %q, want one that says %q", faults, c.want)
			}
		})
	}
}

// TestCheckReportsAllAtOnce, the pipeline's middleware included.
func TestCheckReportsAllAtOnce(t *testing.T) {
	s := stage.Handle(orders, "", nil, stage.Workers(0), stage.Buffer(0), stage.Use(stage.Middleware{}))
	if faults := s.Check([]stage.Middleware{{Name: "outer"}}); len(faults) != 6 {
		t.Errorf("Check = %d faults %q, want 6", len(faults), faults)
	}
}

// TestCheckAsksTheCodec, when middleware says that it will, with the payload's zero value.
func TestCheckAsksTheCodec(t *testing.T) {
	type load struct{ C chan int }
	needs := stage.Use(stage.Middleware{Name: "deadletter", Wrap: through, NeedsCodec: true})
	topic := event.NewTopic[load]("loads")
	s := stage.Handle(topic, "charge", func(context.Context, event.Event[load]) error { return nil }, needs)
	faults := s.Check(nil)
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), "codec json cannot carry stage_test.load") || !strings.Contains(faults[0].Error(), "event.WithCodec") {
		t.Errorf("Check = %q, want a fault that names the codec, the type and the mend", faults)
	}
	bare := stage.Handle(topic, "charge", func(context.Context, event.Event[load]) error { return nil })
	if faults := bare.Check(nil); len(faults) != 0 {
		t.Errorf("Check without such middleware = %q, want no fault", faults)
	}
	explosive := event.NewTopic("loads", event.WithCodec[load](bomb[load]{}))
	s = stage.Handle(explosive, "charge", func(context.Context, event.Event[load]) error { return nil }, needs)
	if faults := s.Check(nil); len(faults) != 1 || !strings.Contains(faults[0].Error(), "panicked") {
		t.Errorf("Check with a codec that panics = %q, want that as a fault", faults)
	}
}

// bomb is a codec that panics.
type bomb[T any] struct{}

func (bomb[T]) Name() string { return "bomb" }

func (bomb[T]) Encode(T) ([]byte, error) { panic("boom") }

func (bomb[T]) Decode([]byte) (T, error) { panic("boom") }

// TestChainOrder refuses what cannot work and shows the chain and the canonical order.
func TestChainOrder(t *testing.T) {
	retry := stage.Middleware{Name: "retry", Wrap: through, Outside: []string{"recover"}, Inside: []string{"deadletter"}}
	cases := map[string]struct {
		outer, own []stage.Middleware
		want       []string
	}{
		"right":                      {[]stage.Middleware{named("deadletter"), retry}, []stage.Middleware{named("recover")}, nil},
		"alone":                      {nil, []stage.Middleware{retry}, nil},
		"with others in between":     {[]stage.Middleware{named("deadletter"), named("audit"), retry, named("audit2"), named("recover")}, nil, nil},
		"inside of what it encloses": {[]stage.Middleware{named("recover"), retry}, nil, []string{"middleware retry must stand outside of recover", "the chain is recover → retry → handler"}},
		"outside of its encloser":    {[]stage.Middleware{retry}, []stage.Middleware{named("deadletter")}, []string{"middleware retry must stand inside of deadletter", "retry → deadletter → handler"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			faults := stage.Handle(orders, "charge", handle, stage.Use(c.own...)).Check(c.outer)
			if c.want == nil {
				if len(faults) != 0 {
					t.Errorf("Check = %q, want no fault", faults)
				}
				return
			}
			if len(faults) != 1 {
				t.Fatalf("Check = %q, want one fault", faults)
			}
			for _, part := range append(c.want, "stage: charge", "canonical order is "+stage.Canonical, "outside of all that stage.Use adds", "give both to the stage") {
				if !strings.Contains(faults[0].Error(), part) {
					t.Errorf("Check = %q, want it to say %q", faults[0], part)
				}
			}
		})
	}
}

func TestChainWrapsOutermostFirst(t *testing.T) {
	var trail []string
	mark := func(name string) stage.Middleware {
		return stage.Middleware{Name: name, Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				trail = append(trail, name)
				err := next(ctx, d)
				trail = append(trail, "/"+name)
				return err
			}
		}}
	}
	h := stage.Chain(func(context.Context, *stage.Delivery) error { trail = append(trail, "handler"); return nil }, mark("a"), mark("b"), mark("c"))
	if err := h(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(trail, " "), "a b c handler /c /b /a"; got != want {
		t.Errorf("the chain ran %q, want %q", got, want)
	}
}

// TestPlanPlacesTheEmission: the plan says where what a stage emits is published, right inside of what decides about another attempt.
func TestPlanPlacesTheEmission(t *testing.T) {
	cases := map[string]struct{ chain, want []string }{
		"no middleware":            {nil, []string{"emit"}},
		"the canonical chain":      {[]string{"trace", "log", "deadletter", "idempotent", "retry", "ratelimit", "timeout", "recover"}, []string{"trace", "log", "deadletter", "idempotent", "retry", "emit", "ratelimit", "timeout", "recover"}},
		"without retry":            {[]string{"log", "deadletter", "timeout", "recover"}, []string{"log", "deadletter", "emit", "timeout", "recover"}},
		"only what fails attempts": {[]string{"timeout", "recover"}, []string{"emit", "timeout", "recover"}},
		"one of the user's own":    {[]string{"retry", "audit"}, []string{"retry", "emit", "audit"}},
	}
	for name, c := range cases {
		var chain []stage.Middleware
		for _, n := range c.chain {
			chain = append(chain, named(n))
		}
		for kind, s := range map[string]*stage.Stage{"map": stage.Map(orders, "m", keyless, turn), "expand": stage.Expand(orders, "x", keyless, pair)} {
			if p := s.Plan(chain); !slices.Equal(p.Middleware, c.want) || p.Kind != kind || p.Emits != "keyless" {
				t.Errorf("%s: the plan of %s has %v, want %v", name, kind, p.Middleware, c.want)
			}
		}
		if p := stage.Handle(orders, "h", handle).Plan(chain); !slices.Equal(p.Middleware, c.chain) && len(c.chain)+len(p.Middleware) > 0 {
			t.Errorf("%s: the plan of a stage that emits nothing has %v, want %v", name, p.Middleware, c.chain)
		}
	}
}

func TestPlanTellsWhatHolds(t *testing.T) {
	own := stage.KeyBy(func(o order) string { return o.Number })
	cases := []struct {
		stage *stage.Stage
		want  []string
	}{
		{stage.Handle(orders, "charge", handle), []string{"orders → charge", "(handle)", "per key (the topic's)", "1024 waiting, 8 at work; at most 1040 in all; when full: block", "wait until due", "middleware  handler"}},
		{stage.Map(orders, "charge", keyless, turn, own, stage.MaxPerKey(3)), []string{"orders → charge → keyless", "the stage's own", "at most 3 of one key", "emit → handler", "publishes to keyless when the attempt has succeeded"}},
		{stage.Handle(keyless, "log", handle), []string{"unordered: only the attempts of one event never overlap"}},
		{stage.Handle(keyless, "log", handle, stage.WithOrder(stage.Serial), stage.OnDrain(stage.GiveUp), stage.WithOverflow(stage.DropOldest)), []string{"serial: all events one at a time", "1 at work", "drop oldest", "give up"}},
	}
	for _, c := range cases {
		text := c.stage.Plan(nil).String()
		for _, part := range c.want {
			if !strings.Contains(text, part) {
				t.Errorf("the plan reads\n%swant it to say %q", text, part)
			}
		}
	}
}

func TestNamesOfValues(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"per key": stage.PerKey, "stage.Order(0)": stage.Order(0), "block": stage.Block, "stage.Overflow(9)": stage.Overflow(9),
		"wait until due": stage.WaitUntilDue, "stage.DrainPolicy(9)": stage.DrainPolicy(9),
		"done": stage.OutcomeDone, "dead-lettered": stage.OutcomeDeadLettered, "cancelled": stage.OutcomeCancelled, "stage.Outcome(8)": stage.OutcomeCancelled + 1,
	} {
		if got.String() != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
}
