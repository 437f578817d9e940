/* error.h - results and error objects.
 *
 * A result is what an await delivers. Its code is always a complete answer;
 * the error object behind it adds words, place, cause and context. An operation
 * of the program that fails has a code alone, so has a cancel, and a failure
 * for which there was no memory: whatever reads an error takes NULL too, as one
 * that says nothing. Objects are immutable once somebody else can see them, and
 * counted; they may outlive the task and the runtime that made them.
 */
#ifndef BELAY_ERROR_H
#define BELAY_ERROR_H

#include <belay/base.h>

BELAY_BEGIN_DECLS

typedef struct belay_error belay_error; /* opaque, counted */

/* What an operation, a function or a task ended with. */
struct belay_result {
    int code;       /* 0, or negative */
    bool cancelled; /* the runtime ended it; code is BELAY_ECANCELED */
    void *value;    /* of a success; what it points to is the callee's say */
    belay_error *error; /* words for a failure, or NULL */
};

/* Who asked for a cancellation, and why. */
enum belay_cancel_source {
    BELAY_CANCEL_NONE,     /* nobody has */
    BELAY_CANCEL_EXPLICIT, /* a cancel call of the program */
    BELAY_CANCEL_DEADLINE, /* the scope's deadline passed */
    BELAY_CANCEL_SIBLING,  /* another task of the group failed */
    BELAY_CANCEL_PARENT,   /* the body of the group failed or was left */
    BELAY_CANCEL_SHUTDOWN, /* the runtime is closing */
    BELAY_CANCEL_GRACE,    /* an exit took longer than its grace */
};

struct belay_cancel_reason {
    enum belay_cancel_source source;
    const char *text; /* as given to the cancel call, or "" */
    const char
        *task_name;   /* the task that asked, or "" (a deadline, the host) */
    uint64_t task_id; /* of that task, or 0 */
};

/**
 * belay_error_ref - keep an error object
 *
 *   error  NULL is legal and gives NULL
 *
 * Owner:   the caller has one reference more; give it to belay_error_unref().
 * Errors:  none.
 * Threads: loop thread of the runtime that made it; after that runtime is
 *          closed, any one thread.
 * Since:   0.1. Source: style.md 2.5.
 */
BELAY_API belay_error *belay_error_ref(belay_error *error);

/**
 * belay_error_unref - give a reference back
 *
 *   error  NULL is legal
 *
 * Owner:   the object, its cause, context and children are freed with the
 *          last reference.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: style.md 2.5.
 */
BELAY_API void belay_error_unref(belay_error *error);

/**
 * belay_error_code - the code that the error carries
 *
 *   error  NULL is legal and gives 0
 *
 * Owner:   the error stays the caller's.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: style.md 2.5.
 */
BELAY_API int belay_error_code(const belay_error *error);

/**
 * belay_error_message - one sentence: what failed first, what was concerned
 *
 *   error  NULL is legal and gives ""
 *
 * Owner:   text lives as long as the error.
 * Errors:  none; never NULL.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: git's error style.
 */
BELAY_API const char *belay_error_message(const belay_error *error);

/**
 * belay_error_task - the name of the task in which the error arose
 *
 *   error  NULL is legal and gives ""
 *
 * Owner:   text lives as long as the error; "" if no task was running.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: api.md, results and errors.
 */
BELAY_API const char *belay_error_task(const belay_error *error);

/**
 * belay_error_place - the source line that made the error
 *
 *   error     NULL is legal and gives "", line 0
 *   ret_line  NULL or where the line number goes; 0 if unknown
 *
 * Owner:   the file name is static text; "" if unknown.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: api.md, results and errors.
 */
BELAY_API const char *belay_error_place(
    const belay_error *error, int *ret_line);

/**
 * belay_error_foreign - the code of another system behind the error
 *
 *   error     NULL is legal and gives NULL
 *   ret_code  NULL or where that system's own code goes
 *
 * Owner:   the domain is static text ("HTTP", "curl", "system"); NULL if the
 *          error is Belay's own, then ret_code is untouched.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: style.md 2.5.
 */
BELAY_API const char *belay_error_foreign(
    const belay_error *error, int *ret_code);

/**
 * belay_error_cause - the error that led to this one
 *
 *   error  NULL is legal and gives NULL
 *
 * Owner:   lives as long as `error`; NULL if there is none.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: PEP 3134 (cause).
 */
BELAY_API belay_error *belay_error_cause(const belay_error *error);

/**
 * belay_error_context - what was in flight when the error arose
 *
 *   error  NULL is legal and gives NULL
 *
 * Owner:   lives as long as `error`; NULL if there is none.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: PEP 3134 (context); contract S77.
 */
BELAY_API belay_error *belay_error_context(const belay_error *error);

/**
 * belay_error_child - one failure of a group error
 *
 *   error  NULL is legal and gives NULL
 *   index  from 0, in the order in which the children ended
 *
 * Owner:   lives as long as `error`; NULL behind the last one.
 * Errors:  none.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: contract S49 (PEP 654).
 */
BELAY_API belay_error *belay_error_child(
    const belay_error *error, size_t index);

/**
 * belay_error_failures - how many failures a group error stands for
 *
 *   error  NULL is legal and gives 0
 *
 * Owner:   the error stays the caller's.
 * Errors:  none; 1 for an error that is not a group's. May be more than there
 *          are children, since only the first ones are kept whole.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: api.md, errors of large groups.
 */
BELAY_API size_t belay_error_failures(const belay_error *error);

/**
 * belay_error_more - failures of a group that have no object of their own
 *
 *   error      NULL is legal and gives 0
 *   index      from 0: one code after the other, as they came first
 *   ret_count  receives how many failures had that code; untouched if none
 *
 * Owner:   the error stays the caller's.
 * Errors:  none; returns a negative code, or 0 behind the last one. Eight
 *          codes are told apart; belay_error_failures() has every failure.
 * Threads: as belay_error_ref().
 * Since:   0.1. Source: api.md, errors of large groups.
 */
BELAY_API int belay_error_more(
    const belay_error *error, size_t index, size_t *ret_count);

/**
 * belay_error_format - an error with all that hangs below it, for people
 *
 *   error   NULL is legal: the text is empty
 *   buffer  at least `size` bytes; NULL is legal if size is 0
 *   size    in bytes; what does not fit is cut, the text always ends with NUL
 *
 * One line an error, below it and further in its children, its cause and its
 * context; at most 16 levels and 1000 errors. Control characters are escaped.
 *
 * Owner:   buffer and error stay the caller's.
 * Errors:  none; returns the length of the whole text without its NUL, as
 *          snprintf does.
 * Threads: as belay_error_ref(). Allocates nothing.
 * Since:   0.1. Source: api.md, results and errors.
 */
BELAY_API size_t belay_error_format(
    const belay_error *error, char *buffer, size_t size);

/**
 * belay_result_format - a result with its whole error tree as text for people
 *
 *   result  not NULL
 *   buffer  at least `size` bytes; NULL is legal if size is 0
 *   size    in bytes; what does not fit is cut, the text always ends with NUL
 *
 * A bare code is one line; an error is printed as belay_error_format() does.
 *
 * Owner:   buffer stays the caller's.
 * Errors:  none; returns the length of the whole text without its NUL, as
 *          snprintf does.
 * Threads: as belay_error_ref(). Allocates nothing.
 * Since:   0.1. Source: api.md, results and errors.
 */
BELAY_API size_t belay_result_format(
    const struct belay_result *result, char *buffer, size_t size);

BELAY_END_DECLS

#endif
