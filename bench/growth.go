package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
)

// growthKeys are the numbers of keys that the cost is drawn over.
var growthKeys = []int{1, 10, 1000, 100_000, 1_000_000}

// curve is a line of the picture: a ratio for each number of keys.
type curve struct {
	name   string
	colour string
	dashed bool
	ratios []float64
}

// growth measures P2 over the numbers of keys, on one core and on two.
func growth(c *config, progress io.Writer) ([]curve, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var curves []curve
	for i, cores := range []int{1, 2} {
		colour := []string{"#b4451f", "#1f6fb4"}[i]
		unit := []string{"1 core", "2 cores"}[i]
		plain := curve{name: "P2, " + unit, colour: colour}
		idem := curve{name: "P2 with Idempotent, " + unit, colour: colour, dashed: true}
		runtime.GOMAXPROCS(cores)
		for _, n := range growthKeys {
			all, err := compare(c, chainWork(c, n), bare(1), keyedChain(), idempotentSide())
			if err != nil {
				return nil, fmt.Errorf("growth, %d keys on %s: %w", n, unit, err)
			}
			plain.ratios = append(plain.ratios, median(all[1].ratio))
			idem.ratios = append(idem.ratios, median(all[2].ratio))
			fmt.Fprintf(progress, "%s, %d keys: %s, with Idempotent %s\n", unit, n, short(median(all[1].ratio)), short(median(all[2].ratio)))
		}
		curves = append(curves, plain, idem)
	}
	return curves, nil
}

// The picture, in its own units.
const (
	svgWidth, svgHeight                 = 800, 440
	plotLeft, plotTop, plotW, plotH     = 64, 56, 480, 316
	svgInk, svgFaint, svgPaper, svgFont = "#222", "#d8d8d8", "#fff", "system-ui, sans-serif"
)

// writeGrowth draws the curves over a logarithmic axis of keys.
func writeGrowth(w io.Writer, curves []curve) {
	top := ceiling(curves)
	x := func(keys int) float64 {
		return plotLeft + plotW*math.Log10(float64(keys))/math.Log10(float64(growthKeys[len(growthKeys)-1]))
	}
	y := func(ratio float64) float64 { return plotTop + plotH*(1-ratio/top) }
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="%s" font-size="13" fill="%s" role="img" aria-label="The cost of an event over the number of keys">`+"\n",
		svgWidth, svgHeight, svgFont, svgInk)
	fmt.Fprintf(w, `<rect width="%d" height="%d" fill="%s"/>`+"\n", svgWidth, svgHeight, svgPaper)
	fmt.Fprintf(w, `<text x="%d" y="26" font-size="16" font-weight="600">The cost of an event over the number of keys</text>`+"\n", plotLeft)
	fmt.Fprintf(w, `<text x="%d" y="44" fill="#666">times a bare buffered channel; one stage per key with the standard chain</text>`+"\n", plotLeft)
	for _, v := range ticks(top) {
		fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/><text x="%d" y="%.1f" text-anchor="end">%s×</text>`+"\n",
			plotLeft, plotLeft+plotW, y(v), y(v), svgFaint, plotLeft-8, y(v)+4, short(v))
	}
	for _, k := range growthKeys {
		fmt.Fprintf(w, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(k), x(k), plotTop+plotH, plotTop+plotH+5, svgInk, x(k), plotTop+plotH+20, grouped(k))
	}
	fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s"/>`+"\n", plotLeft, plotLeft+plotW, plotTop+plotH, plotTop+plotH, svgInk)
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="middle">keys (logarithmic)</text>`+"\n", plotLeft+plotW/2, plotTop+plotH+44)
	for i, c := range curves {
		c.write(w, x, y, plotTop+20+i*24)
	}
	fmt.Fprintln(w, "</svg>")
}

// write draws a curve and its line of the legend.
func (c curve) write(w io.Writer, x func(int) float64, y func(float64) float64, legend int) {
	dash := ""
	if c.dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	var points []string
	for i, r := range c.ratios {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x(growthKeys[i]), y(r)))
	}
	fmt.Fprintf(w, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "), c.colour, dash)
	for i, r := range c.ratios {
		fmt.Fprintf(w, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s: %s keys, %s×</title></circle>`+"\n",
			x(growthKeys[i]), y(r), c.colour, c.name, grouped(growthKeys[i]), short(r))
	}
	const left = plotLeft + plotW + 20
	fmt.Fprintf(w, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d" font-size="11">%s</text>`+"\n",
		left, left+24, legend, legend, c.colour, dash, left+30, legend+4, c.name)
}

// ceiling is the top of the vertical axis.
func ceiling(curves []curve) float64 {
	most := 1.0
	for _, c := range curves {
		for _, r := range c.ratios {
			most = max(most, r)
		}
	}
	step := tickStep(most)
	return math.Ceil(most*1.05/step) * step
}

func tickStep(top float64) float64 {
	for _, s := range []float64{0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500} {
		if top/s <= 6 {
			return s
		}
	}
	return math.Ceil(top / 6)
}

func ticks(top float64) (all []float64) {
	for v := 0.0; v <= top+1e-9; v += tickStep(top) {
		all = append(all, v)
	}
	return all
}

// grouped writes 1,000,000.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
