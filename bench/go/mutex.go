package main

import (
	"runtime"
	"sync"

	"bench/harness"
)

// G goroutines and one mutex, locked N times in all.
func mutex() {
	harness.Measure(func(n int) {
		var lock sync.Mutex
		var ended sync.WaitGroup
		counter := 0
		for range harness.G {
			ended.Go(func() {
				for range n / harness.G {
					lock.Lock()
					counter++
					lock.Unlock()
				}
			})
		}
		ended.Wait()
		harness.Check(counter == n, "the counter")
	})
}

func mutexYield() {
	harness.Measure(func(n int) {
		var lock sync.Mutex
		var ended sync.WaitGroup
		counter := 0
		for range harness.G {
			ended.Go(func() {
				for range n / harness.G {
					lock.Lock()
					counter++
					runtime.Gosched()
					lock.Unlock()
				}
			})
		}
		ended.Wait()
		harness.Check(counter == n, "the counter")
	})
}
