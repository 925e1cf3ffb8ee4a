// The operations of Go that need C: goroutines that block or burn in C, and C
// threads that start goroutines. Apart from the others, since cgo changes how
// the runtime makes its threads.
package main

// #include "host.h"
import "C"

import (
	"sync"
	"sync/atomic"
	"time"

	"bench/harness"
)

func main() {
	harness.Main(map[string]harness.Operation{
		"host_spawn_join": {Run: hostSpawnJoin, N: 10_000, G: 0},
		"stall_sleep":     {Run: stallSleep, N: 0, G: 0},
		"stall_burn":      {Run: stallBurn, N: 0, G: 0},
	})
}

var runs int

// spawn_join is called on a thread of C.
//
//export spawn_join
func spawn_join() {
	var ended sync.WaitGroup
	ended.Go(func() { runs++ })
	ended.Wait()
}

func hostSpawnJoin() {
	harness.Measure(func(n int) {
		runs = 0
		C.host(C.long(n))
		harness.Check(runs == n, "number of runs")
	})
}

// Reports the longest time that a sleep of 1 ms takes while blocker runs.
func stall(metric string, blocker func()) {
	var worst time.Duration
	var stop atomic.Bool
	var ended sync.WaitGroup
	ended.Go(func() {
		last := time.Now()
		for !stop.Load() {
			time.Sleep(time.Millisecond)
			now := time.Now()
			worst = max(worst, now.Sub(last))
			last = now
		}
	})
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	blocker()
	long := time.Since(start) >= time.Second
	harness.Check(long, "the blocker was too short")
	stop.Store(true)
	ended.Wait()
	harness.Report(metric, float64(worst.Nanoseconds())/1e6)
}

func stallSleep() {
	stall("ms", func() { C.sleep_in_c() })
}

func stallBurn() {
	stall("ms", func() { C.burn_in_c() })
	stall("go_ms", burn)
}

var sink int

func burn() {
	for start := time.Now(); time.Since(start) < time.Second; {
		for i := range 10000 {
			sink += i
		}
	}
}
