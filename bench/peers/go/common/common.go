// Package common has what the Go programs share: the result line, and memory.
package common

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Argument is the index-th argument as a number.
func Argument(index, otherwise int) int {
	if len(os.Args) <= index {
		return otherwise
	}
	number, err := strconv.Atoi(os.Args[index])
	if err != nil {
		panic(err)
	}
	return number
}

// Moment is a point in a run.
type Moment struct {
	wall         time.Time
	user, system float64
}

func seconds(t syscall.Timeval) float64 {
	return float64(t.Sec) + float64(t.Usec)/1e6
}

// Now is where the run is.
func Now() Moment {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return Moment{time.Now(), seconds(usage.Utime), seconds(usage.Stime)}
}

// Since is the wall time from a moment to another, in seconds.
func (m Moment) Since(from Moment) float64 {
	return m.wall.Sub(from.wall).Seconds()
}

// ResidentBytes is the resident memory of this process.
func ResidentBytes() int {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, _ := strconv.Atoi(fields[1])
			return kib * 1024
		}
	}
	return 0
}

// Report prints the result line.
func Report(ops int, from, to Moment, check int64, more map[string]any) {
	result := map[string]any{
		"ops": ops, "elapsed_s": to.Since(from), "user_s": to.user - from.user,
		"sys_s": to.system - from.system, "check": check,
	}
	for key, value := range more {
		result[key] = value
	}
	line, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}
