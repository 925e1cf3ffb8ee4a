package main

import "bench/harness"

var count int

//go:noinline
func increment() {
	count++
}

//go:noinline
func deferOne() {
	defer increment()
}

//go:noinline
func deferMany() {
	for range harness.G {
		defer increment()
	}
}

func measureCalls(call func()) {
	harness.Measure(func(n int) {
		count = 0
		for range n {
			call()
		}
		harness.Check(count == n*harness.G, "number of calls")
	})
}

// One that the compiler knows of is a plain call at the end.
func deferKnown() {
	measureCalls(deferOne)
}

func deferLoop() {
	measureCalls(deferMany)
}

//go:noinline
func recovers() {
	if recover() != nil {
		count++
	}
}

//go:noinline
func panics() {
	defer recovers()
	panic("measured")
}

func panicRecover() {
	harness.Measure(func(n int) {
		count = 0
		for range n {
			panics()
		}
		harness.Check(count == n, "number of panics")
	})
}
