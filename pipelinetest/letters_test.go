package pipelinetest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/pipelinetest"
)

// meddled is a store in which something happens after a letter was read, before the reader goes on.
type meddled struct {
	deadletter.Store
	then func()
}

func (s *meddled) Get(ctx context.Context, id string) (deadletter.Letter, error) {
	l, err := s.Store.Get(ctx, id)
	if s.then != nil {
		s.then()
	}
	return l, err
}

// What an operator takes back while a redrive resolves it is recorded as taken back and resolved, never as there.
func TestALetterIsResolvedAfterAllThatIsRecordedOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, rec := t.Context(), pipelinetest.NewRecorder()
		store := &meddled{Store: deadletter.NewMemory(deadletter.MemoryConfig{})}
		letters := rec.Letters(store)
		r, err := letters.Put(ctx, &deadletter.Letter{Stage: "charge", Key: "ann", Ordered: true, EventID: "1", Holds: true})
		if err != nil {
			t.Fatal(err)
		}
		claim, err := letters.Claim(ctx, deadletter.Sequence{Stage: "charge", Key: "ann"}, "me", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		reads := 0
		store.then = func() {
			if reads++; reads != 2 { // the operator's second look, for the record
				return
			}
			store.then = nil
			go func() {
				if err := letters.Resolve(ctx, claim, r.ID); err != nil {
					t.Errorf("Resolve = %v", err)
				}
			}()
			synctest.Wait()
		}
		if _, err := letters.Restore(ctx, []string{r.ID}, deadletter.Note{Who: "me"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h := rec.History()
		if last := h[len(h)-1]; last.What != pipelinetest.Resolved {
			t.Errorf("the last entry is %q, want that it is resolved; all:\n%v", last, h)
		}
	})
}
