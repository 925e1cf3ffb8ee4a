package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"bench/harness"
)

// CPU time of the process.
func cpu() time.Duration {
	var use syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	harness.Check(err == nil, "getrusage")
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

const live = 256

type scan16 struct {
	to *scan16
	n  int
}
type scan64 struct {
	to *scan64
	n  [7]int
}
type scan1024 struct {
	to *scan1024
	n  [127]int
}
type noscan16 [2]int
type noscan64 [8]int
type noscan1024 [128]int

var kept any

// Objects of which so many live at a time: CPU ns for each.
func allocates[T any]() func() {
	return func() {
		ring := new([live]*T)
		kept = ring
		pass := func(n int) {
			for i := range n {
				ring[i%live] = new(T)
			}
		}
		pass(harness.N / 10)
		made, start := 0, cpu()
		for cpu()-start < 300*time.Millisecond {
			pass(harness.N)
			made += harness.N
		}
		took := cpu() - start
		harness.Report("cpu_ns", float64(took.Nanoseconds())/float64(made))
	}
}

func reportTimes(wall time.Time, since time.Duration) {
	harness.Report("cpu_s", (cpu() - since).Seconds())
	harness.Report("s", time.Since(wall).Seconds())
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 2)}
	debug.ReadGCStats(&stats)
	if stats.NumGC > 0 {
		ms := stats.PauseTotal.Seconds() * 1e3
		harness.Report("pause_ms", ms/float64(stats.NumGC))
		harness.Report("longest_ms", stats.PauseQuantiles[1].Seconds()*1e3)
	}
}

type node struct{ left, right *node }

func bottomUp(depth int) *node {
	if depth == 0 {
		return new(node)
	}
	return &node{bottomUp(depth - 1), bottomUp(depth - 1)}
}

func (t *node) count() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

func sizeOfTree(depth int) int { return 2<<depth - 1 }

func trees() {
	wall, since := time.Now(), cpu()
	n := harness.N
	workers := runtime.GOMAXPROCS(0)
	harness.Check(bottomUp(n+1).count() == sizeOfTree(n+1), "nodes")
	longLived := bottomUp(n)
	var ended sync.WaitGroup
	for range workers {
		ended.Go(func() {
			for depth := 4; depth <= n; depth += 2 {
				for range 1 << (n - depth + 4) / workers {
					nodes := bottomUp(depth).count()
					harness.Check(nodes == sizeOfTree(depth), "nodes")
				}
			}
		})
	}
	ended.Wait()
	harness.Check(longLived.count() == sizeOfTree(n), "nodes that live long")
	reportTimes(wall, since)
}

type gcNode struct {
	left, right *gcNode
	i, j        int32
}

func makeTree(depth int) *gcNode {
	if depth <= 0 {
		return new(gcNode)
	}
	return &gcNode{left: makeTree(depth - 1), right: makeTree(depth - 1)}
}

func (t *gcNode) populate(depth int) {
	if depth > 0 {
		t.left, t.right = new(gcNode), new(gcNode)
		t.left.populate(depth - 1)
		t.right.populate(depth - 1)
	}
}

func (t *gcNode) count() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

func gcbench() {
	wall, since := time.Now(), cpu()
	n := harness.N
	kept = makeTree(n + 2)
	kept = nil
	longLived := new(gcNode)
	longLived.populate(n)
	array := make([]float64, 500000)
	for i := range array {
		array[i] = 1 / float64(i+1)
	}
	for depth := 4; depth <= n; depth += 2 {
		for range 2 * sizeOfTree(n+2) / sizeOfTree(depth) {
			t := new(gcNode)
			t.populate(depth)
			kept = t
		}
		for range 2 * sizeOfTree(n+2) / sizeOfTree(depth) {
			kept = makeTree(depth)
		}
	}
	harness.Check(array[1000] == 1.0/1001, "array")
	harness.Check(longLived.count() == sizeOfTree(n), "nodes")
	reportTimes(wall, since)
}

// CPU ms of a collection of what `root` keeps: the least of four.
func marks(root func() any) func() {
	return func() {
		percent := debug.SetGCPercent(-1)
		kept = root()
		debug.SetGCPercent(percent)
		least := time.Hour
		for range 4 {
			start := cpu()
			runtime.GC()
			least = min(least, cpu()-start)
		}
		harness.Report("cpu_ms", least.Seconds()*1e3)
	}
}

