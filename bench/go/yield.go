package main

import (
	"runtime"
	"sync"
	"sync/atomic"

	"bench/harness"
)

// G goroutines that yield to one another, N times in all.
func yield() {
	harness.Measure(func(n int) {
		var ended sync.WaitGroup
		var yields atomic.Int64
		ended.Add(harness.G)
		for range harness.G {
			go func() {
				own := 0
				for range n / harness.G {
					runtime.Gosched()
					own++
				}
				yields.Add(int64(own))
				ended.Done()
			}()
		}
		ended.Wait()
		harness.Check(yields.Load() == int64(n), "number of yields")
	})
}
