package deadlettertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Target is a deadletter.Target of one function. It settles letters in their store as a stage with the
// dead-letter middleware does: nil resolves, a failure is recorded, a context that has ended counts
// nothing.
type Target struct {
	keeper      deadletter.Keeper
	handle      func(context.Context, deadletter.Letter) error
	maxRedrives int

	mu      sync.Mutex
	history []deadletter.Letter
}

var _ deadletter.Target = (*Target)(nil)

// NewTarget returns a target that handles letters by handle and settles them in keeper. A letter that
// was redriven maxRedrives times is quarantined; 0 means never.
func NewTarget(keeper deadletter.Keeper, maxRedrives int, handle func(context.Context, deadletter.Letter) error) *Target {
	return &Target{keeper: keeper, maxRedrives: maxRedrives, handle: handle}
}

// Redrive implements deadletter.Target.
func (t *Target) Redrive(ctx context.Context, l deadletter.Letter, c deadletter.Claim) error {
	t.mu.Lock()
	t.history = append(t.history, l)
	t.mu.Unlock()
	err := t.handle(ctx, l)
	settle := context.WithoutCancel(ctx)
	switch {
	case err == nil:
		return t.keeper.Resolve(settle, c, l.ID)
	case errors.Is(err, deadletter.ErrInterrupted), errors.Is(err, deadletter.ErrNoStage):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", deadletter.ErrInterrupted, context.Cause(ctx))
	}
	f := t.failure(l, err)
	return errors.Join(err, t.keeper.Fail(settle, c, l.ID, f))
}

func (t *Target) failure(l deadletter.Letter, err error) deadletter.Failure {
	typ := fmt.Sprintf("%T", err)
	return deadletter.Failure{
		Reason: deadletter.Exhausted, Error: err.Error(), ErrorType: typ,
		Causes:      []deadletter.Cause{{Type: typ, Text: err.Error()}},
		Fingerprint: deadletter.Fingerprint(l.Stage, typ, err.Error(), ""),
		Attempts:    1,
		History:     []deadletter.Attempt{{Number: 1, At: time.Now(), Error: err.Error()}},
		Quarantine:  t.maxRedrives > 0 && l.Redrives+1 >= t.maxRedrives,
	}
}

// History returns the letters that were redriven, in the order in which they arrived.
func (t *Target) History() []deadletter.Letter {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]deadletter.Letter(nil), t.history...)
}
