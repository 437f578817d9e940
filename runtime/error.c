/* error.c - error objects; error_text.c prints them.
 *
 * An object is changed only while its maker holds the one reference; from
 * then on it is shared and stays as it is, but for the count of references and
 * a note that it was in a chain. Everything here may run out of memory without
 * harm: the code in the result is the complete error.
 */
#include <belay/error.h>

#include "runtime/internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX 1024

struct belay_error {
    struct belay__memory *memory;
    uint32_t refs;
    int code;
    int foreign_code;
    int line;
    bool alone;   /* it never has a context */
    bool is_code; /* made for a bare code: all of that code are one error */
    bool hung;    /* it, or a copy of it, is or was a context of another */
    const char *domain;
    const char *file;
    belay_error *original; /* of a copy: what it is a copy of, kept */
    belay_error *cause;
    belay_error *context;
    belay_error **children;
    size_t child_count;
    size_t failures;
    struct belay__tally *more; /* of the failures without an object, or NULL */
    size_t bytes;              /* of this block */
    char *task_name;
    char *message;
};

/* One block: the struct, the children's pointers, the tally if there is one,
 * the two texts.
 */
static belay_error *
error_alloc(struct belay__memory *memory, int code,
    const struct belay__error_site *site, const char *message,
    size_t child_count, const struct belay__tally *more)
{
    const char *task_name = site->task_name != NULL ? site->task_name : "";
    const size_t name_len = strlen(task_name) + 1;
    const size_t message_len = strlen(message) + 1;
    const size_t children = child_count * sizeof(belay_error *);
    const size_t tally = more != NULL ? sizeof(*more) : 0;
    const size_t bytes =
        sizeof(belay_error) + children + tally + name_len + message_len;
    belay_error *error = belay__alloc_zero(memory, bytes);
    char *text;

    if (error == NULL) {
        return NULL;
    }
    text = (char *)(error + 1) + children + tally;
    memcpy(text, task_name, name_len);
    memcpy(text + name_len, message, message_len);
    *error = (belay_error){
        .memory = belay__memory_ref(memory),
        .refs = 1,
        .code = code,
        .line = site->line,
        .file = site->file != NULL ? site->file : "",
        .children = (belay_error **)(void *)(error + 1),
        .child_count = child_count,
        .failures = 1,
        .bytes = bytes,
        .task_name = text,
        .message = text + name_len,
    };
    if (more != NULL) {
        error->more = (void *)((char *)(error + 1) + children);
        *error->more = *more;
    }
    return error;
}

belay_error *
belay__error_new_va(struct belay__memory *memory, int code,
    const struct belay__error_site *site, const char *format, va_list args)
{
    char message[MESSAGE_MAX];

    if (vsnprintf(message, sizeof(message), format, args) < 0) {
        message[0] = '\0';
    }
    return error_alloc(memory, code, site, message, 0, NULL);
}

belay_error *
belay__error_new(struct belay__memory *memory, int code,
    const struct belay__error_site *site, const char *format, ...)
{
    va_list args;
    belay_error *error;

    va_start(args, format);
    error = belay__error_new_va(memory, code, site, format, args);
    va_end(args);
    return error;
}

belay_error *
belay__error_new_group(struct belay__memory *memory,
    const struct belay__error_site *site, const char *name, size_t failures,
    belay_error **children, size_t count, const struct belay__tally *more)
{
    const char *plural = failures == 1 ? "" : "s";
    char message[MESSAGE_MAX];
    belay_error *error;

    if (name == NULL) {
        (void)snprintf(message, sizeof(message),
            "%zu task%s of the group failed", failures, plural);
    } else {
        (void)snprintf(message, sizeof(message),
            "%zu task%s of group '%s' failed", failures, plural, name);
    }
    error = error_alloc(memory, BELAY_EGROUP, site, message, count, more);
    if (error == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        error->children[i] = children[i];
    }
    error->failures = failures;
    return error;
}

void
belay__error_set_cause(belay_error *error, belay_error *cause)
{
    assert(error->refs == 1 && error->cause == NULL);
    error->cause = cause;
}

void
belay__error_set_alone(belay_error *error)
{
    assert(error->refs == 1 && error->context == NULL);
    error->alone = true;
}

void
belay__error_set_foreign(
    belay_error *error, const char *domain, int foreign_code)
{
    assert(error->refs == 1);
    error->domain = domain;
    error->foreign_code = foreign_code;
}

static const belay_error *
original_of(const belay_error *error)
{
    return error->original != NULL ? error->original : error;
}

/* As the end of a chain. */
static void
hang(belay_error **slot, belay_error *context)
{
    (context->original != NULL ? context->original : context)->hung = true;
    *slot = context;
}

static bool
is_code(const belay_error *error)
{
    return error == NULL || error->is_code;
}

bool
belay__error_same(const belay_error *a, const belay_error *b)
{
    if (is_code(a) && is_code(b)) {
        return a == NULL || b == NULL || a->code == b->code;
    }
    return a != NULL && b != NULL && original_of(a) == original_of(b);
}

/* A copy that nobody else has seen, sharing what hangs below. */
static belay_error *
error_copy(struct belay__memory *memory, belay_error *from)
{
    const struct belay__error_site site = {
        from->task_name, from->file, from->line};
    belay_error *copy = error_alloc(memory, from->code, &site, from->message,
        from->child_count, from->more);

    if (copy == NULL) {
        return NULL;
    }
    copy->domain = from->domain;
    copy->foreign_code = from->foreign_code;
    copy->failures = from->failures;
    copy->alone = from->alone;
    copy->is_code = from->is_code;
    copy->original =
        belay_error_ref(from->original != NULL ? from->original : from);
    copy->cause = belay_error_ref(from->cause);
    copy->context = belay_error_ref(from->context);
    for (size_t i = 0; i < from->child_count; i++) {
        copy->children[i] = belay_error_ref(from->children[i]);
    }
    return copy;
}

