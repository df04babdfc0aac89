package main

import (
	"errors"
	"fmt"
	"strings"
)

var (
	errBareQuote = errors.New(`a quote inside a field that is not quoted`)
	errOpenQuote = errors.New(`a quoted field is not closed`)
	errPastQuote = errors.New(`text after the end of a quoted field`)
)

// split cuts one line of CSV into its fields, as encoding/csv does (FuzzParseLine compares them). A
// reader of encoding/csv for each line costs a copy and four allocations; most lines hold no quote and
// need neither.
func split(line string, fields *[columns]string) error {
	rest, more := line, true
	n := 0
	for ; more; n++ {
		if n == columns {
			return fmt.Errorf("more than %d columns", columns)
		}
		var err error
		if fields[n], rest, more, err = field(rest); err != nil {
			return fmt.Errorf("column %d: %w", n+1, err)
		}
	}
	if n != columns {
		return fmt.Errorf("%d columns, not %d", n, columns)
	}
	return nil
}

// field cuts off the first field; more tells whether a comma followed it.
func field(s string) (value, rest string, more bool, err error) {
	if strings.HasPrefix(s, `"`) {
		return quoted(s[1:])
	}
	value, rest, more = strings.Cut(s, ",")
	if strings.Contains(value, `"`) {
		return "", "", false, errBareQuote
	}
	return value, rest, more, nil
}

// quoted cuts off a field whose opening quote is gone already; two quotes in it stand for one.
func quoted(s string) (value, rest string, more bool, err error) {
	end := 0
	for {
		i := strings.IndexByte(s[end:], '"')
		if i < 0 {
			return "", "", false, errOpenQuote
		}
		end += i
		if !strings.HasPrefix(s[end+1:], `"`) {
			break
		}
		end += 2
	}
	value, rest = strings.ReplaceAll(s[:end], `""`, `"`), s[end+1:]
	if rest == "" {
		return value, "", false, nil
	}
	if rest[0] != ',' {
		return "", "", false, errPastQuote
	}
	return value, rest[1:], true, nil
}
