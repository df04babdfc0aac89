package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/runnel-go/runnel/event"
)

// Line is one line of the file, the payload of every event: so many pieces of one thing, sold or
// taken back on one invoice.
type Line struct {
	Number      int       `json:"line"` // in the file; the header is line 1
	ID          string    `json:"id"`   // a hash of the line's text: the data has no number of its own
	Invoice     string    `json:"invoice"`
	SKU         string    `json:"sku"`
	Description string    `json:"description"`
	Quantity    int       `json:"quantity"`
	At          time.Time `json:"at"`
	Price       Money     `json:"price"`
	Customer    string    `json:"customer"` // empty for a guest
	Country     string    `json:"country"`
}

// Lines is the one topic. The identity is the line's text, so a line that is in the file twice is one
// event sent twice.
var Lines = event.NewTopic("lines",
	event.KeyBy(Line.Key),
	event.IDBy(func(l Line) string { return l.ID }))

// Key is what the order of lines is kept by: the customer, or the invoice of a guest.
func (l Line) Key() string {
	if l.Customer == "" {
		return l.Invoice
	}
	return l.Customer
}

// Amount is what the line comes to.
func (l Line) Amount() Money { return l.Price.Times(l.Quantity) }

// header is the first line of the file.
const header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"

// The columns, in the order of the header.
const (
	colInvoice = iota
	colSKU
	colDescription
	colQuantity
	colDate
	colPrice
	colCustomer
	colCountry
	columns
)

const dateLayout = "2006-01-02 15:04:05"

// errNotText refuses what a letter's JSON could not give back.
var errNotText = errors.New("is not UTF-8 text")

// ParseLine reads one line, without its end. Number and ID are left to the caller. The fields are
// parts of text, which is not copied.
func ParseLine(text string) (Line, error) {
	if !utf8.ValidString(text) {
		return Line{}, errNotText
	}
	var f [columns]string
	if err := split(text, &f); err != nil {
		return Line{}, err
	}
	return readFields(&f)
}

func readFields(f *[columns]string) (Line, error) {
	l := Line{
		Invoice: f[colInvoice], SKU: f[colSKU], Description: f[colDescription],
		// The data holds customers as floating-point numbers.
		Customer: strings.TrimSuffix(f[colCustomer], ".0"),
		Country:  f[colCountry],
	}
	var err error
	if l.Quantity, err = parseQuantity(f[colQuantity]); err != nil {
		return Line{}, fmt.Errorf("column Quantity: %q %w", f[colQuantity], err)
	}
	if l.At, err = time.Parse(dateLayout, f[colDate]); err != nil {
		return Line{}, fmt.Errorf("column InvoiceDate: %q is no date like %s", f[colDate], dateLayout)
	}
	if l.Price, err = ParseMoney(f[colPrice]); err != nil {
		return Line{}, fmt.Errorf("column UnitPrice: %q %w", f[colPrice], err)
	}
	if err := l.check(); err != nil {
		return Line{}, err
	}
	return l, nil
}

func parseQuantity(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, errors.New("is no whole number")
	}
	if n > maxQuantity || n < -maxQuantity {
		return 0, errTooGreat
	}
	return n, nil
}

// check refuses a line that the pipeline could not file: what is a key has to be there, and short.
func (l *Line) check() error {
	switch {
	case l.Invoice == "":
		return errors.New("column InvoiceNo: is empty")
	case l.SKU == "":
		return errors.New("column StockCode: is empty")
	case max(len(l.Invoice), len(l.SKU), len(l.Customer)) > event.MaxTextBytes:
		return fmt.Errorf("a key has more than %d bytes", event.MaxTextBytes)
	}
	return nil
}