// Objects with random edges, which `edges` has.
func graph[T any](edges func(*T) []*T) any {
	all := make([]*T, harness.N)
	for i := range all {
		all[i] = new(T)
	}
	random := uint64(1)
	for _, object := range all {
		to := edges(object)
		for e := range to {
			random = random*6364136223846793005 + 1442695040888963407
			to[e] = all[(random>>33)%uint64(harness.N)]
		}
	}
	return all
}

type vertex struct {
	edges [5]*vertex
	n     [3]int
}

type record struct {
	edges [2]*record
	n     [30]int
}

var (
	markNodes  = marks(func() any { return bottomUp(harness.N) })
	markRandom = marks(func() any {
		return graph(func(v *vertex) []*vertex { return v.edges[:] })
	})
	markRecords = marks(func() any {
		return graph(func(r *record) []*record { return r.edges[:] })
	})
)

type message struct {
	about  *message
	number int
	rest   [6]int
}

const block, blocks = 256, 16

// What the two ends of a ring or a channel do at the same time, with two Ps.
func measureMessages(send func(), receive func() int) {
	if runtime.GOMAXPROCS(0) != 2 {
		harness.Skip()
	}
	start := cpu()
	go send()
	sum := receive()
	took := cpu() - start
	harness.Check(sum == harness.N*(harness.N-1)/2, "sum")
	harness.Report("cpu_ns", float64(took.Nanoseconds())/float64(harness.N))
}

func messageRing() {
	var ring [blocks][block]*message
	full, empty := make(chan struct{}, blocks), make(chan struct{}, blocks)
	for range blocks {
		empty <- struct{}{}
	}
	send := func() {
		for i := 0; i < harness.N; i += block {
			<-empty
			for j := range block {
				ring[i/block%blocks][j] = &message{number: i + j}
			}
			full <- struct{}{}
		}
	}
	measureMessages(send, func() (sum int) {
		for i := 0; i < harness.N; i += block {
			<-full
			for j := range block {
				sum += ring[i/block%blocks][j].number
				ring[i/block%blocks][j] = nil
			}
			empty <- struct{}{}
		}
		return sum
	})
}

func messageChan() {
	ch := make(chan *message, 128)
	send := func() {
		for i := range harness.N {
			ch <- &message{number: i}
		}
		close(ch)
	}
	measureMessages(send, func() (sum int) {
		for m := range ch {
			sum += m.number
		}
		return sum
	})
}

type item struct {
	next  *item
	value [6]int
	rest  []byte
}

// A list of n items in the place of the former one.
func work(n int) {
	var list *item
	for i := range n {
		list = &item{next: list, rest: make([]byte, i%8*16)}
	}
	kept = list
}

func residentMiB() float64 { return float64(harness.ProcStatus("VmRSS")) / 1024 }

func rounds() {
	var before, after float64
	for round := range harness.N {
		work(100000 + 10000*(round%5))
		now := residentMiB()
		if round >= 10 && round < 50 {
			before = max(before, now)
		}
		if round >= harness.N-40 {
			after = max(after, now)
		}
	}
	harness.Report("growth", after/before)
	harness.Report("MiB", after)
}

func burst() {
	work(1000)
	bare := residentMiB()
	peak := make(chan float64)
	go func() {
		all := make([]*[16]int, harness.N*(1<<20)/136)
		for i := range all {
			all[i] = new([16]int)
			all[i][6] = i
		}
		top := residentMiB()
		for i := range all {
			harness.Check(all[i][6] == i, "value")
		}
		peak <- top
	}()
	top := <-peak
	runtime.GC()
	for range 100 {
		if residentMiB() <= bare+float64(harness.N)/20 {
			break
		}
		work(1000)
		time.Sleep(50 * time.Millisecond)
	}
	harness.Report("left_MiB", residentMiB()-bare)
	harness.Report("peak_MiB", top-bare)
}

// The pause of one collection, and its CPU time.
func oneCollection(pause, cpuTime string) {
	var before, after debug.GCStats
	debug.ReadGCStats(&before)
	start := cpu()
	runtime.GC()
	harness.Report(cpuTime, (cpu()-start).Seconds()*1e3)
	debug.ReadGCStats(&after)
	harness.Report(pause, (after.PauseTotal-before.PauseTotal).Seconds()*1e3)
}

// Collections beside N goroutines that wait.
func gcParked() {
	work(1000)
	runtime.GC()
	oneCollection("bare_ms", "bare_cpu_ms")
	never := make(chan struct{})
	var ended sync.WaitGroup
	for range harness.N {
		ended.Go(func() { <-never })
	}
	time.Sleep(500 * time.Millisecond)
	oneCollection("first_ms", "first_cpu_ms")
	oneCollection("idle_ms", "idle_cpu_ms")
	close(never)
	ended.Wait()
}
