package main

import (
	"errors"
	"strconv"
	"strings"
)

// Money is an amount in thousandths of a pound: prices in the data have up to three decimals, and
// integers add up the same in any order.
type Money int64

const (
	thousandths = 1000
	decimals    = 3
	// maxPrice and maxQuantity bound what one line may say, at 25 times what the data holds: an
	// amount is then at most 10^15, and a sum has room for 9,000 of the greatest.
	maxPrice    = 1_000_000 * thousandths
	maxQuantity = 1_000_000
)

var (
	errNoPrice  = errors.New("is no amount with up to three decimals")
	errTooGreat = errors.New("is too great")
)

// ParseMoney reads an amount such as "2.55", "-11062.06" or "7": digits, at most one point, and no
// more than three decimals.
func ParseMoney(s string) (Money, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || (point && fraction == "") || len(fraction) > decimals {
		return 0, errNoPrice
	}
	if len(whole) > 12 {
		return 0, errTooGreat
	}
	n, ok := parseDigits(whole + fraction + "000"[len(fraction):])
	switch {
	case !ok:
		return 0, errNoPrice
	case n > maxPrice:
		return 0, errTooGreat
	case negative:
		n = -n
	}
	return Money(n), nil
}

// parseDigits reads at most 18 digits and nothing else: strconv would take a sign as well.
func parseDigits(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// Times is the amount of n pieces.
func (m Money) Times(n int) Money { return m * Money(n) }

// String writes the amount with three decimals: "552372.860".
func (m Money) String() string { return string(m.append(nil)) }

// MarshalText writes the amount as String does: in JSON it is a text, which no reader rounds.
func (m Money) MarshalText() ([]byte, error) { return m.append(nil), nil }

// UnmarshalText reads what MarshalText wrote. It takes sums, which ParseMoney finds too great.
func (m *Money) UnmarshalText(text []byte) error {
	digits, negative := strings.CutPrefix(string(text), "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole == "" || len(fraction) != decimals || len(whole) > 15 {
		return errNoPrice
	}
	n, ok := parseDigits(whole + fraction)
	if !ok {
		return errNoPrice
	}
	if negative {
		n = -n
	}
	*m = Money(n)
	return nil
}

func (m Money) append(b []byte) []byte {
	if m < 0 {
		b = append(b, '-')
		m = -m
	}
	b = strconv.AppendInt(b, int64(m/thousandths), 10)
	rest := strconv.Itoa(int(m % thousandths))
	b = append(b, '.')
	b = append(b, "000"[len(rest):]...)
	return append(b, rest...)
}
