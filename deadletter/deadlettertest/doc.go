// Package deadlettertest checks that a deadletter.Store obeys the rules of its interface, and stands in
// for a pipeline in tests of drains.
//
//	func TestStore(t *testing.T) {
//		deadlettertest.Run(t, func(t *testing.T) deadletter.Store { return open(t) })
//	}
package deadlettertest
