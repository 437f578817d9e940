/* interpret.h - what the files of the interpreter share.
 *
 * A program is a list of operations that name each other by their index; one
 * array for each kind of thing that programs use, since a process runs one
 * program at a time. No operation runs twice, so what an operation needs may
 * lie in an array by its id or its index too.
 */
#ifndef BELAY_TEST_MODEL_INTERPRET_H
#define BELAY_TEST_MODEL_INTERPRET_H

#include <belay/belay.h>

#define OPS_MAX 4096
#define SLOTS 64
#define NO_SLOT 63 /* of what nobody can aim at */
#define DEPTH 24   /* of blocks in a frame */
#define ARGS 6
#define MANY 1000000 /* steps a turn: as many as there are */
#define FOREVER_MS 1000000000
#define JANITOR_MS 10000 /* from then on nobody waits for long */
#define TOKENS_MANY 1000 /* are there from then on */
#define NS_PER_MS 1000000
#define EVENTS 4
#define SEMAPHORES 3
#define LOCKS 4
#define CONDITIONS 3
#define LIMITERS 2
#define CHANNELS 2
#define VARS 3
#define OBSERVERS 2
#define CELLS 3

/* In the order of language.py, which tells the arguments of each. */
enum kind {
    OP_SLEEP,
    OP_CHECK,
    OP_WAIT,
    OP_ACQUIRE,
    OP_CALL,
    OP_JOIN,
    OP_YIELD,
    OP_PUT,
    OP_CLOSE,
    OP_START,
    OP_HOLD,
    OP_SHUT,
    OP_COND,
    OP_COND_FOR,
    OP_SEND,
    OP_RECEIVE,
    OP_OP,
    OP_REFUSE,
    OP_WORK,
    OP_CLOSE_ENTRY,
    OP_SET, /* the first that completes at once */
    OP_CLEAR,
    OP_RELEASE,
    OP_SPAWN,
    OP_CANCEL,
    OP_SHIELD,
    OP_MOVE,
    OP_PUSH,
    OP_HAND,
    OP_STARTED,
    OP_ASK,
    OP_DROP,
    OP_NOTIFY,
    OP_TOTAL,
    OP_END_CHANNEL,
    OP_TRY_ACQUIRE,
    OP_SET_VAR,
    OP_RESET_VAR,
    OP_CAPTURE,
    OP_PEEK,
    OP_LOOK,
    OP_PREPARE,
    OP_STATUS,
    OP_COUNT_TASKS,
    OP_RESULT,
    OP_FORGET,
    OP_DEFER_ON,
    OP_STATS,
    OP_OBSERVE,
    OP_POST,
    OP_MARK, /* the first that opens a block */
    OP_SCOPE,
    OP_GROUP,
    OP_CLASS,
    OP_GEN,
    OP_PERMIT,
    OP_STACK,
    OP_LOCK,
    OP_TOKEN,
    OP_VAR,
    OP_SETTING,
    OP_QUIET,
    OP_WATCH,
    OP_NULL,
    OP_DEFER,
    OP_CLOSING,
    OP_USE,
    OP_LEAVE, /* the first that ends a block or a frame */
    OP_RETURN,
    OP_SUPPRESS,
    OP_SAME,
    OP_FAIL,
    OP_ALONE,
    OP_KINDS,
};

/* KIND in language.py: what a cancel aims at, and what a mark is round. */
enum slot_kind {
    SLOT_NONE,
    SLOT_SCOPE,
    SLOT_GROUP,
    SLOT_TASK,
    SLOT_STACK,
    SLOT_USE,
    SLOT_WATCH,
    SLOT_SELF,
};

struct op {
    int kind;
    int64_t args[ARGS];
};

/* One frame of a program. */
struct frame {
    int64_t pc;   /* runs next */
    int64_t exit; /* of a class: where its exit begins */
    int64_t id;
    int64_t open[DEPTH]; /* the operations that have opened the blocks */
    int depth;
};

/* The one that runs. */
struct program {
    int64_t count; /* of operations */
    int64_t grace;
    int64_t entry;    /* of the root */
    int64_t permits;  /* of each semaphore */
    int64_t tokens;   /* of each limiter */
    int64_t capacity; /* of each channel */
    int64_t budget;   /* steps a turn */
};

extern struct program program;
extern struct op ops[OPS_MAX];

/* ---- things (things.c) ---- */

