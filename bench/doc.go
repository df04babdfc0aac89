// Bench measures runnel beside a bare channel and beside what its users would pick instead.
//
//	go run ./bench              every scenario, as a table
//	go run ./bench -only P1,P2  some of them
//	go run ./bench -json        the same for a program
//	go run ./bench -quick       under 40 s; exit code 1 when a promise is lost
//	go run ./bench -md          the page docs/BENCHMARKS.md
//	go run ./bench -svg FILE    how the cost grows with the number of keys
//
// Machines are shared and noisy, so a time says nothing. Every figure is a ratio: the two sides are
// measured in turn within one process, a ratio for each pair, and the median of the pairs is what
// counts. Before anything is timed, each side runs once with every event recorded, and a lost, doubled
// or overtaken event ends the run; when all is timed, runnel's own counters have to add up.
package main
