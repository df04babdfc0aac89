package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
)

// text is the summary for a reader.
func (s *summary) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s lines in %.2f s, %s lines a second through %d stages, of %d workers where they have no batches\n",
		s.Data, thousands(s.Rows), s.Seconds, thousands(s.Throughput), len(s.plan), s.Workers)
	s.writePlan(&b)
	s.writeStages(&b)
	s.writeLetters(&b)
	s.writeOutage(&b)
	s.writeRedrive(&b)
	s.writeLeft(&b)
	return b.String()
}

func (s *summary) writePlan(b *strings.Builder) {
	b.WriteString("\nWHAT EACH STAGE PROMISED\n\n")
	for line := range strings.Lines(s.plan.String()) {
		if line != "\n" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
}

func (s *summary) writeStages(b *strings.Builder) {
	b.WriteString("\nWHAT EACH STAGE DID\n\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	row := func(stage string, done uint64, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s done\t%s\n", stage, thousands(done), fmt.Sprintf(format, args...))
	}
	row(billingStage, s.Billing.Done, "%s customers owe %v; %s dead letters in %s sequences, of which %s were tried",
		thousands(s.Billing.Customers), s.Billing.Billed, thousands(s.Billing.Letters), thousands(s.Billing.Sequences),
		thousands(s.Billing.FailedCalls))
	row(inventoryStage, s.Inventory.Done, "%s units of %s things left the shop", thousands(s.Inventory.Units), thousands(s.Inventory.SKUs))
	row(analyticsStage, s.Analytics.Done, "revenue of %v in %d countries", s.Analytics.Revenue, s.Analytics.Countries)
	row(notifyStage, s.Notify.Done, "%s attempts failed, %s of them by a panic; all were repeated", thousands(s.Notify.Retried), thousands(s.Notify.Panics))
	t.Flush()
	fmt.Fprintf(b, "\n  %s duplicates dropped by each stage, %s malformed lines, %s lines out of order\n",
		thousands(s.Duplicates), thousands(s.Malformed), thousands(s.OutOfOrder))
}

func (s *summary) writeLetters(b *strings.Builder) {
	if len(s.Letters) == 0 {
		return
	}
	b.WriteString("\nDEAD LETTERS BY CAUSE\n\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  stage\tletters\tsequences\treason\terror\n")
	for _, g := range s.Letters {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", g.Stage, thousands(g.Letters), thousands(g.Sequences), g.Reason, g.Error)
	}
	t.Flush()
	fmt.Fprintf(b, "\n  They are in %s.\n", s.File)
}

func (s *summary) writeOutage(b *strings.Builder) {
	if s.Outage != nil {
		b.WriteString("\nTHE LETTERS' STORE FAILED\n\n" + s.Outage.text())
	}
}

func (s *summary) writeRedrive(b *strings.Builder) {
	if s.Redrive != nil {
		b.WriteString("\nREDRIVE, NOW THAT GUESTS ARE BILLED\n\n" + s.Redrive.text())
	}
}

func (r *redriveSummary) text() string {
	return fmt.Sprintf("  %v\n  %s guests owe %v\n", r.report, thousands(r.Guests), r.Billed)
}

func (s *summary) writeLeft(b *strings.Builder) {
	if !s.Interrupted {
		return
	}
	file := "the file was read to its end"
	if !s.Complete {
		file = "the rest of the file was not read"
	}
	fmt.Fprintf(b, "\nINTERRUPTED: %s; of the %s lines that were, %s were left undone\n",
		file, thousands(s.Rows), thousands(s.Left))
}

// thousands writes a number as 1,234,567.
func thousands[T int | int64 | uint64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
