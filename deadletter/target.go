package deadletter

import (
	"context"
	"errors"
)

// Target runs letters through their stage again: a pipeline.
type Target interface {
	// Redrive runs l in its key's own lane, through its stage's chain and no other, and returns when
	// it is settled. The stage's dead-letter middleware settles it in the store, in the same step in
	// which the lane goes on, with the claim that it is given: nil means that the letter was handled
	// and is gone. An error that wraps ErrInterrupted means that nothing was counted; any other is
	// the failure, recorded with the letter.
	Redrive(ctx context.Context, l Letter, c Claim) error
}

// Errors of a redrive.
var (
	// ErrInterrupted is a redrive that was cancelled, by its own context or by a shutdown: the letter
	// is at the head of its sequence as before.
	ErrInterrupted = errors.New("deadletter: the redrive was interrupted")
	// ErrNoStage is a letter whose stage the target does not have, or has without the dead-letter
	// middleware.
	ErrNoStage = errors.New("deadletter: the stage cannot take the letter")
)
