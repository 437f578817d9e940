/* doctor.h - what `belay doctor` looks at (private).
 *
 * Each look adds lines to the findings; none of them prints, and none of them
 * ever has a key in it. What comes from outside is made fit for a terminal.
 */
#ifndef BELAY_CLI_DOCTOR_H
#define BELAY_CLI_DOCTOR_H

#include <belay/task.h>

#define BELAY__DOCTOR_FINDINGS 64
#define BELAY__DOCTOR_NAME_BYTES 40
#define BELAY__DOCTOR_TEXT_BYTES 512

enum belay__doctor_state {
    BELAY__DOCTOR_OK,
    BELAY__DOCTOR_NOTE, /* good to know */
    BELAY__DOCTOR_WARN, /* something may not work */
    BELAY__DOCTOR_FAIL, /* something does not */
};

struct belay__doctor_finding {
    enum belay__doctor_state state;
    char name[BELAY__DOCTOR_NAME_BYTES];
    char text[BELAY__DOCTOR_TEXT_BYTES];
};

struct belay__doctor {
    struct belay__doctor_finding findings[BELAY__DOCTOR_FINDINGS];
    size_t count;
};

/* One more; beyond the last place it is dropped. */
void belay__doctor_add(struct belay__doctor *doctor,
    enum belay__doctor_state state, const char *name, const char *format, ...)
    BELAY_PRINTF(4, 5);

/* The libraries, and what they can. */
void belay__doctor_libraries(struct belay__doctor *doctor);
/* Keys in the environment by their names, and variables that name proxies. */
void belay__doctor_environment(
    struct belay__doctor *doctor, const char *key_env);
/* Descriptors, memory, cores. */
void belay__doctor_limits(struct belay__doctor *doctor);

/* Reads a price file. Needs the runtime of a task. */
void belay__doctor_prices(
    struct belay__doctor *doctor, belay_runtime *runtime, const char *path);

struct belay__doctor_endpoint {
    const char *base_url;
    const char *key; /* or NULL */
    const char *ca_file;
    belay_duration patience; /* for a connection, and again for an answer */
    bool messages;           /* it speaks Messages */
    bool allow_plain;
    bool insecure;
};

/* An await: asks for the list of models. What is wrong is a finding; it fails
 * for want of memory only.
 */
belay_next belay__doctor_reach(belay_task *task, struct belay__doctor *doctor,
    const struct belay__doctor_endpoint *endpoint);

/* An await: devices of GPU backends, and why others are not there. */
belay_next belay__doctor_gpus(belay_task *task, struct belay__doctor *doctor);

#endif
