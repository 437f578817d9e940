/* build.c - kernels: made from a source once a slot, and kept.
 *
 * A slot knows its kernels by all that they are made of, so that whoever asks
 * for one that is there gets it without a call of the driver.
 */
#include <belay/gpu_work.h>

#include "gpu/internal.h"

/* ---- what is known ---- */

static uint64_t
hash_text(uint64_t hash, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) { /* FNV-1a */
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* The part of a source that is for the pool's kind of device. */
struct text_of_source {
    struct belay_slice text;
    belay_gpu_sim_fn *sim;
    double sim_work;
};

/* NULL, or what is wrong. */
static const char *
pick_text(const belay_gpu_pool *pool, const struct belay_gpu_source *source,
    struct text_of_source *ret)
{
    const enum belay__gpu_language language = pool->driver->language;

    *ret = (struct text_of_source){.text = {"", 0}};
    if (source->entry == NULL || source->entry[0] == '\0') {
        return "source->entry is empty";
    }
    if (language == BELAY__GPU_SIMULATED) {
        ret->sim = source->sim;
        ret->sim_work = source->sim_work > 0 ? source->sim_work : 1;
        return NULL;
    }
    ret->text = language == BELAY__GPU_PTX ? source->ptx : source->opencl;
    if (ret->text.len == 0 || ret->text.data == NULL) {
        return "source has no text for this kind of device";
    }
    if (memchr(ret->text.data, '\0', ret->text.len) != NULL) {
        return "source holds a NUL";
    }
    return NULL;
}

static struct belay_gpu_kernel *
kernel_find(const struct belay__gpu_slot *slot,
    const struct belay_gpu_source *source, const struct text_of_source *of,
    uint64_t hash)
{
    struct belay_gpu_kernel *kernel = slot->kernels;

    while (kernel != NULL
           && (kernel->hash != hash || kernel->sim != of->sim
               || !(kernel->sim_work >= of->sim_work
                    && kernel->sim_work <= of->sim_work)
               || kernel->text_len != of->text.len
               || strcmp(kernel->entry, source->entry) != 0
               || memcmp(kernel->text, of->text.data, of->text.len) != 0)) {
        kernel = kernel->next;
    }
    return kernel;
}

/* Linked, not built. NULL without memory. */
static struct belay_gpu_kernel *
kernel_new(struct belay__gpu_slot *slot, const struct belay_gpu_source *source,
    const struct text_of_source *of, uint64_t hash)
{
    const size_t entry_len = strlen(source->entry);
    const size_t bytes =
        sizeof(struct belay_gpu_kernel) + entry_len + 1 + of->text.len + 1;
    struct belay_gpu_kernel *kernel = belay__gpu_block_alloc(slot->pool, bytes);

    if (kernel == NULL) {
        return NULL;
    }
    *kernel = (struct belay_gpu_kernel){
        .slot = slot,
        .next = slot->kernels,
        .hash = hash,
        .sim = of->sim,
        .sim_work = of->sim_work,
        .entry = (char *)(kernel + 1),
        .text = (char *)(kernel + 1) + entry_len + 1,
        .text_len = of->text.len,
        .block_bytes = bytes,
    };
    memcpy(kernel->entry, source->entry, entry_len + 1);
    memcpy(kernel->text, of->text.data, of->text.len);
    kernel->text[of->text.len] = '\0';
    slot->kernels = kernel;
    slot->kernel_count++;
    return kernel;
}

void
belay__gpu_kernels_forget(struct belay__gpu_slot *slot)
{
    for (struct belay_gpu_kernel *kernel = slot->kernels; kernel != NULL;
         kernel = kernel->next) {
        kernel->built = false;
        kernel->native = NULL;
    }
}

void
belay__gpu_kernels_free(struct belay__gpu_slot *slot)
{
    struct belay_gpu_kernel *kernel;

    while ((kernel = slot->kernels) != NULL) {
        slot->kernels = kernel->next;
        belay__gpu_block_free(slot->pool, kernel, kernel->block_bytes);
    }
}

/* ---- asked for by tasks ---- */

void
belay__gpu_build_ended(struct belay__gpu_op *op, int code)
{
    if (code < 0) {
        return;
    }
    op->u.kernel->built = true;
    if (!op->cancelled) {
        *(belay_gpu_kernel **)op->ret = op->u.kernel;
    }
}

static belay_next
kernel_known(belay_task *task, belay_gpu_kernel *kernel, belay_gpu_kernel **ret)
{
    const belay_next next = belay__done_now(task, 0, NULL);

    if (belay_result(task)->code == 0) {
        *ret = kernel;
    }
    return next;
}

belay_next
belay_gpu_build(belay_task *task, belay_gpu_lease lease,
    const struct belay_gpu_source *source, belay_gpu_kernel **ret)
{
    struct text_of_source of;
    struct belay__gpu_slot *slot;
    struct belay_gpu_kernel *kernel;
    struct belay__gpu_op *op;
    belay_next refusal;
    const char *wrong;
    uint64_t hash;

    if (source != NULL && source->size != sizeof(*source)) {
        return belay__refuse(task, BELAY_EINVAL);
    }
    if (source == NULL || ret == NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s is NULL",
            source == NULL ? "source" : "ret");
    }
    if (belay__gpu_usable_slot(task, lease, &slot, &refusal) < 0) {
        return refusal;
    }
    wrong = pick_text(slot->pool, source, &of);
    if (wrong != NULL) {
        return belay__gpu_refuse(task, BELAY_GPU_EINVAL, "%s", wrong);
    }
    hash = hash_text(UINT64_C(0xcbf29ce484222325), of.text.data, of.text.len);
    kernel = kernel_find(slot, source, &of, hash);
    if (kernel != NULL && kernel->built) {
        return kernel_known(task, kernel, ret);
    }
    if (kernel == NULL && slot->kernel_count == BELAY__GPU_KERNELS_MAX) {
        return belay__gpu_refuse(task, BELAY_GPU_ENOMEM,
            "the slot has %d kernels already", BELAY__GPU_KERNELS_MAX);
    }
    op = belay__gpu_op_new(slot->pool, BELAY__GPU_BUILD, 0);
    if (op != NULL && kernel == NULL) {
        kernel = kernel_new(slot, source, &of, hash);
    }
    if (op == NULL || kernel == NULL) {
        belay__gpu_op_free(slot->pool, op);
        return belay__refuse(task, BELAY_ENOMEM);
    }
    op->u.kernel = kernel;
    op->ret = ret;
    belay__gpu_want_open(slot);
    return belay__gpu_op_await(task, slot, op);
}
