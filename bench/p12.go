package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// sale is one line of the retail file.
type sale struct {
	Text     string // the whole line, which is its identity: a line that is there twice counts once
	Invoice  string
	SKU      string
	Customer string // empty for a guest
	Country  string
	Quantity int
	Pence    int64 // thousandths of a pound a piece
}

// account is whom a sale is billed to: the customer, or the invoice of a guest.
func (s *sale) account() string {
	if s.Customer == "" {
		return s.Invoice
	}
	return s.Customer
}

func (s *sale) amount() int64 { return s.Pence * int64(s.Quantity) }

const saleColumns = 8

// readSales calls yield for every line of the file. Both sides read it so.
func readSales(file []byte, yield func(*sale) error) error {
	r := csv.NewReader(bytes.NewReader(file))
	r.FieldsPerRecord = saleColumns
	if _, err := r.Read(); err != nil { // the header
		return err
	}
	var s sale
	for {
		before := r.InputOffset()
		f, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s = sale{
			Text:    string(bytes.TrimSpace(file[before:r.InputOffset()])),
			Invoice: f[0], SKU: f[1], Customer: strings.TrimSuffix(f[6], ".0"), Country: f[7],
		}
		if s.Quantity, err = strconv.Atoi(f[3]); err != nil {
			return err
		}
		price, err := strconv.ParseFloat(f[5], 64)
		if err != nil {
			return err
		}
		s.Pence = int64(price*1000 + 0.5)
		if _, err := time.Parse(time.DateTime, f[4]); err != nil {
			return err
		}
		if err := yield(&s); err != nil {
			return err
		}
	}
}

// sums is what came of the sales. Both sides have to find the same.
type sums struct {
	accounts  int
	owed      int64
	skus      int
	units     int
	countries int
	revenue   int64
	customers int
	notices   int
}

// retailFile finds the file and unpacks it.
func retailFile(c *config) ([]byte, string, error) {
	const month = "online-retail-2010-12.csv.gz"
	paths := []string{c.retail}
	if c.retail == "" {
		paths = []string{filepath.Join("examples", "retail", month), filepath.Join("..", "examples", "retail", month)}
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if errors.Is(err, os.ErrNotExist) && c.retail == "" {
			continue
		}
		if err == nil && bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
			b, err = unzip(b)
		}
		return b, filepath.Base(p), err
	}
	return nil, "", nil
}

func unzip(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// shop is one way of adding the sales up.
type shop func(read func(yield func(*sale) error) error) (sums, error)

// p12 adds a file of sales up in four stages.
func p12(c *config) (*report, error) {
	file, name, err := retailFile(c)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return &report{skipped: "the retail file is not here: run in the repository, or give -retail FILE"}, nil
	}
	var lines []sale
	if err := readSales(file, func(s *sale) error { lines = append(lines, *s); return nil }); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	fromFile := func(yield func(*sale) error) error { return readSales(file, yield) }
	fromLines := func(yield func(*sale) error) error {
		for i := range lines {
			if err := yield(&lines[i]); err != nil {
				return err
			}
		}
		return nil
	}
	r := &report{notes: []string{
		fmt.Sprintf("%s, %d lines, unpacked before. Both sides drop a line that is there twice; the standard chain with Idempotent is around all four stages. A stage of a topic that has its own lock and map for each key stands against a goroutine that has them alone.", name, len(lines)),
	}}
	for _, m := range []struct {
		what string
		goal goal
		read func(func(*sale) error) error
	}{{"from the CSV", atMost(1.5), fromFile}, {"from parsed lines", goal{}, fromLines}} {
		f, err := compareShops(c, m.read)
		if err != nil {
			return nil, err
		}
		f.what, f.goal = m.what, m.goal
		f.ns, f.base = f.ns/float64(len(lines)), f.base/float64(len(lines))
		f.allocs /= float64(len(lines))
		r.figures = append(r.figures, f)
	}
	return r, nil
}

func compareShops(c *config, read func(func(*sale) error) error) (figure, error) {
	var ratios, own, base, allocs []float64
	for range c.turns() {
		var found [2]sums
		var took [2]float64
		var made [2]uint64
		for i, s := range []shop{handWritten, runnelShop} {
			runtime.GC()
			before, begin := mallocs(), time.Now()
			var err error
			if found[i], err = s(read); err != nil {
				return figure{}, err
			}
			took[i] = float64(time.Since(begin))
			made[i] = mallocs() - before
		}
		if found[0] != found[1] {
			return figure{}, fmt.Errorf("the sums differ: by hand %+v, runnel %+v", found[0], found[1])
		}
		ratios, own, base = append(ratios, took[1]/took[0]), append(own, took[1]), append(base, took[0])
		allocs = append(allocs, float64(made[1])-float64(made[0]))
	}
	f := plainFigure("", goal{}, ratios)
	f.ns, f.base, f.allocs = median(own), median(base), median(allocs)
	return f.noted("allocations beyond those of the program by hand"), nil
}
