//go:build unix

package pgstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/deadletter"
)

const writers = 8

// putChild has writers put letters until it is killed: the first of a key, and then followers that must
// be diverted. Early is the planted bug: it acknowledges what is not committed yet.
func putChild(d *diary, schema string, early bool) {
	s, err := pgstore.Open(context.Background(), os.Getenv("RUNNEL_PG_DSN"), pgstore.Config{Schema: schema})
	if err != nil {
		d.died(err)
	}
	first, err := strconv.Atoi(os.Getenv("RUNNEL_PG_FIRST"))
	if err != nil {
		d.died(err)
	}
	var ready sync.Once
	if os.Getenv("RUNNEL_PG_COLD") != "" {
		ready.Do(func() { d.say("R") })
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := first; ; n++ {
				key, id := fmt.Sprintf("%d-%d", w, n/4), fmt.Sprintf("%d-%d", w, n)
				l := letter(key, id)
				l.Seq, l.Payload = uint64(n), []byte(checksum(id))
				d.say("I", id)
				if early {
					go func() { _ = store(s, l, n%4 > 0) }()
				} else if err := store(s, l, n%4 > 0); err != nil {
					d.died(id, err)
				}
				d.say("A", id)
				ready.Do(func() { d.say("R") })
			}
		})
	}
	all.Wait()
}

func store(s *pgstore.Store, l *deadletter.Letter, follows bool) error {
	if !follows {
		_, err := s.Put(context.Background(), l)
		return err
	}
	if !s.MayHold(l.Stage, l.Key) {
		return fmt.Errorf("MayHold(%s) = false", l.Key)
	}
	_, held, err := s.Divert(context.Background(), l)
	if err == nil && !held {
		return fmt.Errorf("%s is not held", l.Key)
	}
	return err
}

// putRecord is what the children said, and what of it is in the schema.
type putRecord struct {
	intended, acked map[string]bool
	kills           int
	withAcks        int // kills after at least one acknowledgement
	highest         int
	anyOrder        bool // the child itself puts them in any
	lost, ambiguous int
}

// read adds what one child said. What it intended and did not acknowledge, it was about to.
func (r *putRecord) read(t *testing.T, lines []string, limit int) {
	t.Helper()
	open, acks := 0, 0
	for _, line := range lines {
		what, id, _ := strings.Cut(line, " ")
		_, number, _ := strings.Cut(id, "-")
		n, _ := strconv.Atoi(number)
		switch r.highest = max(r.highest, n); what {
		case "I":
			r.intended[id] = true
			open++
		case "A":
			r.acked[id] = true
			open--
			acks++
		}
	}
	if acks > 0 {
		r.withAcks++
	}
	if open > limit {
		t.Errorf("%d letters were on their way, there are %d writers", open, limit)
	}
	r.ambiguous += open
}

// compare is the oracle: every letter that was acknowledged is there, each that is there was intended,
// and none is torn or out of its key's order.
func (r *putRecord) compare(t *testing.T, schema string) {
	t.Helper()
	s := open(t, schema, pgstore.Config{})
	settle(t, schema)
	found, last := map[string]bool{}, map[string]uint64{}
	st, err := s.Stats(t.Context())
	must(t, err)
	for l, err := range s.List(t.Context(), deadletter.Filter{}) {
		must(t, err)
		if !r.intended[l.EventID] || found[l.EventID] || string(l.Payload) != checksum(l.EventID) {
			t.Errorf("letter %s: intended %v, twice %v, payload %s", l.EventID, r.intended[l.EventID], found[l.EventID], l.Payload)
		}
		if before, ok := last[l.Key]; ok && l.Seq <= before && !r.anyOrder {
			t.Errorf("key %s: %d after %d", l.Key, l.Seq, before)
		}
		found[l.EventID], last[l.Key] = true, l.Seq
	}
	if st.Active != len(found) {
		t.Errorf("Stats counts %d letters, there are %d", st.Active, len(found))
	}
	must(t, s.Close())
	r.lost = 0
	for id := range r.acked {
		if !found[id] {
			r.lost++
		}
	}
}

// settle waits until the server has ended what a killed child was at: a transaction whose client is gone may still
// commit, and until then it has this lock.
func settle(t *testing.T, schema string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), serverDSN())
	must(t, err)
	_, err = c.Exec(t.Context(), "SELECT FROM "+schema+".meta FOR UPDATE")
	must(t, err)
	must(t, c.Close(t.Context()))
}

// crashPuts kills a putting child as often, and compares now and then.
func crashPuts(t *testing.T, role string, kills, limit int) *putRecord {
	t.Helper()
	newCluster(t)
	schema, seed := fresh(t), rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := &putRecord{intended: map[string]bool{}, acked: map[string]bool{}, anyOrder: role == "put early"}
	for i := range kills {
		env := []string{fmt.Sprint("RUNNEL_PG_FIRST=", (r.highest/4+1)*4)}
		if i%10 == 9 {
			env = append(env, "RUNNEL_PG_COLD=1")
		}
		c := start(t, role, schema, env...)
		r.read(t, c.kill(random), limit)
		r.kills++
		if i%10 == 9 || i == kills-1 {
			r.compare(t, schema)
		}
		if t.Failed() || r.lost > 0 {
			break
		}
	}
	return r
}

func TestCrashPut(t *testing.T) {
	kills := times(t, "KILLS")
	r := crashPuts(t, "put", kills, writers)
	if r.lost > 0 {
		t.Errorf("%d acknowledged letters are lost", r.lost)
	}
	if r.kills != kills || r.withAcks*10 < kills*9 || len(r.acked) < kills*4 {
		t.Errorf("%d kills, %d of them after an acknowledgement, %d letters: too few to prove anything", r.kills, r.withAcks, len(r.acked))
	}
	t.Logf("counts: %d kills, %d after an acknowledgement: %d letters acknowledged, %d lost, %d ambiguous",
		r.kills, r.withAcks, len(r.acked), r.lost, r.ambiguous)
}

// TestCrashPutFindsAnEarlyAcknowledgement plants the bug that TestCrashPut is there for.
func TestCrashPutFindsAnEarlyAcknowledgement(t *testing.T) {
	r := crashPuts(t, "put early", times(t, "KILLS"), 1<<30)
	if r.lost == 0 {
		t.Error("letters were acknowledged before their commit, and none is missed")
	}
	t.Logf("counts: a planted bug: %d of %d acknowledged letters are lost", r.lost, len(r.acked))
}
