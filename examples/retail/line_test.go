package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const good = `536477,22041,"RECORD FRAME 7"" SINGLE SIZE ",48,2010-12-01 12:27:00,2.1,16210.0,United Kingdom`

func TestParseLine(t *testing.T) {
	got, err := ParseLine(good)
	want := Line{
		Invoice: "536477", SKU: "22041", Description: `RECORD FRAME 7" SINGLE SIZE `, Quantity: 48,
		At: time.Date(2010, 12, 1, 12, 27, 0, 0, time.UTC), Price: 2100, Customer: "16210", Country: "United Kingdom",
	}
	if err != nil || got != want {
		t.Errorf("ParseLine = %+v, %v, want %+v", got, err, want)
	}
	if got.Key() != "16210" || got.Amount() != 100_800 {
		t.Errorf("Key, Amount = %s, %v, want 16210, 100.800", got.Key(), got.Amount())
	}
}

func TestParseLineOfAGuest(t *testing.T) {
	got, err := ParseLine(`C536379,D,,-1,2010-12-01 09:41:00,-27.5,,"a, b"`)
	if err != nil || got.Key() != "C536379" || got.Description != "" || got.Country != "a, b" || got.Amount() != 27_500 {
		t.Errorf("ParseLine = %+v, %v, want the key C536379, no description, a, b and 27.500", got, err)
	}
}

func TestParseLineSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      "1 columns",
		`a,b`:                                   "2 columns",
		good + ",":                              "more than 8",
		`"` + good:                              "text after the end",
		`a"b` + good:                            "column 1: a quote",
		good + `"`:                              "column 8: a quote",
		`1,2,"x,1,d,2.0,,UK`:                    "column 3: a quoted field is not closed",
		with(colInvoice, ""):                    "InvoiceNo: is empty",
		with(colSKU, ""):                        "StockCode: is empty",
		with(colQuantity, ""):                   `Quantity: "" is no whole number`,
		with(colQuantity, "1.5"):                `Quantity: "1.5" is no whole number`,
		with(colQuantity, "-1000001"):           "is too great",
		with(colDate, "2010-02-30 00:00:00"):    "InvoiceDate",
		with(colDate, "12/1/2010 8:26"):         "InvoiceDate",
		with(colPrice, "free"):                  `UnitPrice: "free" is no amount`,
		with(colPrice, "1000000.001"):           "is too great",
		with(colSKU, strings.Repeat("9", 2000)): "more than 1024 bytes",
		with(colDescription, "\xa35"):           "not UTF-8",
		with(colCustomer, strings.Repeat("1", 1025)):    "more than 1024 bytes",
		with(colQuantity, "99999999999999999999999999"): "no whole number",
	} {
		if _, err := ParseLine(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseLine(%.80q) = %v, want an error with %q", text, err, want)
		}
	}
}

// with is the good line with one column replaced.
func with(column int, value string) string {
	var f [columns]string
	if err := split(good, &f); err != nil {
		panic(err)
	}
	f[column] = value
	f[colDescription] = strings.ReplaceAll(f[colDescription], `"`, "")
	return strings.Join(f[:], ",")
}

func TestScannerReadsLines(t *testing.T) {
	long := strings.Repeat("x", 3*maxLineBytes)
	s := newScanner(strings.NewReader("\ufeff" + header + "\r\none\r\n\ntwo\n" + long + "\nlast"))
	if err := s.readHeader(); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		number int
		text   string
		long   bool
	}{{2, "one", false}, {3, "", false}, {4, "two", false}, {5, long[:maxLineBytes], true}, {6, "last", false}}
	ids := map[string]bool{}
	for _, w := range want {
		got, err := s.next()
		if err != nil || got.number != w.number || got.text != w.text || got.long != w.long {
			t.Errorf("next = %d %.20q %v, %v, want %d %.20q %v", got.number, got.text, got.long, err, w.number, w.text, w.long)
		}
		ids[got.id] = true
	}
	if _, err := s.next(); err == nil || len(ids) != len(want) {
		t.Errorf("after the last line: %v, %d identities; want an error and %d", err, len(ids), len(want))
	}
}

func TestLineSurvivesItsLetter(t *testing.T) {
	l, err := ParseLine(good)
	if err != nil {
		t.Fatal(err)
	}
	l.Number, l.ID = 7, "id"
	b, err := Lines.Codec().Encode(l)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Lines.Codec().Decode(b); err != nil || back != l {
		t.Errorf("Decode(Encode) = %+v, %v, want %+v", back, err, l)
	}
}

// FuzzParseLine takes encoding/csv for the truth about fields, and checks that what was parsed
// survives the way into a letter and back.
func FuzzParseLine(f *testing.F) {
	for _, text := range []string{
		good, "", ",,,,,,,", with(colCustomer, ""), with(colPrice, "-11062.06"), with(colQuantity, "-9360"),
		`536540,85071C,"CHARLIE+LOLA""EXTREMELY BUSY"" SIGN",6,2010-12-01 14:05:00,2.55,14911.0,EIRE`,
		`"1","2","3","4","5","6","7","8"`, `a"b,,,,,,,`, `"a"b,,,,,,,`, `"a,,,,,,,`, `"""",,,,,,,""`, "\xff,,,,,,,",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || strings.ContainsAny(text, "\r\n") {
			return // the scanner's affair
		}
		compareSplit(t, text)
		l, err := ParseLine(text)
		if err != nil {
			if l != (Line{}) {
				t.Errorf("ParseLine(%q) = %+v with %v", text, l, err)
			}
			return
		}
		compareJSON(t, l)
	})
}

func compareSplit(t *testing.T, text string) {
	t.Helper()
	var got [columns]string
	err := split(text, &got)
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = columns
	want, wantErr := r.Read()
	if (err == nil) != (wantErr == nil) {
		t.Errorf("split(%q) = %v, encoding/csv says %v", text, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got[:], want) {
		t.Errorf("split(%q) = %q, want %q", text, got, want)
	}
}

func compareJSON(t *testing.T, l Line) {
	t.Helper()
	b, err := json.Marshal(l)
	var back Line
	if err = errors.Join(err, json.Unmarshal(b, &back)); err != nil || back != l {
		t.Errorf("%+v came back as %+v, %v", l, back, err)
	}
	if !utf8.Valid(b) || l.Key() == "" {
		t.Errorf("%+v has no key or no text", l)
	}
}
