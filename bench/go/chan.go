package main

import (
	"sync"
	"sync/atomic"

	"bench/harness"
)

const capacity = 128

// The sum of 1 to n.
func triangle(n int) int {
	return n * (n + 1) / 2
}

func pingpong() {
	there, back := make(chan int), make(chan int)
	harness.Measure(func(n int) {
		go func() {
			for range n {
				back <- <-there + 1
			}
		}()
		x := 0
		for range n {
			there <- x
			x = <-back
		}
		harness.Check(x == n, "number of round trips")
	})
}

// G senders and G receivers, one channel.
func buffered() {
	ch := make(chan int, capacity)
	harness.Measure(func(n int) {
		each := n / harness.G
		var ended sync.WaitGroup
		var sum atomic.Int64
		for range harness.G {
			ended.Go(func() {
				own := 0
				for range each {
					own += <-ch
				}
				sum.Add(int64(own))
			})
			ended.Go(func() {
				for x := each; x > 0; x-- {
					ch <- x
				}
			})
		}
		ended.Wait()
		want := harness.G * triangle(each)
		harness.Check(sum.Load() == int64(want), "sum of the elements")
	})
}

// What is received from a channel goes back into it, one more.
func selectReady() {
	chans := makeChans(1)
	a, b, c, d := chans[0], chans[1], chans[2], chans[3]
	harness.Measure(func(n int) {
		for _, ch := range chans[:harness.G] {
			ch <- 0
		}
		if harness.G == 2 {
			for range n {
				select {
				case x := <-a:
					a <- x + 1
				case x := <-b:
					b <- x + 1
				}
			}
		} else {
			for range n {
				select {
				case x := <-a:
					a <- x + 1
				case x := <-b:
					b <- x + 1
				case x := <-c:
					c <- x + 1
				case x := <-d:
					d <- x + 1
				}
			}
		}
		total := 0
		for _, ch := range chans[:harness.G] {
			total += <-ch
		}
		harness.Check(total == n, "number of selects")
	})
}

func selectPark() {
	chans := makeChans(0)
	harness.Measure(func(n int) {
		each := n / harness.G
		for _, ch := range chans[:harness.G] {
			go func() {
				for x := each; x > 0; x-- {
					ch <- x
				}
			}()
		}
		total := receiveAny(chans, n)
		want := harness.G * triangle(each)
		harness.Check(total == want, "sum of the elements")
	})
}

// The sum of n elements, each of any of the first G channels.
func receiveAny(chans [4]chan int, n int) (total int) {
	a, b, c, d := chans[0], chans[1], chans[2], chans[3]
	if harness.G == 2 {
		for range n {
			select {
			case x := <-a:
				total += x
			case x := <-b:
				total += x
			}
		}
		return total
	}
	for range n {
		select {
		case x := <-a:
			total += x
		case x := <-b:
			total += x
		case x := <-c:
			total += x
		case x := <-d:
			total += x
		}
	}
	return total
}

func makeChans(capacity int) (chans [4]chan int) {
	for i := range chans {
		chans[i] = make(chan int, capacity)
	}
	return chans
}
