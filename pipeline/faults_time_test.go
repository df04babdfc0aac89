package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// A producer's clock, which stands in an event, may be hours off, and the wall clock may jump: delays are
// durations and ask neither.
func TestFault27_ClocksThatAreWrongMoveNoAttempt(t *testing.T) {
	for name, off := range map[string]time.Duration{"an hour behind": -time.Hour, "an hour ahead": time.Hour, "a century ahead": 876_000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := runPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 3, Delay: time.Minute}, middleware.MaxElapsed(10*time.Minute))},
					work(func(_ context.Context, e event.Event[job]) error { return errFlop }))
				began := time.Now()
				if err := w.pub.Publish(t.Context(), job{"a", 1}, event.WithTime(began.Add(off))); err != nil {
					t.Fatal(err)
				}
				w.rest()
				for i, e := range w.rec.Started("work") {
					if at := e.At.Sub(began); at != time.Duration(i)*time.Minute {
						t.Errorf("attempt %d began after %v, want %d min", i+1, at, i)
					}
				}
			})
		})
	}
}

// A machine that slept wakes up late: what was due is done once, and what was leased may be another's.
func TestFault28_AfterASleepWhatIsOverdueIsDoneOnceAndLeasesAreFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		if _, err := letters.Put(t.Context(), &deadletter.Letter{Stage: "work", Key: "a", Ordered: true, Holds: true, EventID: "a1"}); err != nil {
			t.Fatal(err)
		}
		seq := deadletter.Sequence{Stage: "work", Key: "a"}
		asleep, err := letters.Claim(t.Context(), seq, "asleep", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // neither renewed nor released
		awake, err := letters.Claim(t.Context(), seq, "awake", time.Minute)
		if err != nil {
			t.Fatalf("Claim after the lease = %v, want nil", err)
		}
		head, err := letters.Head(t.Context(), awake)
		if err != nil {
			t.Fatal(err)
		}
		if err := letters.Resolve(t.Context(), asleep, head.ID); !errors.Is(err, deadletter.ErrClaimLost) {
			t.Errorf("Resolve by the one that slept = %v, want %v", err, deadletter.ErrClaimLost)
		}
		if err := letters.Renew(t.Context(), asleep, time.Hour); !errors.Is(err, deadletter.ErrClaimLost) {
			t.Errorf("Renew by the one that slept = %v, want %v", err, deadletter.ErrClaimLost)
		}
		if err := letters.Resolve(t.Context(), awake, head.ID); err != nil {
			t.Errorf("Resolve = %v, want nil", err)
		}
	})
}

// The drainer that claimed the letters died. Nobody mends that by hand: the next drain after the lease has them.
func TestFault60_LettersOfADeadDrainerComeFreeWithItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := failing("a", 1)
		d := startDepot(t, letterConfig{workers: 2, handle: f.handle})
		d.publish("a", 1)
		d.settle()
		if _, err := d.letters.Claim(t.Context(), deadletter.Sequence{Stage: "work", Key: "a"}, "dead", time.Minute); err != nil {
			t.Fatal(err)
		}
		f.mend()
		if r := d.drain(deadletter.DrainOptions{}); r.Skipped != 1 || r.Succeeded != 0 {
			t.Errorf("within the lease: %v, want 1 skipped", r)
		}
		time.Sleep(time.Minute)
		if r := d.drain(deadletter.DrainOptions{}); r.Succeeded != 1 {
			t.Errorf("after the lease: %v, want 1 succeeded", r)
		}
		d.close()
	})
}

// What was changed behind the codec's back is a failure that keeps the bytes, and stops only its key.
func TestFault52_ATamperedLetterStaysWithItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := failing("a", 1)
		d := startDepot(t, letterConfig{workers: 2, handle: f.handle})
		d.publish("a", 1)
		d.settle()
		l := listed(t, d.letters, deadletter.Filter{})[0]
		junk := []byte("{\"not\": json\x00\xff")
		if err := d.letters.Edit(t.Context(), l.ID, junk, deadletter.Note{Who: "test"}); err != nil {
			t.Fatal(err)
		}
		f.mend()
		r := d.drain(deadletter.DrainOptions{})
		after := listed(t, d.letters, deadletter.Filter{})
		if r.Failed != 1 || len(after) != 1 || string(after[0].Payload) != string(junk) || string(after[0].Original) != string(l.Payload) {
			t.Errorf("a tampered letter: %v, %d letters, want 1 failed and its bytes as they are", r, len(after))
		}
		if err := d.letters.Edit(t.Context(), l.ID, l.Payload, deadletter.Note{Who: "test"}); err != nil {
			t.Fatal(err)
		}
		if r := d.drain(deadletter.DrainOptions{}); r.Succeeded != 1 {
			t.Errorf("once it is mended: %v, want 1 succeeded", r)
		}
		d.close()
	})
}
