package main

import (
	"bytes"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bench/harness"
)

// Sends the sum of the numbers of all leaves below.
func skynetNode(up chan<- int, first, leaves int) {
	if leaves == 1 {
		up <- first
		return
	}
	below := make(chan int)
	part := leaves / harness.G
	for i := range harness.G {
		go skynetNode(below, first+i*part, part)
	}
	sum := 0
	for range harness.G {
		sum += <-below
	}
	up <- sum
}

func skynetOf(leaves int) {
	top := make(chan int)
	go skynetNode(top, 0, leaves)
	harness.Check(<-top == leaves*(leaves-1)/2, "sum of the leaves")
}

func skynet() {
	skynetOf(harness.G * harness.G)
	start := time.Now()
	skynetOf(harness.N)
	harness.Report("s", time.Since(start).Seconds())
	harness.Report("MiB", float64(harness.ProcStatus("VmHWM"))/1024)
}

func memory() int { // KiB
	return harness.ProcStatus("VmRSS") + harness.ProcStatus("VmPTE")
}

func mappings() int {
	maps, err := os.ReadFile("/proc/self/maps")
	harness.Check(err == nil, "no /proc/self/maps")
	return bytes.Count(maps, []byte("\n"))
}

func parkedMillion() {
	never := make(chan struct{})
	var arrived, ended sync.WaitGroup
	kib, maps := memory(), mappings()
	arrived.Add(harness.N)
	ended.Add(harness.N)
	start := time.Now()
	for range harness.N {
		go func() {
			arrived.Done()
			_, ok := <-never
			harness.Check(!ok, "received")
			ended.Done()
		}()
	}
	arrived.Wait()
	harness.Report("ns", harness.PerRound(start, harness.N))
	bytes := float64(memory()-kib) * 1024 / float64(harness.N)
	harness.Report("bytes", bytes)
	harness.Report("mappings", float64(mappings()-maps))
	close(never)
	ended.Wait()
}

// Sleeps N times 10 to 100 ms, from a generator with a seed.
func sleeper(random uint64) (done int) {
	for range harness.N {
		random = random*6364136223846793005 + 1442695040888963407
		us := 10000 + (random>>33)%90000
		duration := time.Duration(us) * time.Microsecond
		start := time.Now()
		time.Sleep(duration)
		harness.Check(time.Since(start) >= duration, "woken too early")
		done++
	}
	return done
}

func sleepers() {
	before := cpuSeconds()
	var ended sync.WaitGroup
	var sleeps atomic.Int64
	for i := range harness.G {
		ended.Go(func() { sleeps.Add(int64(sleeper(uint64(i)))) })
	}
	ended.Wait()
	harness.Report("cpu_s", cpuSeconds()-before)
	want := harness.G * harness.N
	harness.Check(sleeps.Load() == int64(want), "number of sleeps")
}

func cpuSeconds() float64 {
	var use syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	harness.Check(err == nil, "getrusage")
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}
