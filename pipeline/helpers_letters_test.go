package pipeline_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// parcel is the payload of the tests about letters: the n-th of its key.
type parcel struct {
	Key string
	N   int
}

var parcels = event.NewTopic("parcels", event.KeyBy(func(p parcel) string { return p.Key }))

var errBroken = errors.New("the handler is broken")

// call is one call of a handler. Its begin and end are read from the clock of the journal that has it.
type call struct {
	stage, key string
	n, attempt int
	ordered    bool // the stage keeps an order for it
	redrive    bool
	meta       event.Meta
	begin, end int // end is 0 while it runs
	at         time.Time
	how        string // "+" done, "-" failed, "!" crashed; "…" while it runs
}

// journal records the calls of handlers, to be judged afterwards.
type journal struct {
	mu    sync.Mutex
	clock int
	calls []*call
	byKey map[string][]*call
}

func (j *journal) begin(c *call) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.clock++
	c.begin, c.at, c.how = j.clock, time.Now(), "…"
	j.calls = append(j.calls, c)
	if j.byKey == nil {
		j.byKey = map[string][]*call{}
	}
	j.byKey[c.key] = append(j.byKey[c.key], c)
}

func (j *journal) end(c *call, how string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.clock++
	c.end, c.how = j.clock, how
}

// of returns the calls for a key at a stage, in the order in which they began; all stages when it is empty.
func (j *journal) of(stage, key string) []call {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []call
	for _, c := range j.byKey[key] {
		if stage == "" || c.stage == stage {
			all = append(all, *c)
		}
	}
	return all
}

// trace puts the calls for a key into words: "1- 2+ 1+r" is 1 failing, 2 done, 1 redriven and done.
func (j *journal) trace(key string) string { return j.traceAt("", key) }

func (j *journal) traceAt(stage, key string) string {
	var words []string
	for _, c := range j.of(stage, key) {
		w := fmt.Sprint(c.n, c.how)
		if c.redrive {
			w += "r"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// done lists what was completed for a key at a stage, in the order in which it was.
func (j *journal) done(stage, key string) []int {
	var list []int
	calls := j.of(stage, key)
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.end, b.end) })
	for _, c := range calls {
		if c.how == "+" {
			list = append(list, c.n)
		}
	}
	return list
}

// overlaps returns the first two calls of one stage and key that were executing at once, where none may.
func (j *journal) overlaps() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := map[[2]string]*call{}
	for _, c := range j.calls { // they are in the order in which they began
		if !c.ordered {
			continue
		}
		lane := [2]string{c.stage, c.key}
		if p := last[lane]; p != nil && (p.end == 0 || p.end > c.begin) {
			return fmt.Errorf("stage %s, key %s: %d began while %d was running", c.stage, c.key, c.n, p.n)
		}
		last[lane] = c
	}
	return nil
}

type callKey struct{}

// probe passes what it sees of a delivery on to the handler. It stands innermost.
func (j *journal) probe() stage.Middleware {
	return stage.Middleware{Name: "probe", Inside: []string{"deadletter", "idempotent", "retry", "timeout", "recover"},
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				meta := *d.Meta
				meta.Header = d.Header.Clone()
				c := &call{stage: d.Stage, key: d.Lane, ordered: d.Ordered, attempt: d.Attempt, redrive: d.Redrive != nil, meta: meta}
				if p, ok := d.Payload().(parcel); ok {
					c.n = p.N
				}
				return next(context.WithValue(ctx, callKey{}, c), d)
			}
		}}
}

// recorded makes a handler whose calls are in the journal. The probe must stand around it.
func recorded[T any](j *journal, handle func(context.Context, *call) error) func(context.Context, event.Event[T]) error {
	return func(ctx context.Context, _ event.Event[T]) error {
		c := ctx.Value(callKey{}).(*call)
		how := "!"
		j.begin(c)
		defer func() { j.end(c, how) }()
		err := handle(ctx, c)
		how = "+"
		if err != nil {
			how = "-"
		}
		return err
	}
}

// quiet is for what is not the matter of a test.
var quiet = slog.New(slog.DiscardHandler)

