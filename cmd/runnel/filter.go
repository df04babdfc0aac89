package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

// filterFlags are the flags that choose letters.
type filterFlags struct {
	stage, topic, key, group string
	errorText, errorType     string
	reason                   string
	since, until             string
	states                   []string
	keyed                    func() bool // whether --key was given: an empty key is a key
}

func (f *filterFlags) add(a *app, c *cobra.Command) {
	s := c.Flags()
	choice(c, &f.stage, "stage", "letters of this `STAGE`")
	choice(c, &f.topic, "topic", "letters of this `TOPIC`")
	s.StringVar(&f.key, "key", "", "letters of this `KEY`")
	choice(c, &f.group, "group", "letters of the group with this `FINGERPRINT`")
	choice(c, &f.errorText, "error", "letters whose error has this `TEXT` in it")
	choice(c, &f.errorType, "error-type", "letters whose error is of this Go `TYPE`")
	choice(c, &f.reason, "reason", "letters with this `REASON`: exhausted, permanent, panic, timeout, undecodable or follows")
	choice(c, &f.since, "since", "letters that died at or after this `TIME`: 2h or 7d ago, a date, or RFC 3339")
	choice(c, &f.until, "until", "letters that died before this `TIME`")
	s.Func("state", "letters in these `STATES`: active, quarantined, discarded", func(given string) error {
		f.states = append(f.states, strings.Split(given, ",")...)
		return nil
	})
	f.keyed = func() bool { return s.Changed("key") }
	for flag, complete := range map[string]cobra.CompletionFunc{
		"reason": cobra.FixedCompletions(reasons(), cobra.ShellCompDirectiveNoFileComp),
		"state":  cobra.FixedCompletions(states(), cobra.ShellCompDirectiveNoFileComp),
		"stage":  a.ofGroups(func(g deadletter.Group) (string, string) { return g.Stage, "" }),
		"group":  a.ofGroups(func(g deadletter.Group) (string, string) { return g.Fingerprint, g.Stage + ": " + g.Error }),
	} {
		// The error is of a flag that does not exist.
		_ = c.RegisterFlagCompletionFunc(flag, complete)
	}
}

// choice adds a flag that chooses letters. An empty one, as of a variable that is not set, would choose everything.
func choice(c *cobra.Command, value *string, name, usage string) {
	c.Flags().Func(name, usage, func(given string) error {
		if given == "" {
			return errors.New("give it a value, or leave it out")
		}
		*value = given
		return nil
	})
}

func reasons() []string {
	var all []string
	for _, r := range []deadletter.Reason{
		deadletter.Exhausted, deadletter.Permanent, deadletter.Panicked, deadletter.TimedOut, deadletter.Undecodable, deadletter.Follows,
	} {
		all = append(all, string(r))
	}
	return all
}

func states() []string {
	return []string{string(deadletter.Active), string(deadletter.Quarantined), string(deadletter.Discarded)}
}

// empty reports whether the flags choose everything.
func (f *filterFlags) empty() bool {
	return f.stage+f.topic+f.group+f.errorText+f.errorType+f.reason+f.since+f.until == "" && !f.keyed() && len(f.states) == 0
}

// filter makes the filter; ids, if any, are part of it.
func (f *filterFlags) filter(ids []string, now time.Time) (deadletter.Filter, error) {
	out := deadletter.Filter{
		Stage: f.stage, Topic: f.topic, Fingerprint: f.group, ErrorText: f.errorText, ErrorType: f.errorType,
		Reason: deadletter.Reason(f.reason),
	}
	if len(ids) > 0 {
		out.IDs = ids
	}
	if f.keyed() {
		out.Key = &f.key
	}
	if f.reason != "" {
		if err := oneOf("--reason", f.reason, reasons()); err != nil {
			return out, err
		}
	}
	for _, s := range f.states {
		if err := oneOf("--state", s, states()); err != nil {
			return out, err
		}
		out.States = append(out.States, deadletter.State(s))
	}
	var err error
	if out.After, err = parseTime("--since", f.since, now); err != nil {
		return out, err
	}
	out.Before, err = parseTime("--until", f.until, now)
	return out, err
}

func oneOf(flag, value string, known []string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return misuse("%s %q: give one of %s", flag, value, strings.Join(known, ", "))
}

// parseTime reads a time, or how long ago it was.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := parseAge(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil && !t.IsZero() { // zero: no bound
			return t, nil
		}
	}
	return time.Time{}, misuse("%s %q: give an age such as 90m, 2h or 7d, a date such as 2026-01-31, or a time as RFC 3339 has it", flag, text)
}

// parseAge reads a duration that may be counted in days.
func parseAge(text string) (time.Duration, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 100_000) { // NaN is neither
			return 0, fmt.Errorf("%q is no number of days", text)
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is negative", text)
	}
	return d, err
}

// count is how many letters match.
func count(ctx context.Context, s store, f deadletter.Filter) (letters, sequences int, err error) {
	groups, err := s.Groups(ctx, f)
	for _, g := range groups {
		letters += g.Letters
		sequences += g.Sequences
	}
	return letters, sequences, err
}
