package deadletter

import (
	"encoding/json"
	"fmt"
	"time"
)

// filterForm is a Filter whose texts are bytes: JSON would mend what is no UTF-8.
type filterForm struct {
	IDs         [][]byte   `json:"ids,omitempty"`
	None        bool       `json:"none,omitempty"` // IDs is empty but not nil
	Stage       []byte     `json:"stage,omitempty"`
	Topic       []byte     `json:"topic,omitempty"`
	Key         []byte     `json:"key,omitempty"`
	KeySet      bool       `json:"keySet,omitempty"`
	Reason      []byte     `json:"reason,omitempty"`
	Fingerprint []byte     `json:"fingerprint,omitempty"`
	ErrorText   []byte     `json:"errorText,omitempty"`
	ErrorType   []byte     `json:"errorType,omitempty"`
	Before      *time.Time `json:"before,omitempty"`
	After       *time.Time `json:"after,omitempty"`
	States      []State    `json:"states,omitempty"`
}

// MarshalBinary writes f so that UnmarshalBinary brings back every byte of it. Times lose their zone.
func (f Filter) MarshalBinary() ([]byte, error) {
	form := filterForm{
		None: f.IDs != nil && len(f.IDs) == 0, Stage: []byte(f.Stage), Topic: []byte(f.Topic),
		Reason: []byte(f.Reason), Fingerprint: []byte(f.Fingerprint), ErrorText: []byte(f.ErrorText),
		ErrorType: []byte(f.ErrorType), Before: moment(f.Before), After: moment(f.After), States: f.States,
	}
	for _, id := range f.IDs {
		form.IDs = append(form.IDs, []byte(id))
	}
	if f.Key != nil {
		form.Key, form.KeySet = []byte(*f.Key), true
	}
	b, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("deadletter: filter: %w", err)
	}
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (f *Filter) UnmarshalBinary(data []byte) error {
	var form filterForm
	if err := json.Unmarshal(data, &form); err != nil {
		return fmt.Errorf("deadletter: filter: %w", err)
	}
	*f = Filter{
		Stage: string(form.Stage), Topic: string(form.Topic), Reason: Reason(form.Reason),
		Fingerprint: string(form.Fingerprint), ErrorText: string(form.ErrorText),
		ErrorType: string(form.ErrorType), States: form.States,
	}
	if form.None {
		f.IDs = []string{}
	}
	for _, id := range form.IDs {
		f.IDs = append(f.IDs, string(id))
	}
	if form.KeySet {
		key := string(form.Key)
		f.Key = &key
	}
	if form.Before != nil {
		f.Before = *form.Before
	}
	if form.After != nil {
		f.After = *form.After
	}
	return nil
}

// moment is t in UTC, or nil for no time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