static bool
chain_holds(const belay_error *chain, const belay_error *error)
{
    for (; chain != NULL; chain = chain->context) {
        if (belay__error_same(chain, error)) {
            return true;
        }
    }
    return false;
}

/* What was never hung can be its head only: no search for one that somebody
 * just keeps, or a long chain of such errors would take quadratic time.
 */
static bool
chain_has_object(const belay_error *chain, const belay_error *error)
{
    if (!original_of(error)->hung) {
        return original_of(chain) == original_of(error);
    }
    while (chain != NULL && original_of(chain) != original_of(error)) {
        chain = chain->context;
    }
    return chain != NULL;
}

/* An object with one reference is in no chain but its own. */
static bool
may_be_elsewhere(const belay_error *error)
{
    return error->refs > 1 || error->original != NULL;
}

belay_error *
belay__error_with_context(
    struct belay__memory *memory, belay_error *error, belay_error *context)
{
    belay_error **slot = &error;
    belay_error *copy;

    /* No cycles: what is in the one chain is not hung below the other. A code
     * may be in both, as an object of its own in each; that is no cycle, but
     * the same failure is not shown twice. */
    if (((may_be_elsewhere(context) || context->is_code)
            && chain_holds(error, context))
        || (may_be_elsewhere(error) && chain_has_object(context, error))) {
        belay_error_unref(context);
        return error;
    }
    while (*slot != NULL) {
        if ((*slot)->alone) {
            belay_error_unref(context);
            return error;
        }
        if ((*slot)->refs > 1) {
            copy = error_copy(memory, *slot);
            if (copy == NULL) {
                belay_error_unref(context);
                return error;
            }
            belay_error_unref(*slot);
            *slot = copy;
        }
        slot = &(*slot)->context;
    }
    hang(slot, context);
    return error;
}

belay_error *
belay__error_of(struct belay__memory *memory, const struct belay_result *result,
    const char *task_name)
{
    const struct belay__error_site site = {task_name, NULL, 0};
    belay_error *error;

    if (result->error != NULL) {
        return belay_error_ref(result->error);
    }
    error = belay__error_new(
        memory, result->code, &site, "%s", belay_code_text(result->code));
    if (error != NULL) {
        error->is_code = true;
    }
    return error;
}

belay_error *
belay_error_ref(belay_error *error)
{
    if (error != NULL) {
        error->refs++;
    }
    return error;
}

/* Frees one object, and gives what hangs below it to the list `dead`, linked
 * through `context`: trees of any depth are freed in constant native stack.
 */
static void
drop(belay_error *error, belay_error **dead)
{
    if (error != NULL && --error->refs == 0) {
        /* The context joins the list by itself: walk to the end of what dies
         * with this one. */
        belay_error *last = error;

        while (last->context != NULL && last->context->refs == 1) {
            last = last->context;
            last->refs = 0;
        }
        if (last->context != NULL) {
            last->context->refs--;
        }
        last->context = *dead;
        *dead = error;
    }
}

void
belay_error_unref(belay_error *error)
{
    belay_error *dead = NULL;
    struct belay__memory *memory;

    drop(error, &dead);
    while (dead != NULL) {
        error = dead;
        dead = error->context;
        drop(error->original, &dead);
        drop(error->cause, &dead);
        for (size_t i = 0; i < error->child_count; i++) {
            drop(error->children[i], &dead);
        }
        memory = error->memory;
        belay__free(memory, error, error->bytes);
        belay__memory_unref(memory);
    }
}

int
belay_error_code(const belay_error *error)
{
    return error != NULL ? error->code : 0;
}

const char *
belay_error_message(const belay_error *error)
{
    return error != NULL ? error->message : "";
}

const char *
belay_error_task(const belay_error *error)
{
    return error != NULL ? error->task_name : "";
}

const char *
belay_error_place(const belay_error *error, int *ret_line)
{
    if (ret_line != NULL) {
        *ret_line = error != NULL ? error->line : 0;
    }
    return error != NULL ? error->file : "";
}

const char *
belay_error_foreign(const belay_error *error, int *ret_code)
{
    if (error == NULL || error->domain == NULL) {
        return NULL;
    }
    if (ret_code != NULL) {
        *ret_code = error->foreign_code;
    }
    return error->domain;
}

belay_error *
belay_error_cause(const belay_error *error)
{
    return error != NULL ? error->cause : NULL;
}

belay_error *
belay_error_context(const belay_error *error)
{
    return error != NULL ? error->context : NULL;
}

belay_error *
belay_error_child(const belay_error *error, size_t index)
{
    const bool is_there = error != NULL && index < error->child_count;

    return is_there ? error->children[index] : NULL;
}

const struct belay__tally *
belay__error_more(const belay_error *error)
{
    return error->more;
}

int
belay_error_more(const belay_error *error, size_t index, size_t *ret_count)
{
    if (error == NULL || error->more == NULL || index >= error->more->used) {
        return 0;
    }
    *ret_count = error->more->counts[index];
    return error->more->codes[index];
}

void
belay__tally_add(struct belay__tally *tally, int code)
{
    for (size_t i = 0; i < tally->used; i++) {
        if (tally->codes[i] == code) {
            tally->counts[i]++;
            return;
        }
    }
    if (tally->used < BELAY__TALLY_CODES) {
        tally->codes[tally->used] = code;
        tally->counts[tally->used++] = 1;
    }
}

size_t
belay_error_failures(const belay_error *error)
{
    return error != NULL ? error->failures : 0;
}
