/* portal.c - the one door for other threads.
 *
 * A runtime has at most one portal, shared by all who open one and counted.
 * Its memory comes from malloc, since a runtime's allocator is for one thread
 * and the portal may outlive the runtime. The lock guards every field; the
 * async handle is used under it, so a post cannot race with the close.
 */
#include "runtime/internal.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS 1024

struct post {
    struct post *next;
    belay_post_fn *fn;
    void *arg;
};

struct cancel {
    struct post post; /* the first member: it is freed by that */
    uint64_t task_id;
    const char *text;
    belay_task *task;         /* NULL: it is not there, or was not looked for */
    struct cancel *next_like; /* with such an id */
};

struct belay_portal {
    uv_mutex_t lock;
    belay_runtime *runtime; /* NULL once it is closed */
    struct post *first;
    struct post *last;
    uint32_t refs; /* the runtime's own included */
};

static void
unref_locked(belay_portal *portal)
{
    const bool gone = --portal->refs == 0;

    uv_mutex_unlock(&portal->lock);
    if (gone) {
        uv_mutex_destroy(&portal->lock);
        free(portal);
    }
}

int
belay_portal_open(belay_runtime *runtime, belay_portal **ret)
{
    belay_portal *portal = runtime->portal;

    if (portal == NULL && runtime->shut) {
        return BELAY_ESTATE; /* nobody would shut it */
    }
    if (portal == NULL) {
        portal = calloc(1, sizeof(*portal));
        if (portal == NULL) {
            return BELAY_ENOMEM;
        }
        if (uv_mutex_init(&portal->lock) < 0) {
            free(portal);
            return BELAY_ENOMEM;
        }
        portal->runtime = runtime;
        portal->refs = 1;
        runtime->portal = portal;
    }
    *ret = belay_portal_ref(portal);
    belay__portal_update_ref(runtime);
    return 0;
}

belay_portal *
belay_portal_ref(belay_portal *portal)
{
    uv_mutex_lock(&portal->lock);
    portal->refs++;
    uv_mutex_unlock(&portal->lock);
    return portal;
}

void
belay_portal_unref(belay_portal *portal)
{
    if (portal == NULL) {
        return;
    }
    uv_mutex_lock(&portal->lock);
    if (portal->runtime != NULL) {
        /* The loop may not have to stay alive for it any more. */
        (void)uv_async_send(&portal->runtime->async);
    }
    unref_locked(portal);
}

/* Takes the post over. */
static int
add_post(belay_portal *portal, struct post *post)
{
    int code = 0;

    uv_mutex_lock(&portal->lock);
    if (portal->runtime == NULL) {
        code = BELAY_ESTATE;
    } else {
        if (portal->last != NULL) {
            portal->last->next = post;
        } else {
            portal->first = post;
        }
        portal->last = post;
        (void)uv_async_send(&portal->runtime->async);
    }
    uv_mutex_unlock(&portal->lock);
    if (code < 0) {
        free(post);
    }
    return code;
}

int
belay_portal_post(belay_portal *portal, belay_post_fn *fn, void *arg)
{
    struct post *post = malloc(sizeof(*post));

    if (post == NULL) {
        return BELAY_ENOMEM;
    }
    *post = (struct post){NULL, fn, arg};
    return add_post(portal, post);
}

static void
cancel_task(belay_runtime *runtime, void *arg)
{
    const struct cancel *cancel = arg;

    (void)runtime;
    if (cancel->task != NULL) {
        (void)belay_task_cancel(cancel->task, cancel->text);
    }
}

int
belay_portal_cancel(belay_portal *portal, uint64_t task_id, const char *text)
{
    struct cancel *cancel = malloc(sizeof(*cancel));

    if (cancel == NULL) {
        return BELAY_ENOMEM;
    }
    *cancel = (struct cancel){
        .post = {NULL, cancel_task, cancel},
        .task_id = task_id,
        .text = text,
    };
    return add_post(portal, &cancel->post);
}

/* NULL: it is a post of another kind. */
static struct cancel *
cancel_of(struct post *post)
{
    return post->fn == cancel_task ? BELAY__CONTAINER(post, struct cancel, post)
                                   : NULL;
}

static void
find_task(belay_task *task, struct cancel *like)
{
    for (; like != NULL; like = like->next_like) {
        if (like->task_id == task->id) {
            like->task = task;
        }
    }
}

