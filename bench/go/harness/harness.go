// Package harness holds what the operations share: the command line, the
// measuring, the lines of the result.
package harness

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Missing is the exit status for an operation that is not here.
const Missing = 77

const enough = 300 * time.Millisecond

// Operation is how to run one, with its usual numbers.
type Operation struct {
	Run func()
	N   int // rounds
	G   int // goroutines
}

// N and G are what the command line says, or else the operation.
var N, G int

// Main runs what the command line names:
//
//	PROGRAM OPERATION WORKERS [n=ROUNDS] [g=GOROUTINES]
func Main(operations map[string]Operation) {
	if len(os.Args) < 3 {
		os.Exit(Missing)
	}
	operation, found := operations[os.Args[1]]
	if !found {
		os.Exit(Missing)
	}
	N, G = operation.N, operation.G
	for _, arg := range os.Args[3:] {
		setOption(arg)
	}
	runtime.GOMAXPROCS(number(os.Args[2]))
	operation.Run()
}

func setOption(arg string) {
	switch key, value, _ := strings.Cut(arg, "="); key {
	case "n":
		N = number(value)
	case "g":
		G = number(value)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	Check(err == nil, "not a number: "+text)
	return n
}

// Report prints a line of the result.
func Report(metric string, value float64) {
	fmt.Printf("%s\t%.10g\n", metric, value)
}

// Check ends the program unless ok: what was measured is not what was meant.
func Check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, "wrong:", what)
		os.Exit(1)
	}
}

// Skip ends the program: it does not have the operation with so many workers.
func Skip() {
	os.Exit(Missing)
}

// Measure reports how many ns a round takes: pass(n) does n of them. It is
// called with a tenth of N to warm up, and then with N until enough time is
// over.
func Measure(pass func(n int)) {
	pass(N / 10)
	rounds := 0
	start := time.Now()
	for time.Since(start) < enough {
		pass(N)
		rounds += N
	}
	Report("ns", PerRound(start, rounds))
}

// PerRound is the time since start, in ns, for each of n.
func PerRound(start time.Time, n int) float64 {
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}
