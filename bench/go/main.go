// One operation of Go, measured. bench/README.md says what each of them
// measures. Those that need C are in ./cgo.
package main

import "bench/harness"

func main() {
	harness.Main(map[string]harness.Operation{
		"yield2":         {Run: yield, N: 2_000_000, G: 2},
		"yield1000":      {Run: yield, N: 2_000_000, G: 1000},
		"spawn_waves":    {Run: spawnWaves, N: 1_000_000, G: 1000},
		"spawn_million":  {Run: spawnMillion, N: 1_000_000, G: 0},
		"spawn_join":     {Run: spawnJoin, N: 1_000_000, G: 0},
		"pingpong":       {Run: pingpong, N: 1_000_000, G: 2},
		"buffered_1_1":   {Run: buffered, N: 4_000_000, G: 1},
		"buffered_4_4":   {Run: buffered, N: 4_000_000, G: 4},
		"select2_ready":  {Run: selectReady, N: 2_000_000, G: 2},
		"select4_ready":  {Run: selectReady, N: 2_000_000, G: 4},
		"select2_park":   {Run: selectPark, N: 1_000_000, G: 2},
		"select4_park":   {Run: selectPark, N: 1_000_000, G: 4},
		"mutex8":         {Run: mutex, N: 8_000_000, G: 8},
		"mutex8_yield":   {Run: mutexYield, N: 800_000, G: 8},
		"defer":          {Run: deferKnown, N: 5_000_000, G: 1},
		"defer10":        {Run: deferLoop, N: 500_000, G: 10},
		"panic_recover":  {Run: panicRecover, N: 200_000, G: 0},
		"skynet":         {Run: skynet, N: 1_000_000, G: 10},
		"parked_million": {Run: parkedMillion, N: 1_000_000, G: 0},
		"sleepers":       {Run: sleepers, N: 10, G: 100_000},
		"idle":           {Run: idle, N: 0, G: 0},
		"echo_server":    {Run: echoServer, N: 0, G: 0},
		"alloc16":        {Run: allocates[scan16](), N: 4_000_000},
		"alloc64":        {Run: allocates[scan64](), N: 4_000_000},
		"alloc1024":      {Run: allocates[scan1024](), N: 1_000_000},
		"noscan16":       {Run: allocates[noscan16](), N: 4_000_000},
		"noscan64":       {Run: allocates[noscan64](), N: 4_000_000},
		"noscan1024":     {Run: allocates[noscan1024](), N: 1_000_000},
		"trees18":        {Run: trees, N: 18},
		"gcbench":        {Run: gcbench, N: 18},
		"message_ring":   {Run: messageRing, N: 4_000_000},
		"message_chan":   {Run: messageChan, N: 2_000_000},
		"mark_nodes":     {Run: markNodes, N: 22},
		"mark_random":    {Run: markRandom, N: 3_700_000},
		"mark_records":   {Run: markRecords, N: 1_000_000},
		"rounds":         {Run: rounds, N: 100},
		"burst":          {Run: burst, N: 400},
		"gc_parked":      {Run: gcParked, N: 100_000},
	})
}