// letterConfig says how newDepot builds a pipeline; the zero value is one worker, Park, one attempt.
type letterConfig struct {
	workers    int
	followers  deadletter.Policy
	store      deadletter.Store  // default: deadletter.NewMemory()
	ids        idempotency.Store // default: no idempotency
	retry      middleware.Policy // default: one attempt
	timeout    time.Duration
	redrives   int // MaxRedrives, if not 0
	logger     *slog.Logger
	journal    *journal
	options    []stage.Option
	config     pipeline.Config
	handle     func(context.Context, *call) error
	moreStages []*stage.Stage
	settled    func(*stage.Delivery, stage.Outcome)
}

// depot is a pipeline with the real chain around a stage named work, and two records of what it did: its
// own, of the handlers' calls, and the kit's, of the events.
type depot struct {
	*journal
	t       *testing.T
	p       *pipeline.Pipeline
	pub     event.Publisher[parcel]
	letters deadletter.Store
	rec     *pipelinetest.Recorder
	run     *pipelinetest.Run
}

func newDepot(t *testing.T, c letterConfig) *depot {
	t.Helper()
	d := &depot{t: t, journal: c.journal, letters: c.store, rec: pipelinetest.NewRecorder()}
	if d.journal == nil {
		d.journal = &journal{}
	}
	if d.letters == nil {
		d.letters = deadletter.NewMemory()
	}
	if c.config.Logger == nil {
		c.config.Logger = quiet
	}
	c.config.Observer = d.rec.Observer()
	if c.settled != nil {
		record := c.config.Observer.Settled
		c.config.Observer.Settled = func(d *stage.Delivery, o stage.Outcome, err error) {
			record(d, o, err)
			c.settled(d, o)
		}
	}
	d.p = pipeline.New(c.config)
	d.p.Use(c.chain(d.letters)...)
	options := append([]stage.Option{stage.Workers(max(1, c.workers)), stage.Use(d.probe())}, c.options...)
	if c.handle == nil {
		c.handle = func(context.Context, *call) error { return nil }
	}
	d.p.Add(stage.Handle(parcels, "work", recorded[parcel](d.journal, c.handle), options...))
	d.p.Add(c.moreStages...)
	d.pub = pipeline.NewPublisher(d.p, parcels)
	return d
}

// chain is the canonical one.
func (c letterConfig) chain(letters deadletter.Store) []stage.Middleware {
	if c.logger == nil {
		c.logger = quiet
	}
	opts := []middleware.DeadLetterOption{middleware.WithLogger(c.logger)}
	if c.followers != "" {
		opts = append(opts, middleware.WithPolicy(c.followers))
	}
	if c.redrives != 0 {
		opts = append(opts, middleware.MaxRedrives(c.redrives))
	}
	chain := []stage.Middleware{middleware.DeadLetter(letters, opts...)}
	if c.ids != nil {
		chain = append(chain, middleware.Idempotent(c.ids, middleware.WithLogger(c.logger)))
	}
	if c.retry == nil {
		c.retry = middleware.Constant{Attempts: 1}
	}
	chain = append(chain, middleware.Retry(c.retry))
	if c.timeout != 0 {
		chain = append(chain, middleware.Timeout(c.timeout))
	}
	return append(chain, middleware.Recover())
}

// startDepot is newDepot, and runs it until the test ends.
func startDepot(t *testing.T, c letterConfig) *depot {
	t.Helper()
	d := newDepot(t, c)
	d.start()
	return d
}

func (d *depot) start() {
	d.t.Helper()
	if err := d.p.Check(); err != nil {
		d.t.Fatal(err)
	}
	d.run = pipelinetest.Start(d.t, d.p)
}

// settle lets time pass until all is at rest.
func (d *depot) settle() {
	d.t.Helper()
	d.run.Settle()
}

// close ends the pipeline and holds it to what must always be true of one that came to rest.
func (d *depot) close() {
	d.t.Helper()
	if err := d.shut(); err != nil {
		d.t.Errorf("Run = %v, want nil", err)
	}
}

