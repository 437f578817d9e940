/* script.c - reads a script and finds the rule for a request.
 *
 * Rules point into the script's text, which is kept; what has to be decoded is
 * in blocks of its own that live as long.
 */
#include "llm/sim/script.h"

#include "llm/json/text.h"
#include "llm/sim/internal.h"
#include "llm/sim/script_parse.h"

#include <errno.h>
#include <stdio.h>

#define RULES_MAX 65536
#define SCRIPT_MAX ((size_t)64 * 1024 * 1024)

struct block {
    struct block *next;
    size_t size;
    char data[];
};

struct belay__sim_script {
    struct belay__memory *memory;
    struct belay_slice text; /* in a block */
    struct block *blocks;
    struct belay__sim_rule *rules;
    size_t rule_count;
    size_t rule_room;
};

void *
belay__script_keep(struct belay__sim_script *script, size_t size)
{
    struct block *block =
        belay__alloc_zero(script->memory, sizeof(*block) + size);

    if (block == NULL) {
        return NULL;
    }
    block->size = size;
    block->next = script->blocks;
    script->blocks = block;
    return block->data;
}

/* ---- what is wrong ---- */

bool
belay__script_fail(struct belay__script_parsing *parsing, int code,
    const char *what, struct belay_slice name)
{
    if (parsing->code == 0) {
        parsing->code = code;
        parsing->at = parsing->base + belay__json_offset(&parsing->json);
        (void)snprintf(parsing->why, BELAY__SIM_WHY_BYTES, "%.*s%s%s",
            (int)(name.len < 60 ? name.len : 60), name.len > 0 ? name.data : "",
            name.len > 0 ? ": " : "", what);
    }
    return false;
}

bool
belay__script_fail_text(
    struct belay__script_parsing *parsing, const char *name, const char *what)
{
    return belay__script_fail(
        parsing, BELAY_EINVAL, what, (struct belay_slice){name, strlen(name)});
}

bool
belay__script_no_memory(struct belay__script_parsing *parsing)
{
    return belay__script_fail(
        parsing, BELAY_ENOMEM, "out of memory", (struct belay_slice){NULL, 0});
}

/* Puts the line in front of the cause. */
static void
add_line(const struct belay__script_parsing *parsing)
{
    const struct belay_slice text = parsing->script->text;
    char cause[BELAY__SIM_WHY_BYTES];
    unsigned long line = 1;

    for (size_t i = 0; i < parsing->at && i < text.len; i++) {
        line += text.data[i] == '\n';
    }
    memcpy(cause, parsing->why, sizeof(cause));
    cause[sizeof(cause) - 1] = '\0';
    (void)snprintf(
        parsing->why, BELAY__SIM_WHY_BYTES, "line %lu: %.170s", line, cause);
}

/* ---- rules ---- */

static struct belay__sim_rule *
add_rule(struct belay__script_parsing *parsing)
{
    struct belay__sim_script *script = parsing->script;
    const size_t room = script->rule_room == 0 ? 16 : script->rule_room * 2;
    struct belay__sim_rule *rules;

    if (script->rule_count == RULES_MAX) {
        (void)belay__script_fail_text(
            parsing, "script", "more than 65536 rules");
        return NULL;
    }
    if (script->rule_count == script->rule_room) {
        rules = belay__realloc(script->memory, script->rules,
            script->rule_room * sizeof(*rules), room * sizeof(*rules));
        if (rules == NULL) {
            (void)belay__script_no_memory(parsing);
            return NULL;
        }
        script->rules = rules;
        script->rule_room = room;
    }
    rules = &script->rules[script->rule_count++];
    *rules = (struct belay__sim_rule){
        .attempt = -1, .stream = -1, .delay_ns = -1, .where = -1};
    return rules;
}

static bool
read_rule(struct belay__script_parsing *parsing)
{
    struct belay__sim_rule *rule = add_rule(parsing);
    struct belay__json_value key;

    if (rule == NULL) {
        return false;
    }
    if (!belay__json_enter_object(&parsing->json)) {
        return belay__script_fail_text(parsing, "rule", "not an object");
    }
    while (belay__json_next_member(&parsing->json, &key)) {
        if (!belay__script_read_member(parsing, &key, rule)) {
            return false;
        }
    }
    if (rule->has_body && (rule->has_text || rule->has_calls)) {
        return belay__script_fail_text(
            parsing, "body", "together with text or tool_calls");
    }
    return true;
}

/* ---- the whole ---- */

/* One JSON, at `base` of the text. */
static bool
read_json(struct belay__script_parsing *parsing, struct belay_slice json)
{
    bool good = true;

    belay__json_open(&parsing->json, json);
    if (belay__json_enter_array(&parsing->json)) {
        while (good && belay__json_next_element(&parsing->json)) {
            good = read_rule(parsing);
        }
    } else {
        good = read_rule(parsing);
    }
    if (parsing->code == 0 && belay__json_finish(&parsing->json) < 0) {
        parsing->code = BELAY_EINVAL;
        parsing->at = parsing->base + parsing->json.error.offset;
        (void)snprintf(parsing->why, BELAY__SIM_WHY_BYTES, "not JSON: %s",
            parsing->json.error.reason);
    }
    return parsing->code == 0 && good;
}

static bool
is_blank(struct belay_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != ' ' && text.data[i] != '\t' && text.data[i] != '\r'
            && text.data[i] != '\n') {
            return false;
        }
    }
    return true;
}

