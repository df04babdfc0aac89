//go:build !race

package lane

const underRace = false
