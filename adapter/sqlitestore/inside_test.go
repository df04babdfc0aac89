package sqlitestore

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// TestOpenRefusesWeakSettings has SQLite not take one setting after the other.
func TestOpenRefusesWeakSettings(t *testing.T) {
	for i, weak := range []string{"1", "DELETE", "NORMAL", "0"} {
		setting := settings[i]
		settings[i].value = weak
		_, err := Open(t.Context(), filepath.Join(t.TempDir(), "letters.db"), Config{})
		settings[i] = setting
		if err == nil || !strings.Contains(err.Error(), "SQLite has "+setting.pragma) {
			t.Errorf("%s = %s: Open = %v", setting.parameter, weak, err)
		}
		if strings.Contains(setting.parameter, "synchronous") {
			continue // FULL is the default of this driver
		}
		settings[i].parameter += "_misspelt"
		_, err = Open(t.Context(), filepath.Join(t.TempDir(), "letters.db"), Config{})
		settings[i] = setting
		if err == nil {
			t.Errorf("%s misspelt: Open = nil", setting.parameter)
		}
	}
}

// filling is a stream of these numbers.
func filling(all ...int64) *stream {
	return &stream{refill: func(after int64, limit int) ([]int64, bool, error) {
		i, _ := slices.BinarySearch(all, after+1)
		some := slices.Clone(all[i:min(len(all), i+limit)])
		return some, len(some) == limit, nil
	}}
}

func TestMergeYieldsEachPlaceOnceInOrder(t *testing.T) {
	var even, threes, want []int64
	for n := int64(1); n <= 6000; n++ {
		if n%2 == 0 {
			even = append(even, n)
		}
		if n%3 == 0 {
			threes = append(threes, n)
		}
		if n%2 == 0 || n%3 == 0 {
			want = append(want, n)
		}
	}
	var got []int64
	err := merge([]*stream{filling(even...), filling(), filling(threes...), sorted([]int64{12, 6, 6})}, func(n int64) bool {
		got = append(got, n)
		return true
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("merge yielded %d of %d, %v", len(got), len(want), err)
	}
	n := 0
	if err := merge([]*stream{filling(even...)}, func(int64) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("merge went on to %d after it was stopped, %v", n, err)
	}
}

func TestMergeReportsAStreamThatFails(t *testing.T) {
	boom, calls := errors.New("boom"), 0
	s := &stream{refill: func(after int64, limit int) ([]int64, bool, error) {
		if calls++; calls > 1 {
			return nil, false, boom
		}
		return make([]int64, limit), true, nil
	}}
	if err := merge([]*stream{s}, func(int64) bool { return true }); !errors.Is(err, boom) {
		t.Errorf("merge = %v, want %v", err, boom)
	}
}

func TestADamagedPackIsAnError(t *testing.T) {
	good := packTime(time.Time{})
	for _, p := range []packed{
		{header: []byte{5, 'a'}}, {causes: []byte{0xff}}, {history: []byte{2}}, {notes: append(good, 9, 1)},
	} {
		if err := p.unpack(&deadletter.Letter{}); !errors.Is(err, errPacked) {
			t.Errorf("%+v: %v, want %v", p, err, errPacked)
		}
	}
}
