package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
)

// raw is bytes as JSON: a string where they are UTF-8, else {"base64": "…"}, so that every byte comes back.
type raw string

func (r raw) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(r)) {
		return json.Marshal(string(r))
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString([]byte(r))})
}

func (r *raw) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		*r = raw(text)
		return nil
	}
	var coded map[string]string
	if err := json.Unmarshal(data, &coded); err != nil || len(coded) != 1 {
		return fmt.Errorf(`%.40s is neither a string nor {"base64": "…"}`, data)
	}
	bytes, err := base64.StdEncoding.DecodeString(coded["base64"])
	*r = raw(bytes)
	return err
}

// stamp is a time as JSON; one whose year RFC 3339 has no room for is {"unix": seconds, "nanos": n}.
type stamp struct{ time.Time }

func (s stamp) MarshalJSON() ([]byte, error) {
	if y := s.Year(); y >= 0 && y <= 9999 {
		return s.Time.MarshalJSON()
	}
	return fmt.Appendf(nil, `{"unix":%d,"nanos":%d}`, s.Unix(), s.Nanosecond()), nil
}

func (s *stamp) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '{' {
		return s.Time.UnmarshalJSON(data)
	}
	var at struct{ Unix, Nanos int64 }
	err := json.Unmarshal(data, &at)
	s.Time = time.Unix(at.Unix, at.Nanos).UTC()
	return err
}

// letterJSON is a letter as it is printed, exported and imported.
type letterJSON struct {
	ID          string        `json:"id"`
	Stage       raw           `json:"stage"`
	Topic       raw           `json:"topic"`
	Key         raw           `json:"key"`
	Ordered     bool          `json:"ordered"`
	Holds       bool          `json:"holds"`
	EventID     raw           `json:"event_id"`
	GivenID     raw           `json:"given_id,omitempty"`
	Origin      uint64        `json:"origin,string"` // above what JavaScript's numbers carry
	TopicKey    raw           `json:"topic_key"`
	Seq         uint64        `json:"seq"`
	Time        stamp         `json:"time"`
	Header      [][2]raw      `json:"header,omitempty"` // pairs: a name may be no UTF-8
	Codec       raw           `json:"codec"`
	Payload     raw           `json:"payload"`
	Follower    bool          `json:"follower"`
	Reason      string        `json:"reason"`
	Error       raw           `json:"error"`
	ErrorType   raw           `json:"error_type"`
	Causes      []causeJSON   `json:"causes,omitempty"`
	Fingerprint raw           `json:"group"`
	Stack       raw           `json:"stack,omitempty"`
	Attempts    int           `json:"attempts"`
	History     []attemptJSON `json:"history,omitempty"`
	Redrives    int           `json:"redrives"`
	State       string        `json:"state"`
	DeadAt      time.Time     `json:"dead_at"`
	UpdatedAt   time.Time     `json:"updated_at"`
	Notes       []noteJSON    `json:"notes,omitempty"`
	Original    *raw          `json:"original_payload,omitempty"`
}

type causeJSON struct {
	Type raw `json:"type"`
	Text raw `json:"text"`
}

type attemptJSON struct {
	Number int       `json:"number"`
	At     time.Time `json:"at"`
	Error  raw       `json:"error"`
}

type noteJSON struct {
	At   time.Time `json:"at"`
	What raw       `json:"what"`
	Who  raw       `json:"who"`
	Why  raw       `json:"why"`
}

func toJSON(l *deadletter.Letter) letterJSON {
	j := letterJSON{
		ID: l.ID, Stage: raw(l.Stage), Topic: raw(l.Topic), Key: raw(l.Key), Ordered: l.Ordered, Holds: l.Holds,
		EventID: raw(l.EventID), GivenID: raw(l.GivenID), Origin: l.Origin, TopicKey: raw(l.TopicKey), Seq: l.Seq, Time: stamp{l.Time},
		Codec: raw(l.Codec), Payload: raw(l.Payload), Follower: l.Follower, Reason: string(l.Reason), Error: raw(l.Error),
		ErrorType: raw(l.ErrorType), Fingerprint: raw(l.Fingerprint), Stack: raw(l.Stack), Attempts: l.Attempts,
		Redrives: l.Redrives, State: string(l.State), DeadAt: l.DeadAt, UpdatedAt: l.UpdatedAt,
	}
	for _, name := range sortedKeys(l.Header) {
		j.Header = append(j.Header, [2]raw{raw(name), raw(l.Header[name])})
	}
	for _, c := range l.Causes {
		j.Causes = append(j.Causes, causeJSON{raw(c.Type), raw(c.Text)})
	}
	for _, h := range l.History {
		j.History = append(j.History, attemptJSON{h.Number, h.At, raw(h.Error)})
	}
	for _, n := range l.Notes {
		j.Notes = append(j.Notes, noteJSON{n.At, raw(n.What), raw(n.Who), raw(n.Why)})
	}
	if l.Original != nil {
		original := raw(l.Original)
		j.Original = &original
	}
	return j
}

func (j *letterJSON) letter() *deadletter.Letter {
	l := &deadletter.Letter{
		ID: j.ID, Stage: string(j.Stage), Topic: string(j.Topic), Key: string(j.Key), Ordered: j.Ordered, Holds: j.Holds,
		EventID: string(j.EventID), GivenID: string(j.GivenID), Origin: j.Origin, TopicKey: string(j.TopicKey), Seq: j.Seq, Time: j.Time.Time,
		Codec: string(j.Codec), Payload: []byte(j.Payload), Follower: j.Follower, Reason: deadletter.Reason(j.Reason), Error: string(j.Error),
		ErrorType: string(j.ErrorType), Fingerprint: string(j.Fingerprint), Stack: string(j.Stack), Attempts: j.Attempts,
		Redrives: j.Redrives, State: deadletter.State(j.State), DeadAt: j.DeadAt, UpdatedAt: j.UpdatedAt,
	}
	for _, pair := range j.Header {
		if l.Header == nil {
			l.Header = event.Header{}
		}
		l.Header[string(pair[0])] = string(pair[1])
	}
	for _, c := range j.Causes {
		l.Causes = append(l.Causes, deadletter.Cause{Type: string(c.Type), Text: string(c.Text)})
	}
	for _, h := range j.History {
		l.History = append(l.History, deadletter.Attempt{Number: h.Number, At: h.At, Error: string(h.Error)})
	}
	for _, n := range j.Notes {
		l.Notes = append(l.Notes, deadletter.Note{At: n.At, What: string(n.What), Who: string(n.Who), Why: string(n.Why)})
	}
	if j.Original != nil {
		l.Original = []byte(*j.Original)
	}
	return l
}