// shut ends the pipeline, checks that the figures add up, nothing overlapped and nothing was lost, and
// returns what Run returned.
func (d *depot) shut() error {
	d.t.Helper()
	err := d.run.Stop()
	if err := d.p.Snapshot().Sum(true); err != nil {
		d.t.Errorf("at the end: %v", err)
	}
	if err := d.overlaps(); err != nil {
		d.t.Error(err)
	}
	if err := d.rec.CheckRest(unfinished(err)...); err != nil {
		d.t.Errorf("the history: %v", err)
	}
	return err
}

// unfinished is what an error of Run hands back. It looks at what Run joined and no deeper: a handler's
// error may be in it that errors.As would never come to the end of.
func unfinished(err error) []stage.Unfinished {
	all := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		all = j.Unwrap()
	}
	for _, e := range all {
		if u, ok := e.(*pipeline.UnfinishedError); ok { //nolint:errorlint // as above
			return u.Events
		}
	}
	return nil
}

func (d *depot) publish(key string, ns ...int) {
	d.t.Helper()
	for _, n := range ns {
		if err := d.pub.Publish(context.Background(), parcel{key, n}); err != nil {
			d.t.Fatalf("Publish(%s %d) = %v", key, n, err)
		}
	}
}

// send publishes one parcel under an identity.
func (d *depot) send(id, key string, n int) {
	d.t.Helper()
	if err := d.pub.Publish(context.Background(), parcel{key, n}, event.WithID(id)); err != nil {
		d.t.Fatalf("Publish(%s %d as %s) = %v", key, n, id, err)
	}
}

func (d *depot) figures() stage.Snapshot {
	n, _ := d.p.Snapshot().Stage("work")
	return n
}

func (d *depot) drain(o deadletter.DrainOptions) deadletter.Report {
	d.t.Helper()
	r, err := deadletter.Drain(context.Background(), d.letters, d.p, o)
	if err != nil {
		d.t.Errorf("Drain = %v, want nil", err)
	}
	return r
}

func (d *depot) wantTrace(key, want string) {
	d.t.Helper()
	if got := d.trace(key); got != want {
		d.t.Errorf("the calls for key %s are %q, want %q", key, got, want)
	}
}

// nth is the i-th call for a key.
func (d *depot) nth(key string, i int) call {
	d.t.Helper()
	calls := d.of("", key)
	if i >= len(calls) {
		d.t.Fatalf("the calls for key %s are %q: there is no call %d", key, d.trace(key), i)
	}
	return calls[i]
}

func (d *depot) wantLetters(key, want string) {
	d.t.Helper()
	if got := numbers(lettersOf(d.t, d.letters, key)); got != want {
		d.t.Errorf("the letters of key %s are %q, want %q", key, got, want)
	}
}

// lettersOf lists the letters of a key that are not discarded.
func lettersOf(t *testing.T, s deadletter.Store, key string) []deadletter.Letter {
	t.Helper()
	return listed(t, s, deadletter.Filter{Key: &key})
}

// nthLetter is the i-th letter of a key.
func nthLetter(t *testing.T, s deadletter.Store, key string, i int) deadletter.Letter {
	t.Helper()
	ls := lettersOf(t, s, key)
	if i >= len(ls) {
		t.Fatalf("the letters of key %s are %q: there is no letter %d", key, numbers(ls), i)
	}
	return ls[i]
}

func listed(t *testing.T, s deadletter.Store, f deadletter.Filter) []deadletter.Letter {
	t.Helper()
	var all []deadletter.Letter
	for l, err := range s.List(context.Background(), f) {
		if err != nil {
			t.Fatalf("List = %v", err)
		}
		all = append(all, l)
	}
	return all
}

