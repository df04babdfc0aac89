package deadletter

// Leases counts the leases that m keeps.
func Leases(m *Memory) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.claims.of)
}
