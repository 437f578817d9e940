/* belay.h - everything of the runtime and the scopes, but <belay/uv.h>. */
#ifndef BELAY_BELAY_H
#define BELAY_BELAY_H

#include <belay/async.h>
#include <belay/blocking.h>
#include <belay/context.h>
#include <belay/group.h>
#include <belay/hold.h>
#include <belay/limiter.h>
#include <belay/lock.h>
#include <belay/managers.h>
#include <belay/observe.h>
#include <belay/process.h>
#include <belay/runtime.h>
#include <belay/stack.h>
#include <belay/stream.h>
#include <belay/sync.h>
#include <belay/timeout.h>

#endif
