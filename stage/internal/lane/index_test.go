package lane

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestIndexFindsWhatAMapWould, with few lanes and with more than there are places.
func TestIndexFindsWhatAMapWould(t *testing.T) {
	for _, keys := range []int{3, 200, 3 * indexPlaces} {
		x, want := newIndex[int](), map[string]*lane[int]{}
		for range 20 * keys {
			key := fmt.Sprint("key-", rand.IntN(keys))
			hash := x.hash(key)
			ln := x.find(hash, key)
			if ln != want[key] {
				t.Fatalf("%d keys: find(%s) gives %p, want %p", keys, key, ln, want[key])
			}
			if ln != nil {
				x.remove(ln)
				delete(want, key)
				continue
			}
			ln = &lane[int]{hash: hash, key: key}
			x.add(ln)
			want[key] = ln
		}
		compareIndex(t, &x, want)
		for ln := range x.all() {
			x.remove(ln)
		}
		compareIndex(t, &x, nil)
		for i := range x.places {
			if n := x.places[i].lanes.Load(); n != 0 {
				t.Errorf("%d keys: place %d counts %d lanes when all are gone", keys, i, n)
			}
		}
	}
}

// compareIndex checks that the index has the lanes of want and no others, and that riders are told of each.
func compareIndex(t *testing.T, x *index[int], want map[string]*lane[int]) {
	t.Helper()
	seen := map[string]bool{}
	for ln := range x.all() {
		if want[ln.key] != ln || seen[ln.key] {
			t.Errorf("all yields %p for %s, want %p once", ln, ln.key, want[ln.key])
		}
		seen[ln.key] = true
		if !x.mayHave(ln.hash) {
			t.Errorf("mayHave denies %s, which has a lane", ln.key)
		}
	}
	if len(seen) != len(want) || x.len() != len(want) {
		t.Errorf("all yields %d lanes and len is %d, want %d", len(seen), x.len(), len(want))
	}
}

// TestIndexTellsKeysOfOnePlaceApart, whichever of them came and goes first.
func TestIndexTellsKeysOfOnePlaceApart(t *testing.T) {
	x := newIndex[int]()
	var lanes []*lane[int]
	for i := 0; len(lanes) < 3; i++ {
		key := fmt.Sprint("key-", i)
		hash := x.hash(key)
		if len(lanes) == 0 || hash%indexPlaces == lanes[0].hash%indexPlaces {
			lanes = append(lanes, &lane[int]{hash: hash, key: key})
		}
	}
	for first := range lanes {
		for _, ln := range lanes {
			x.add(ln)
		}
		for i := range lanes {
			gone := lanes[(first+i)%len(lanes)]
			x.remove(gone)
			if got := x.find(gone.hash, gone.key); got != nil {
				t.Errorf("after %s went, find gives %s", gone.key, got.key)
			}
			for j := i + 1; j < len(lanes); j++ {
				there := lanes[(first+j)%len(lanes)]
				if got := x.find(there.hash, there.key); got != there {
					t.Errorf("%s is not found when %s has gone", there.key, gone.key)
				}
			}
			if last := i == len(lanes)-1; x.mayHave(gone.hash) == last {
				t.Errorf("mayHave is %v after %d of %d lanes of the place went", last, i+1, len(lanes))
			}
		}
	}
}
