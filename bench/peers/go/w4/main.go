// A pool of slots, on Go; see ../../../w4.c. Asking and joining the queue are
// two steps here, so a small displacement is no fault.
package main

import (
	"runtime"
	"sort"
	"sync"

	"belay/bench/common"
)

type log struct {
	mutex      sync.Mutex
	asked      int
	order      []int
	waits      []int
	askedAfter []int
}

func (l *log) ask() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	request := l.asked
	l.askedAfter[request] = len(l.order)
	l.asked++
	return request
}

func (l *log) grant(request int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.waits = append(l.waits, len(l.order)-l.askedAfter[request])
	l.order = append(l.order, request)
}

func (l *log) more() map[string]any {
	outOfOrder, displaced := 0, 0
	for i, request := range l.order {
		if i > 0 && request < l.order[i-1] {
			outOfOrder++
		}
		if away := request - i; away > displaced {
			displaced = away
		} else if -away > displaced {
			displaced = -away
		}
	}
	sort.Ints(l.waits)
	return map[string]any{
		"wait_median":  l.waits[len(l.waits)/2],
		"wait_max":     l.waits[len(l.waits)-1],
		"out_of_order": outOfOrder, "displaced": displaced,
	}
}

func main() {
	tasks := common.Argument(1, 100000)
	slots := make(chan struct{}, common.Argument(2, 8))
	wave := common.Argument(3, tasks)
	l := &log{askedAfter: make([]int, tasks)}
	var group sync.WaitGroup

	start := common.Now()
	for i := 0; i < tasks; i++ {
		if i%wave == 0 {
			group.Wait()
		}
		group.Add(1)
		go func() {
			defer group.Done()
			request := l.ask()
			slots <- struct{}{}
			l.grant(request)
			runtime.Gosched()
			<-slots
		}()
	}
	group.Wait()
	end := common.Now()
	common.Report(tasks, start, end, int64(len(l.order)), l.more())
}
