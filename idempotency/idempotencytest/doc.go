// Package idempotencytest checks that a store obeys the rules of idempotency.Store:
//
//	func TestConformance(t *testing.T) {
//		idempotencytest.Run(t, func(t *testing.T) idempotency.Store { return mystore.Open(t.TempDir()) })
//	}
package idempotencytest
