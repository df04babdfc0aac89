package stage

import (
	"reflect"
	"testing"
	"time"

	"github.com/runnel-go/runnel/event"
)

// TestAnItemGetsAllOfItsMeta: it is copied field by field, and a new field must not be forgotten.
func TestAnItemGetsAllOfItsMeta(t *testing.T) {
	c := candidate{meta: event.Meta{
		GivenID: "1", Topic: "orders", Key: "ann", Seq: 2, Origin: 3, Time: time.Unix(4, 0), Header: event.Header{"a": "b"},
	}}
	for v, i := reflect.ValueOf(c.meta), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("this test gives no %s: add it", v.Type().Field(i).Name)
		}
	}
	payload, it := 5, item[int]{}
	if it.fill(&c, &payload); !reflect.DeepEqual(it.event, event.Event[int]{Meta: c.meta, Payload: payload}) {
		t.Errorf("the item has %+v, want %+v", it.event, c.meta)
	}
}
