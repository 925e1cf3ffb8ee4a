// A library of Go's, with Go's runtime beside ours.
package main

/*
typedef int (*callback)(void *arg, int value);
static int call(callback f, void *arg, int value) { return f(arg, value); }
*/
import "C"

import (
	"runtime"
	"sync"
	"unsafe"
)

// GoSum adds the numbers below n, with goroutines, a channel and garbage.
//
//export GoSum
func GoSum(n C.int) C.longlong {
	in := make(chan []int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := 0
	for i := 0; i < 4; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for part := range in {
				mu.Lock()
				sum += part[0]
				mu.Unlock()
			}
		}()
	}
	for i := 0; i < int(n); i++ {
		part := make([]int, 100)
		part[0] = i
		in <- part
	}
	close(in)
	wg.Wait()
	return C.longlong(sum)
}

// GoRecover has a fault in Go's code, which Go turns into a panic.
//
//export GoRecover
func GoRecover() (recovered C.int) {
	defer func() {
		if recover() != nil {
			recovered = 1
		}
	}()
	var p *[4]int
	p[1] = 1
	return 0
}

// GoCall has goroutines of Go's call a function of C's.
//
//export GoCall
func GoCall(f C.callback, arg unsafe.Pointer, n C.int) C.int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sum C.int
	for i := 0; i < int(n); i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			r := C.call(f, arg, C.int(i))
			mu.Lock()
			sum += r
			mu.Unlock()
		}(i)
	}
	wg.Wait()
	runtime.GC()
	return sum
}

// GoSpin is busy in Go's code, where Go's signals interrupt it.
//
//export GoSpin
func GoSpin(n C.int) C.int {
	x := C.int(1)
	done := make(chan bool)
	go func() {
		runtime.GC()
		done <- true
	}()
	for i := 0; i < int(n); i++ {
		x = x*3 + 1
	}
	<-done
	return x
}

func main() {}