extern struct belay_event events[EVENTS];
extern struct belay_semaphore semaphores[SEMAPHORES];
extern struct belay_lock locks[LOCKS];
extern struct belay_condition conditions[CONDITIONS];
extern struct belay_limiter limiters[LIMITERS];
extern belay_channel *channels[CHANNELS];
extern int64_t received[OPS_MAX]; /* by index */
extern const struct belay_var vars[VARS];
extern int64_t cells[CELLS];
extern belay_cancel_scope *scopes[SLOTS];
extern bool prepared[SLOTS]; /* they stay when their block is left */
extern struct belay_cancel_status statuses[SLOTS];
extern belay_group *groups[SLOTS];
extern belay_task *tasks[SLOTS];
extern belay_stack *stacks[SLOTS];
extern belay_hold *holds[SLOTS];
extern belay_duration watches[OPS_MAX];        /* by id */
extern belay_stack_entry *entries[OPS_MAX];    /* by id */
extern belay_stack *entry_stacks[OPS_MAX];     /* where each was put */
extern struct belay_var_token tokens[OPS_MAX]; /* by id */
extern belay_context *contexts[SLOTS];
extern const char *const names[SLOTS];
extern const belay_task *root_task;

/* As they are before a program; afterwards they need not be finished. */
void things_init(uint32_t permits, uint32_t tokens);
/* Those that need a runtime, in the root's first step; gives all back in its
 * last.
 */
void things_open(belay_task *root, size_t capacity);
void things_close(void);
/* Where the entry is; NULL: it is not known, or there no more. */
belay_stack *stack_of_entry(int64_t id);

/* The bridge to callbacks: an operation of the program's own. */
belay_next slow_op(belay_task *task, const struct op *op);
/* Waits for a condition, with and without a look. */
belay_next condition_wait(belay_task *task, const struct op *op);
belay_next condition_wait_for(belay_task *task, const struct op *op);
/* The wait of this task is over. */
void condition_waited(const belay_task *task);
void condition_notify(belay_task *task, const int64_t *args);

/* ---- observers (watch.c) ---- */

void watch_init(void);
/* The first one is there from the root's first step on. */
void watch_all(const belay_task *root);
/* Attaches an observer, or detaches it. */
void watch(belay_task *task, const int64_t *args);
/* The place of a task among all, by its name. */
size_t task_place(const char *name);
/* Has block_gone() called for stacks that stand in no block. */
void watch_stacks(const belay_task *root);
/* What the task of this name opens next. */
void watch_opening(const char *task_name, int64_t id);

/* ---- other threads (others.c) ---- */

void others_init(void);
void post(belay_task *task, const int64_t *args);
belay_next work(belay_task *task, const int64_t *args);

/* ---- plain.c ---- */

/* An operation that completes at once. */
void run_plain(belay_task *task, const struct op *op);

/* ---- enter operations (open.c) ---- */

struct belay_cancel_scope_opts scope_opts(
    int64_t slot, int64_t timeout, int64_t flags, int64_t grace);
belay_next scope_open(belay_task *task, const int64_t *args);
belay_next defer_open(belay_task *task, const int64_t *args);
belay_next group_open(belay_task *task, const int64_t *args);
belay_next lock_open(belay_task *task, const int64_t *args);
belay_next token_open(belay_task *task, const int64_t *args);
belay_next quiet_open(belay_task *task, const int64_t *args);
/* For belay_defer() and an exit stack; given the operation's arguments. */
void deferred(void *args);

/* ---- the log (log.c) ---- */

int64_t now_ms(const belay_task *task);
int64_t time_of(belay_time when); /* in ms, as in the log */
belay_duration span_of(int64_t ms);
void put_result(const struct belay_result *result);
/* The beginning of a line. */
void put_event(const belay_task *task, const char *what, int64_t id);
void note(const belay_task *task, const char *what, int64_t id);
void note_result(const belay_task *task, const char *what, int64_t id,
    const struct belay_result *result);
void note_code(const belay_task *task, const char *what, int64_t id, int code);
/* Says which waits for a condition have been cancelled and wait for the lock
 * since the last line; every line does so first.
 */
void note_moved(void);

/* ---- frames (interpret.c) ---- */

/* The block with this id has been left, and what it had is gone. */
void block_gone(int64_t id);

extern const belay_function body;         /* struct frame */
extern const belay_manager class_manager; /* the same */
extern const belay_function child;        /* struct child */

struct child {
    int64_t entry;
    bool is_root;
};

#endif
