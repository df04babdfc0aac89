package stage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

func delivery() *stage.Delivery {
	return stage.NewDelivery("charge", event.Event[order]{
		Meta:    event.Meta{GivenID: "A1", Topic: "orders", Key: "ann", Seq: 7},
		Payload: order{"A1", "ann"},
	})
}

func TestNewDelivery(t *testing.T) {
	d := delivery()
	if d.ID() != "A1" || d.Stage != "charge" || d.Lane != "ann" || !d.Ordered || d.Attempt != 1 || d.Final || d.Redrive != nil || len(d.History()) != 0 {
		t.Errorf("the delivery is %+v", d)
	}
	if p, ok := d.Payload().(order); !ok || p.Number != "A1" {
		t.Errorf("Payload = %#v, want the order", d.Payload())
	}
	data, codec, err := d.Encode()
	var back order
	if err != nil || codec != "json" || json.Unmarshal(data, &back) != nil || back != (order{"A1", "ann"}) {
		t.Errorf("Encode = %s, %s, %v", data, codec, err)
	}
	if loose := stage.NewDelivery("charge", event.Event[order]{}); loose.Ordered {
		t.Error("a delivery without a key is ordered")
	}
}

func TestEncodeOfWhatCannotBe(t *testing.T) {
	d := stage.NewDelivery("charge", event.Event[chan int]{Payload: make(chan int)})
	if data, codec, err := d.Encode(); err == nil {
		t.Errorf("Encode of a channel = %s, %s, want an error", data, codec)
	}
}

func TestKeptIsByOwner(t *testing.T) {
	type owner struct{ n int }
	d := delivery()
	if d.Kept(owner{1}) != nil {
		t.Error("a new delivery has something kept")
	}
	d.Keep(owner{1}, "one")
	d.Keep(owner{2}, "two")
	d.Keep(owner{1}, "three")
	if d.Kept(owner{1}) != "three" || d.Kept(owner{2}) != "two" || d.Kept(owner{3}) != nil || d.Kept(struct{ n int }{1}) != nil {
		t.Errorf("kept are %v and %v, want three and two", d.Kept(owner{1}), d.Kept(owner{2}))
	}
	d.Keep(owner{1}, nil)
	if d.Kept(owner{1}) != nil || d.Kept(owner{2}) != "two" {
		t.Error("a nil value does not forget its own, or forgets another")
	}
}

// TestCloneIsIndependent of what it was made from, in both directions.
func TestCloneIsIndependent(t *testing.T) {
	d := delivery()
	d.Keep("a", 1)
	c := d.Clone()
	d.Meta.Key = "changed"
	d.Keep("a", 2)
	d.Keep("b", 3)
	c.Keep("c", 4)
	if c.Key != "ann" || c.Kept("a") != 1 || c.Kept("b") != nil || d.Kept("c") != nil {
		t.Errorf("the clone has key %q, kept %v, %v; the original %v", c.Key, c.Kept("a"), c.Kept("b"), d.Kept("c"))
	}
	if p, ok := c.Payload().(order); !ok || p.Number != "A1" {
		t.Errorf("the clone's payload is %#v", c.Payload())
	}
	if _, codec, err := c.Encode(); err != nil || codec != "json" {
		t.Errorf("Encode of the clone = %s, %v", codec, err)
	}
}

// A middleware needs no type parameter, and no pipeline to be tested.
func ExampleNewDelivery() {
	audit := stage.Middleware{Name: "audit", Wrap: func(next stage.Handler) stage.Handler {
		return func(ctx context.Context, d *stage.Delivery) error {
			if d.Key == "mallory" {
				return stage.Skip("suspicious")
			}
			return next(ctx, d)
		}
	}}
	h := stage.Chain(func(context.Context, *stage.Delivery) error { return nil }, audit)
	d := stage.NewDelivery("charge", event.Event[order]{Meta: event.Meta{Key: "mallory"}})
	fmt.Println(h(context.Background(), d))
	// Output: stage: skipped: suspicious
}
