package pipelinetest

import "github.com/runnel-go/runnel/stage"

// StageFaults is what Stage reports.
func StageFaults[T any](s *stage.Stage, c StageConfig[T]) []error { return stageFaults(s, c) }
