package deadletter

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"time"
)

var _ RedriveStore = (*Memory)(nil)

// operations are the operations of a Memory, the oldest first.
type operations struct {
	all  []*operation
	last uint64
}

type operation struct {
	Operation
	n        uint64
	failures []LetterFailure
	at       map[string]int // of a letter in failures
}

func (s *operations) find(id string) *operation {
	for _, o := range s.all {
		if o.ID == id {
			return o
		}
	}
	return nil
}

// forget drops the oldest of those that have ended, when there are many.
func (s *operations) forget() {
	ended := 0
	for _, o := range s.all {
		if !o.Open() {
			ended++
		}
	}
	s.all = slices.DeleteFunc(s.all, func(o *operation) bool {
		if o.Open() || ended <= MaxEnded {
			return false
		}
		ended--
		return true
	})
}

func (o *operation) copied() Operation {
	c := o.Operation
	c.Failed = len(o.failures)
	c.Filter = c.Filter.clone()
	return c
}

func (o *operation) take(owner string, token uint64, lease time.Duration) {
	now := time.Now()
	if o.State == OperationRequested {
		o.State, o.StartedAt = OperationRunning, now
	}
	o.Owner, o.Token, o.Until = owner, token, now.Add(lease)
	o.Starts++
}

func (o *operation) fail(f LetterFailure) {
	f.Error = cut(f.Error, MaxErrorBytes)
	if i, known := o.at[f.ID]; known {
		o.failures[i] = f
		return
	}
	if o.at == nil {
		o.at = map[string]int{}
	}
	o.at[f.ID] = len(o.failures)
	o.failures = append(o.failures, f)
}

// clone is f with lists of its own.
func (f Filter) clone() Filter {
	f.IDs, f.States = slices.Clone(f.IDs), slices.Clone(f.States)
	if f.Key != nil {
		key := *f.Key
		f.Key = &key
	}
	return f
}

// AddOperation implements Operations.
func (m *Memory) AddOperation(_ context.Context, o Operation, owner string, lease time.Duration) (Operation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ops.last++
	added := &operation{n: m.ops.last, Operation: Operation{
		ID: m.prefix + "op-" + strconv.FormatUint(m.ops.last, 36), Filter: o.Filter.clone(), Selected: o.Selected,
		Rate: o.Rate, Limit: o.Limit, Parallel: o.Parallel, Who: o.Who, Why: o.Why, At: o.At,
		State: OperationRequested,
	}}
	if owner != "" {
		m.claims.token++
		added.take(owner, m.claims.token, lease)
	}
	m.ops.all = append(m.ops.all, added)
	m.ops.forget()
	return added.copied(), nil
}

// Operation implements Operations.
func (m *Memory) Operation(_ context.Context, id string) (Operation, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if o := m.ops.find(id); o != nil {
		return o.copied(), nil
	}
	return Operation{}, ErrNotFound
}

// Operations implements Operations.
func (m *Memory) Operations(context.Context) iter.Seq2[Operation, error] {
	return func(yield func(Operation, error) bool) {
		m.mu.RLock()
		all := make([]Operation, 0, len(m.ops.all))
		for _, o := range slices.Backward(m.ops.all) {
			all = append(all, o.copied())
		}
		m.mu.RUnlock()
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// OperationFailures implements Operations.
func (m *Memory) OperationFailures(_ context.Context, id string) iter.Seq2[LetterFailure, error] {
	return func(yield func(LetterFailure, error) bool) {
		m.mu.RLock()
		var all []LetterFailure
		if o := m.ops.find(id); o != nil {
			all = slices.Clone(o.failures)
		}
		m.mu.RUnlock()
		for _, f := range all {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// TakeOperation implements Operations.
func (m *Memory) TakeOperation(_ context.Context, owner string, stages []string, lease time.Duration) (Operation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, o := range m.ops.all {
		if !o.Open() || stages != nil && !slices.Contains(stages, o.Filter.Stage) ||
			o.Owner != "" && now.Before(o.Until) {
			continue
		}
		m.claims.token++
		o.take(owner, m.claims.token, lease)
		return o.copied(), nil
	}
	return Operation{}, ErrNotFound
}

// taken returns the operation that o has a valid lease on, or nil. The caller holds mu.
func (m *Memory) taken(o Operation) *operation {
	own := m.ops.find(o.ID)
	if own == nil || !own.Open() || own.Token != o.Token || own.Owner == "" {
		return nil
	}
	return own
}

// RenewOperation implements Operations.
func (m *Memory) RenewOperation(_ context.Context, o Operation, lease time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := m.taken(o)
	if own == nil {
		return ErrClaimLost
	}
	own.Until = time.Now().Add(lease)
	return nil
}

// FailOperation implements Operations.
func (m *Memory) FailOperation(_ context.Context, o Operation, f LetterFailure) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := m.taken(o)
	if own == nil {
		return ErrClaimLost
	}
	own.fail(f)
	return nil
}

// ReleaseOperation implements Operations.
func (m *Memory) ReleaseOperation(_ context.Context, o Operation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if own := m.taken(o); own != nil {
		own.Owner, own.Until = "", time.Now()
	}
	return nil
}

// EndOperation implements Operations.
func (m *Memory) EndOperation(_ context.Context, o Operation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := m.taken(o)
	if own == nil {
		return ErrClaimLost
	}
	own.State, own.EndedAt = OperationFinished, time.Now()
	own.Selected, own.Blocked, own.Untouched, own.Stopped = o.Selected, o.Blocked, o.Untouched, o.Stopped
	return nil
}

// CancelOperation implements Operations.
func (m *Memory) CancelOperation(_ context.Context, id string, by Note) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.ops.find(id)
	switch {
	case o == nil:
		return false, ErrNotFound
	case !o.Open():
		return false, nil
	}
	now := time.Now()
	by.What = "cancel"
	if by.At.IsZero() {
		by.At = now
	}
	o.State, o.EndedAt, o.Cancelled = OperationCancelled, now, by
	return true, nil
}

// countOperation records in the operation of a claim what became of a letter. The caller holds mu.
func (m *Memory) countOperation(c Claim, id string, f *Failure) {
	if c.Operation == "" {
		return
	}
	o := m.ops.find(c.Operation)
	switch {
	case o == nil:
	case f == nil:
		o.Succeeded++
	default:
		o.fail(LetterFailure{ID: id, Stage: c.Sequence.Stage, Key: c.Sequence.Key, Error: f.Error})
	}
}
