package harness

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ProcStatus is a value of /proc/self/status, such as "VmRSS" in KiB.
func ProcStatus(key string) int {
	sum, found := sumOf("/proc/self/status", key+":")
	Check(found, "/proc/self/status has no "+key)
	return sum
}

// Switches is the number of context switches of all threads so far.
func Switches() (sum int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/status")
	for _, path := range tasks {
		n, _ := sumOf(path, "voluntary_ctxt_switches:")
		sum += n
	}
	return sum
}

// Adds up the values of the lines of a file whose keys end so.
func sumOf(path, key string) (sum int, found bool) {
	file, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && strings.HasSuffix(fields[0], key) {
			n, _ := strconv.Atoi(fields[1])
			sum += n
			found = true
		}
	}
	return sum, found
}