/* The first cancel from this post on; NULL: there is none up to the last. */
static struct cancel *
next_cancel(struct post *post, const struct post *last)
{
    while (cancel_of(post) == NULL) {
        if (post == last) {
            return NULL;
        }
        post = post->next;
    }
    return cancel_of(post);
}

/* Whom the cancels from the first one on are for: one look at the tasks for
 * all. Ids are given in turn, so they spread over the buckets.
 */
static void
find_tasks(
    const belay_runtime *runtime, struct cancel *first, const struct post *last)
{
    struct cancel *buckets[BUCKETS] = {NULL};
    struct cancel *cancel = first;
    int depth = 0;

    while (cancel != NULL) {
        cancel->next_like = buckets[cancel->task_id % BUCKETS];
        buckets[cancel->task_id % BUCKETS] = cancel;
        cancel =
            &cancel->post != last ? next_cancel(cancel->post.next, last) : NULL;
    }
    for (const struct belay__scope *scope = &runtime->root.scope; scope != NULL;
         scope = belay__scope_next(scope, &depth)) {
        belay_task *task = belay__scope_base_of(scope);

        if (task != NULL) {
            find_task(task, buckets[task->id % BUCKETS]);
        }
    }
}

/* The one that has waited longest; NULL: there is none. */
static struct post *
take_post(belay_portal *portal)
{
    struct post *post;

    uv_mutex_lock(&portal->lock);
    post = portal->first;
    if (post != NULL) {
        portal->first = post->next;
    }
    if (portal->first == NULL) {
        portal->last = NULL;
    }
    uv_mutex_unlock(&portal->lock);
    return post;
}

static void
run_post(belay_runtime *runtime, struct post *post)
{
    post->fn(runtime, post->arg);
    free(post);
}

/* Those that are there now: what they post waits for the loop's next turn. One
 * of them may shut the portal, which runs the rest. No task ends in here, since
 * none runs: so the cancels' tasks may be looked for before.
 */
void
belay__portal_drain(belay_runtime *runtime)
{
    belay_portal *portal = runtime->portal;
    const struct post *last = NULL;
    struct post *post = NULL;
    struct cancel *cancel;

    if (portal != NULL) {
        uv_mutex_lock(&portal->lock);
        post = portal->first;
        last = portal->last;
        uv_mutex_unlock(&portal->lock);
    }
    cancel = last != NULL ? next_cancel(post, last) : NULL;
    if (cancel != NULL) {
        find_tasks(runtime, cancel, last);
    }
    while (last != NULL && runtime->portal != NULL
           && (post = take_post(portal)) != NULL) {
        if (post == last) {
            last = NULL;
        }
        run_post(runtime, post);
    }
    belay__portal_update_ref(runtime);
}

void
belay__portal_shut(belay_runtime *runtime)
{
    belay_portal *portal = runtime->portal;
    const bool was_inside = belay__inside_run;
    struct post *post;

    if (portal == NULL) {
        return;
    }
    assert(runtime->tasks_alive == 0); /* so there is none to be cancelled */
    runtime->portal = NULL;
    uv_mutex_lock(&portal->lock);
    portal->runtime = NULL; /* from here on none is accepted, and lost */
    uv_mutex_unlock(&portal->lock);
    belay__inside_run = true; /* it may be the host that closes */
    while ((post = take_post(portal)) != NULL) {
        run_post(runtime, post);
    }
    belay__inside_run = was_inside;
    uv_mutex_lock(&portal->lock);
    unref_locked(portal);
}

bool
belay__portal_has_posts(const belay_runtime *runtime)
{
    belay_portal *portal = runtime->portal;
    bool found = false;

    if (portal != NULL) {
        uv_mutex_lock(&portal->lock);
        found = portal->first != NULL;
        uv_mutex_unlock(&portal->lock);
    }
    return found;
}

void
belay__portal_update_ref(belay_runtime *runtime)
{
    uv_handle_t *handle = (uv_handle_t *)&runtime->async;
    bool wanted = false;

    if (runtime->portal != NULL && runtime->tasks_alive > 0) {
        /* A post whose poster has gone since is still to be run. */
        uv_mutex_lock(&runtime->portal->lock);
        wanted = runtime->portal->refs > 1 || runtime->portal->first != NULL;
        uv_mutex_unlock(&runtime->portal->lock);
    }
    if (wanted) {
        uv_ref(handle);
    } else {
        uv_unref(handle);
    }
}
