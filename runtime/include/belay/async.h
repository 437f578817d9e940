/* async.h - macros that make steps read like straight-line code.
 *
 * A thin layer: every macro is a `return` of a token from task.h and a case
 * label behind it. What must survive a suspension lives in `self`; plain
 * locals do not. An await inside a switch of your own is not possible (its
 * case label would belong to that switch): the program aborts and says so.
 * Two awaits on one line do not compile. The technique is Simon Tatham's
 * ("Coroutines in C", "Metaprogramming custom control structures in C").
 */
#ifndef BELAY_ASYNC_H
#define BELAY_ASYNC_H

#include <belay/task.h>

BELAY_BEGIN_DECLS

/* The end of every frame's header, just before `self`; for the macros. */
struct belay__resume {
    uint32_t flags; /* the runtime's */
    int32_t line;   /* 0 at first, else the line of the await gone on from */
};

static inline struct belay__resume *
belay__resume_of(void *self)
{
    return (struct belay__resume *)self - 1;
}

/* Tokens that the macros have to know. */
enum {
    BELAY__TOKEN_WAIT = 1, /* also of an operation that was refused */
    BELAY__TOKEN_ENTER = 4,
    BELAY__TOKEN_IN_BLOCK = 16, /* more than that of what a block begins with */
};

/* Room for the arguments of a manager that is about to be entered, in its
 * frame. NULL: there is none, and the token is that of a refusal.
 */
BELAY_API void *belay__enter_room(
    belay_task *task, const belay_manager *manager);

BELAY_API void belay__lost_line(belay_task *task, const char *file)
    __attribute__((noreturn, cold));

static inline BELAY_TOKEN
belay__entering(bool there_is_room)
{
    belay_next next = {
        there_is_room ? (int)BELAY__TOKEN_ENTER : (int)BELAY__TOKEN_WAIT};

    return next;
}

/* A block begins: that of the line that was noted, if it is entered. */
static inline belay_next
belay__in_block(belay_next enter)
{
    enter.how += BELAY__TOKEN_IN_BLOCK;
    return enter;
}

/* Defines async function `name` whose arguments and locals are `struct name`;
 * a body in braces follows, with `task` and `self` in sight:
 *
 *     struct greet { const char *whom; };
 *     BELAY_ASYNC(greet)
 *     {
 *         BELAY_BEGIN;
 *         BELAY_AWAIT(belay_sleep(task, belay_seconds(1)));
 *         printf("hello %s\n", self->whom);
 *         BELAY_END;
 *     }
 */
#define BELAY_ASYNC(name) BELAY_ASYNC_SIZED(name, 0)

/* The same with a hint for belay_function.reserve_bytes: a task made for it
 * has so many bytes for what it calls and opens, all in one block of memory.
 */
