package event_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/runnel-go/runnel/event"
)

func TestFault07_APayloadAboveTheLimitIsRefusedUntouched(t *testing.T) {
	asked := false
	blobs := event.NewTopic("blobs",
		event.MaxSize(4, func(b []byte) int { return len(b) }),
		event.KeyBy(func(b []byte) string { asked = true; return string(b[:1]) }))
	var m event.Meta
	err := blobs.Describe(&m, []byte("12345"), nil)
	if !errors.Is(err, event.ErrTooLarge) || !strings.Contains(err.Error(), "payload of 5 bytes, 4 is the limit") || asked {
		t.Errorf("Describe of 5 bytes = %v, want %v before anything else looks at them (%v)", err, event.ErrTooLarge, asked)
	}
	if err := blobs.Describe(&m, []byte("1234"), nil); err != nil {
		t.Errorf("Describe of 4 bytes = %v, want nil", err)
	}
	for name, o := range map[string]event.TopicOption[[]byte]{
		"MaxSize(0)":   event.MaxSize(0, func(b []byte) int { return 0 }),
		"MaxSize(nil)": event.MaxSize[[]byte](1, nil),
	} {
		if err := event.NewTopic("blobs", o).Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Check with %s = %v, want it named", name, err)
		}
	}
}