/* Lines, unless the text as a whole is an array. */
static void
read_script(struct belay__script_parsing *parsing)
{
    const struct belay_slice text = parsing->script->text;
    size_t begin = 0;

    while (begin < text.len
           && is_blank((struct belay_slice){text.data + begin, 1})) {
        begin++;
    }
    if (begin < text.len && text.data[begin] == '[') {
        (void)read_json(parsing, text);
        return;
    }
    for (begin = 0; begin < text.len && parsing->code == 0;) {
        const char *end = memchr(text.data + begin, '\n', text.len - begin);
        const size_t len = end != NULL ? (size_t)(end - (text.data + begin))
                                       : text.len - begin;
        const struct belay_slice line = {text.data + begin, len};

        parsing->base = begin;
        if (!is_blank(line)) {
            (void)read_json(parsing, line);
        }
        begin += len + 1;
    }
}

static int
new_script(struct belay_slice text, struct belay__sim_script **ret)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__sim_script *script = NULL;
    char *copy;

    if (memory == NULL) {
        return BELAY_ENOMEM;
    }
    script = belay__alloc_zero(memory, sizeof(*script));
    if (script == NULL) {
        belay__memory_unref(memory);
        return BELAY_ENOMEM;
    }
    script->memory = memory;
    copy = belay__script_keep(script, text.len + 1);
    if (copy == NULL) {
        belay__sim_script_free(script);
        return BELAY_ENOMEM;
    }
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    script->text = (struct belay_slice){copy, text.len};
    *ret = script;
    return 0;
}

int
belay__sim_script_parse(struct belay_slice text, struct belay__sim_script **ret,
    char why[BELAY__SIM_WHY_BYTES])
{
    struct belay__script_parsing parsing = {.why = why};
    int code = new_script(text, &parsing.script);

    if (code < 0) {
        (void)snprintf(why, BELAY__SIM_WHY_BYTES, "out of memory");
        return code;
    }
    belay__json_open(&parsing.json, parsing.script->text);
    read_script(&parsing);
    if (parsing.code < 0) {
        add_line(&parsing);
        belay__sim_script_free(parsing.script);
        return parsing.code;
    }
    *ret = parsing.script;
    return 0;
}

void
belay__sim_script_free(struct belay__sim_script *script)
{
    struct belay__memory *memory;
    struct block *block;

    if (script == NULL) {
        return;
    }
    memory = script->memory;
    while (script->blocks != NULL) {
        block = script->blocks;
        script->blocks = block->next;
        belay__free(memory, block, sizeof(*block) + block->size);
    }
    belay__free(
        memory, script->rules, script->rule_room * sizeof(*script->rules));
    belay__free(memory, script, sizeof(*script));
    belay__memory_unref(memory);
}

/* ---- a file ---- */

static int
read_all(FILE *file, struct belay__buffer *buffer)
{
    size_t got;
    int code;

    do {
        code = belay__buffer_reserve(buffer, 65536);
        if (code < 0) {
            return code;
        }
        got = fread(buffer->data + buffer->len, 1, 65536, file);
        buffer->len += got;
    } while (got > 0);
    return ferror(file) ? BELAY_EIO : 0;
}

static int
parse_file(const char *path, struct belay__buffer *buffer,
    struct belay__sim_script **ret, char *why)
{
    FILE *file = fopen(path, "re");
    int code;

    if (file == NULL) {
        (void)snprintf(why, BELAY__SIM_WHY_BYTES, "%s", strerror(errno));
        return BELAY_EIO;
    }
    code = read_all(file, buffer);
    if (code < 0) {
        (void)snprintf(why, BELAY__SIM_WHY_BYTES, "%s",
            code == BELAY_EIO ? strerror(errno) : belay_code_text(code));
    }
    (void)fclose(file);
    return code < 0
               ? code
               : belay__sim_script_parse(belay__buffer_slice(buffer), ret, why);
}

int
belay__sim_script_load(const char *path, struct belay__sim_script **ret,
    char why[BELAY__SIM_WHY_BYTES])
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;
    char cause[BELAY__SIM_WHY_BYTES] = "out of memory";
    int code = BELAY_ENOMEM;

    if (memory != NULL) {
        belay__buffer_init(&buffer, memory, SCRIPT_MAX);
        code = parse_file(path, &buffer, ret, cause);
        belay__buffer_fini(&buffer);
        belay__memory_unref(memory);
    }
    if (code < 0) {
        (void)snprintf(why, BELAY__SIM_WHY_BYTES, "%.60s: %.130s", path, cause);
    }
    return code;
}

/* ---- finding ---- */

static bool
same(struct belay_slice a, struct belay_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool
contains(struct belay_slice text, struct belay_slice part)
{
    for (size_t i = 0; i + part.len <= text.len; i++) {
        if (part.len == 0 || memcmp(text.data + i, part.data, part.len) == 0) {
            return true;
        }
    }
    return part.len == 0;
}

static bool
matches(const struct belay__sim_rule *rule,
    const struct belay__sim_seen_request *seen)
{
    const struct belay__sim_request *request = seen->request;

    return (rule->times == 0 || rule->used < rule->times)
           && (rule->nth == 0 || rule->nth == seen->nth)
           && (rule->attempt < 0 || (uint64_t)rule->attempt == seen->attempt)
           && (rule->stream < 0 || (rule->stream == 1) == request->stream)
           && (!rule->has_model
               || same(rule->model, belay__json_inside(request->model)))
           && (!rule->has_path || strcmp(rule->path.data, seen->path) == 0)
           && (!rule->has_prompt || contains(request->prompt, rule->prompt));
}

const struct belay__sim_rule *
belay__sim_script_find(struct belay__sim_script *script,
    const struct belay__sim_seen_request *seen)
{
    for (size_t i = 0; i < script->rule_count; i++) {
        if (matches(&script->rules[i], seen)) {
            script->rules[i].used++;
            return &script->rules[i];
        }
    }
    return NULL;
}