#define BELAY_ASYNC_SIZED(name, bytes)                                \
    BELAY__STEP(name)                                                 \
    static const belay_function name = {                              \
        #name, __FILE__, sizeof(struct name), name##__step, (bytes)}; \
    BELAY__BODY(name)

/* For that hint: what a call takes until it ends, and a manager until it is
 * left, whose argument struct has this type; one in generator style takes 32
 * bytes more.
 */
#define BELAY_CALL_BYTES(type) (48 + (sizeof(type) + 15) / 16 * 16)
#define BELAY_ENTER_BYTES(type) BELAY_CALL_BYTES(type)

/* The same for a manager in generator style: the body yields once. */
#define BELAY_MANAGER(name)                                             \
    BELAY__STEP(name)                                                   \
    static const belay_manager name = {                                 \
        {#name, __FILE__, sizeof(struct name), name##__step, 0}, NULL}; \
    BELAY__BODY(name)

#define BELAY__STEP(name)                                                \
    static belay_next name##__body(belay_task *task, struct name *self); \
    static belay_next name##__step(belay_task *task, void *self)         \
    {                                                                    \
        return name##__body(task, (struct name *)self);                  \
    }
#define BELAY__BODY(name) \
    static belay_next name##__body(belay_task *task, struct name *self)

/* Name a function or a manager before it is defined further down. */
#define BELAY_ASYNC_DECLARE(name) static const belay_function name
#define BELAY_MANAGER_DECLARE(name) static const belay_manager name

/* First and last statement of a body. Reaching the end is a plain return. */
#define BELAY_BEGIN                         \
    switch (belay__resume_of(self)->line) { \
    case 0:

#define BELAY_END                         \
    return belay_return(task, NULL);      \
    default:                              \
        belay__lost_line(task, __FILE__); \
        }

/* Wait for an operation; if it fails, the frame ends with its failure. */
#define BELAY_AWAIT(op)                     \
    do {                                    \
        BELAY_TRY(op);                      \
        if (belay_result(task)->code < 0) { \
            return belay_pass(task);        \
        }                                   \
    } while (0)

/* Wait for an operation; look at belay_result(task) for how it ended. */
#define BELAY_TRY(op)                            \
    do {                                         \
        belay__resume_of(self)->line = __LINE__; \
        return (op);                             \
    case __LINE__:;                              \
    } while (0)

/* In a generator manager: the body runs here; its failure is passed on. */
#define BELAY_YIELD(value) BELAY_AWAIT(belay_yield(task, (value)))

/* In a generator manager: look at belay_result(task) for the outcome. */
#define BELAY_TRY_YIELD(value) BELAY_TRY(belay_yield(task, (value)))

/* Fail the frame if a plain call returned a negative code. */
#define BELAY_CHECK(call)                                                \
    do {                                                                 \
        int belay__code = (call);                                        \
        if (belay__code < 0) {                                           \
            return belay_fail(task, belay__code, "%s failed: %s", #call, \
                belay_code_text(belay__code));                           \
        }                                                                \
    } while (0)

#define BELAY_RETURN(value) return belay_return(task, (value))
#define BELAY_FAIL(...) return belay_fail(task, __VA_ARGS__)

/* Call an async function: BELAY_CALL(greet, .whom = "world"), a token. */
#define BELAY_CALL(name, ...) \
    belay_call(task, &(name), &(const struct name){__VA_ARGS__})

/* Open a manager: BELAY_ENTER(database, .path = p), an enter token. The frame
 * is made before the arguments are looked at, and they are written into it: so
 * they must not leave the step, and without memory nobody looks at them.
 */
#define BELAY_ENTER(name, ...)                                               \
    __extension__({                                                          \
        void *belay__room = belay__enter_room(task, &(name));                \
        if (belay__room != NULL) {                                           \
            __builtin_memcpy(belay__room, &(const struct name){__VA_ARGS__}, \
                sizeof(struct name));                                        \
        }                                                                    \
        belay__entering(belay__room != NULL);                                \
    })

/* BELAY_WITH (enter) { block }
 *
 * Enter, then run the block; however it is left (its end, break, continue,
 * return, a failing await), the exit runs. One statement, like while. How it
 * works: the first pass comes no further than the first loop's first part,
 * which returns the token; once entered, control comes back to `case line` and
 * so into the innermost loop. Falling out of the block and `continue` reach
 * that loop's third part, `break` the one of the loop round it; both return
 * belay_leave(). When the exit is done, control comes back to `case -line`, a
 * loop of no rounds, and goes on behind the block. Loops only, since an if with
 * an else is taken amiss (-Wdangling-else) behind an if without braces.
 */
#define BELAY_WITH(enter) BELAY__WITH(enter, __LINE__)
#define BELAY__WITH(enter, line_) BELAY__WITH_(enter, line_)
#define BELAY__WITH_(enter, line_)                                \
    for (__extension__({                                          \
             belay__resume_of(self)->line = line_;                \
             return belay__in_block(enter);                       \
         });                                                      \
         0;)                                                      \
    case -line_:                                                  \
        for (; 0; __extension__({ return belay_leave(task); }))   \
            for (;; __extension__({ return belay_leave(task); })) \
            case line_:

BELAY_END_DECLS

#endif
