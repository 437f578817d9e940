/* basics.h - small tools of all files of runtime/ and scopes/ (private). */
#ifndef BELAY_RUNTIME_BASICS_H
#define BELAY_RUNTIME_BASICS_H

#include <assert.h>
#include <stddef.h>

#include <belay/base.h>

#define BELAY__CONTAINER(ptr, type, member) \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline size_t
belay__align16(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

/* For an interface that only reads but does not say so. */
static inline void *
belay__without_const(const void *ptr)
{
    union {
        const void *from;
        void *to;
    } pointer = {ptr};

    return pointer.to;
}

/* A broken contract: one line and abort, in release builds too. */
#define BELAY__REQUIRE(condition, ...)            \
    do {                                          \
        if (__builtin_expect(!(condition), 0)) {  \
            belay__broken(__func__, __VA_ARGS__); \
        }                                         \
    } while (0)

void belay__broken(const char *where, const char *format, ...)
    __attribute__((noreturn, cold)) BELAY_PRINTF(2, 3);

#endif
