package main

import (
	"sync"
	"time"

	"bench/harness"
)

// The wait group counts the runs: with one too few it would wait for ever,
// with one too many panic.
func wave(n int) {
	var ended sync.WaitGroup
	ended.Add(n)
	for range n {
		go ended.Done()
	}
	ended.Wait()
}

func spawnWaves() {
	harness.Measure(func(n int) {
		for range n / harness.G {
			wave(harness.G)
		}
	})
}

// The first million counts: later ones find the stacks of earlier ones.
func spawnMillion() {
	wave(1000)
	start := time.Now()
	wave(harness.N)
	harness.Report("ns", harness.PerRound(start, harness.N))
}

func spawnJoin() {
	harness.Measure(func(n int) {
		count := 0
		var ended sync.WaitGroup
		for range n {
			ended.Add(1)
			go func() {
				count++
				ended.Done()
			}()
			ended.Wait()
		}
		harness.Check(count == n, "number of runs")
	})
}
