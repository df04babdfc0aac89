package main

import (
	"encoding/json"
	"testing"
)

func TestParseMoney(t *testing.T) {
	for text, want := range map[string]Money{
		"2.55": 2550, "7": 7000, "0.0": 0, "0.001": 1, "-11062.06": -11062060, "13541.33": 13541330,
		"38970.0": 38970000, "-0.05": -50, "1000000": 1_000_000_000, "007.5": 7500,
	} {
		if got, err := ParseMoney(text); err != nil || got != want {
			t.Errorf("ParseMoney(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "-", ".", "1.", ".5", "1.2345", "--1", "+1", "1,5", "1e3", "NaN", "0x10", " 1", "1 ", "1.-5", "1.2.3",
		"1000000.001", "9223372036854775808", "99999999999999999999999", "٣",
	} {
		if got, err := ParseMoney(text); err == nil {
			t.Errorf("ParseMoney(%q) = %d, want an error", text, got)
		}
	}
}

func TestMoneyString(t *testing.T) {
	for m, want := range map[Money]string{
		0: "0.000", 1: "0.001", -1: "-0.001", 50: "0.050", 2550: "2.550", -999: "-0.999",
		-11062060: "-11062.060", 552372860: "552372.860",
	} {
		if got := m.String(); got != want {
			t.Errorf("Money(%d) = %q, want %q", int64(m), got, want)
		}
	}
}

func TestMoneyTimes(t *testing.T) {
	for _, c := range []struct {
		price Money
		n     int
		want  string
	}{{2550, 6, "15.300"}, {1, 3, "0.003"}, {-11062060, 1, "-11062.060"}, {1950, -24, "-46.800"}, {-50, -2, "0.100"}, {9990, 0, "0.000"}} {
		if got := c.price.Times(c.n).String(); got != c.want {
			t.Errorf("%v × %d = %s, want %s", c.price, c.n, got, c.want)
		}
	}
	if greatest := Money(maxPrice).Times(maxQuantity); greatest <= 0 || greatest*9000 <= greatest {
		t.Errorf("9,000 of the greatest amount, %v, have no room", greatest)
	}
}

func TestMoneyIsTextInJSON(t *testing.T) {
	for _, m := range []Money{0, 1, -1, 552372860, -11062060, 1 << 55} {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back Money
		if err := json.Unmarshal(text, &back); err != nil || back != m {
			t.Errorf("Unmarshal(%s) = %v, %v, want %v", text, back, err, m)
		}
	}
	for _, text := range []string{`""`, `"1"`, `"1.00"`, `"x.000"`, `"1.0000"`} {
		var m Money
		if err := json.Unmarshal([]byte(text), &m); err == nil {
			t.Errorf("Unmarshal(%s) = %v, want an error", text, m)
		}
	}
}
