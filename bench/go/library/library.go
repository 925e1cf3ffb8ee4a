// The library that bench/raw/dlopen.c loads: goroutines in a program that
// knows nothing of them. Built with -buildmode=c-shared.
package main

import "C"

// first_result is what a goroutine sends: 42.
//
//export first_result
func first_result() C.int {
	results := make(chan C.int)
	go func() { results <- 42 }()
	return <-results
}

func main() {}
