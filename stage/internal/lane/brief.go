package lane

import "sync"

// LockBriefly locks a mutex that is never held for long. It tries so many times before it waits: to put a goroutine to
// sleep and to wake it takes longer than the lock is held, and a sync.Mutex does it at once where others wait for the
// processor.
func LockBriefly(mu *sync.Mutex, tries int) {
	for range tries {
		if mu.TryLock() {
			return
		}
	}
	mu.Lock()
}
