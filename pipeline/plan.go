package pipeline

import (
	"strings"

	"github.com/runnel-go/runnel/stage"
)

// Plan is what each stage of a pipeline promises.
type Plan []stage.Plan

// String prints the plan, a paragraph a stage.
func (p Plan) String() string {
	var b strings.Builder
	for i, s := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s.String())
	}
	return b.String()
}