// numbers puts letters into words: "1 2f" is 1, and 2 that follows it untried.
func numbers(ls []deadletter.Letter) string {
	var words []string
	for _, l := range ls {
		w := strings.TrimSuffix(string(l.Payload[strings.LastIndexByte(string(l.Payload), ':')+1:]), "}")
		if l.Follower {
			w += "f"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func ids(ls []deadletter.Letter) (list []string) {
	for _, l := range ls {
		list = append(list, l.ID)
	}
	return list
}

// upTo is 1, 2, … n.
func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

// fails breaks the calls for the given numbers of a key, until mended.
type fails struct {
	mu     sync.Mutex
	broken map[parcel]error
}

func failing(key string, ns ...int) *fails {
	f := &fails{broken: map[parcel]error{}}
	for _, n := range ns {
		f.broken[parcel{key, n}] = errBroken
	}
	return f
}

func (f *fails) set(key string, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[parcel{key, n}] = err
}

func (f *fails) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.broken)
}

func (f *fails) handle(_ context.Context, c *call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken[parcel{c.key, c.n}]
}

// eachCount runs f in a bubble for each number of workers.
func eachCount(t *testing.T, f func(t *testing.T, workers int)) {
	t.Helper()
	for _, w := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("%d workers", w), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, w) })
		})
	}
}

// eachPolicy runs f in a bubble for each number of workers and each of the policies.
func eachPolicy(t *testing.T, policies []deadletter.Policy, f func(t *testing.T, workers int, p deadletter.Policy)) {
	t.Helper()
	for _, p := range policies {
		t.Run(string(p), func(t *testing.T) {
			eachCount(t, func(t *testing.T, workers int) { f(t, workers, p) })
		})
	}
}

var (
	allPolicies = []deadletter.Policy{deadletter.Park, deadletter.Continue, deadletter.Block, deadletter.HaltStage}
	storing     = []deadletter.Policy{deadletter.Park, deadletter.Continue}
)

// flaky is a store whose methods fail as told.
type flaky struct {
	deadletter.Store

	mu    sync.Mutex
	left  map[string]int // calls of a method that still fail
	calls map[string]int
	how   func(ctx context.Context) error // what a failing call does; default: errStore
	after bool                            // a failing call does its work first
}

var errStore = errors.New("the store is down")

func newFlaky(opts ...deadletter.MemoryOption) *flaky {
	return &flaky{Store: deadletter.NewMemory(opts...), left: map[string]int{}, calls: map[string]int{}}
}

func (s *flaky) breaks(method string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left[method] = times
}

func (s *flaky) called(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

func (s *flaky) do(ctx context.Context, method string, work func() error) error {
	s.mu.Lock()
	s.calls[method]++
	fails := s.left[method] > 0
	if fails {
		s.left[method]--
	}
	s.mu.Unlock()
	if !fails {
		return work()
	}
	if s.after {
		_ = work()
	}
	if s.how != nil {
		return s.how(ctx)
	}
	return errStore
}

func (s *flaky) Put(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, err error) {
	err = s.do(ctx, "put", func() (err error) { r, err = s.Store.Put(ctx, l); return err })
	return r, err
}

func (s *flaky) Divert(ctx context.Context, l *deadletter.Letter) (r deadletter.Receipt, held bool, err error) {
	held = true
	err = s.do(ctx, "divert", func() (err error) { r, held, err = s.Store.Divert(ctx, l); return err })
	return r, held, err
}

func (s *flaky) Resolve(ctx context.Context, c deadletter.Claim, id string) error {
	return s.do(ctx, "resolve", func() error { return s.Store.Resolve(ctx, c, id) })
}

func (s *flaky) Fail(ctx context.Context, c deadletter.Claim, id string, f deadletter.Failure) error {
	return s.do(ctx, "fail", func() error { return s.Store.Fail(ctx, c, id, f) })
}

// crash ends a handler in one of the ways that are not returning.
func crash(how int) {
	switch how % 3 {
	case 0:
		panic("a handler panics")
	case 1:
		panic(errBroken)
	}
	runtime.Goexit()
}

// records is a slog handler that keeps the messages.
type records struct {
	mu   sync.Mutex
	text []string
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }

func (r *records) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", rec.Level, rec.Message)
	rec.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	r.text = append(r.text, b.String())
	return nil
}

func (r *records) WithAttrs([]slog.Attr) slog.Handler { return r }

func (r *records) WithGroup(string) slog.Handler { return r }

// with counts the records that have all of the parts.
func (r *records) with(parts ...string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.text {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(t, p) }) {
			n++
		}
	}
	return n
}
