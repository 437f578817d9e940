// Memory of parked tasks, then all of them cancelled, on Go; see
// ../../../w23.c.
package main

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

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

func sleeper(ctx context.Context, parked *sync.WaitGroup) {
	level(func() {
		level(func() {
			level(func() {
				timer := time.NewTimer(time.Hour)
				defer timer.Stop()
				parked.Done()
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			})
		})
	})
}

func main() {
	tasks := common.Argument(1, 100000)
	ctx, cancel := context.WithCancel(context.Background())
	var parked, group sync.WaitGroup

	resident := common.ResidentBytes()
	begin := common.Now()
	parked.Add(tasks)
	group.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			defer group.Done()
			sleeper(ctx, &parked)
		}()
	}
	parked.Wait()
	start := common.Now()
	more := map[string]any{
		"park_s": start.Since(begin),
		"rss_per_task": float64(common.ResidentBytes()-resident) /
			float64(tasks),
	}
	start = common.Now()
	cancel()
	group.Wait()
	common.Report(tasks, start, common.Now(), passages, more)
}
