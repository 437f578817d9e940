// Tasks through three scopes, on Go; see ../../../w1.c. A suspension is
// runtime.Gosched(), a scope's exit a deferred call.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"

	"belay/bench/common"
)

var passages int64

func pass() {
	runtime.Gosched()
	atomic.AddInt64(&passages, 1)
}

func level(body func()) {
	pass()
	defer pass()
	body()
}

func work() {
	level(func() { level(func() { level(func() {}) }) })
}

func main() {
	tasks := common.Argument(1, 200000)
	slots := make(chan struct{}, common.Argument(2, 1000))
	var group sync.WaitGroup

	start := common.Now()
	for i := 0; i < tasks; i++ {
		slots <- struct{}{}
		group.Add(1)
		go func() {
			defer group.Done()
			work()
			<-slots
		}()
	}
	group.Wait()
	common.Report(tasks, start, common.Now(), passages, nil)
}
