/* doctor_local.c - what can be seen without asking anybody. */
#include "cli/doctor.h"

#include "llm/json/scan.h"
#include "llm/printable.h"
#include "runtime/buffer.h"

#include <belay/price.h>

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <http_parser.h>
#include <uv.h>
#if BELAY_CLI_SQLITE
#include <sqlite3.h>
#endif

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PRICES_MAX ((size_t)256 * 1024 * 1024)
#define FILES_FEW 1024 /* a batch of some hundred lines at once needs more */

static struct belay_slice
slice_of(const char *text)
{
    return (struct belay_slice){text, strlen(text)};
}

void
belay__doctor_add(struct belay__doctor *doctor, enum belay__doctor_state state,
    const char *name, const char *format, ...)
{
    char text[BELAY__DOCTOR_TEXT_BYTES];
    struct belay__doctor_finding *finding;
    va_list arguments;

    if (doctor->count == BELAY__DOCTOR_FINDINGS) {
        return;
    }
    finding = &doctor->findings[doctor->count++];
    finding->state = state;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)belay__printable(
        slice_of(name), NULL, finding->name, sizeof(finding->name));
    (void)belay__printable(
        slice_of(text), NULL, finding->text, sizeof(finding->text));
}

/* ---- libraries ---- */

static void
look_at_curl(struct belay__doctor *doctor)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    const bool tls = (info->features & CURL_VERSION_SSL) != 0;
    const bool http2 = (info->features & CURL_VERSION_HTTP2) != 0;
    const bool names = (info->features & CURL_VERSION_ASYNCHDNS) != 0;
    enum belay__doctor_state state = BELAY__DOCTOR_OK;

    if (!tls) {
        state = BELAY__DOCTOR_FAIL;
    } else if (!http2 || !names) {
        state = BELAY__DOCTOR_WARN;
    }
    belay__doctor_add(doctor, state, "libcurl", "%s (built with %s), %s%s%s%s",
        info->version, LIBCURL_VERSION,
        tls && info->ssl_version != NULL ? info->ssl_version
                                         : "no TLS: https cannot be used",
        http2 ? ", HTTP/2" : ", no HTTP/2",
        (info->features & CURL_VERSION_LIBZ) != 0 ? ", gzip" : "",
        names ? "" : ", looking up a name stops everything else");
}

#if CURL_AT_LEAST_VERSION(7, 70, 0)
static void
look_at_authorities(struct belay__doctor *doctor)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    const char *file = info->age >= CURLVERSION_SEVENTH ? info->cainfo : NULL;
    const char *folder = info->age >= CURLVERSION_SEVENTH ? info->capath : NULL;

    if (file != NULL && access(file, R_OK) == 0) {
        belay__doctor_add(doctor, BELAY__DOCTOR_OK, "authorities", "%s", file);
    } else if (folder != NULL && access(folder, R_OK | X_OK) == 0) {
        belay__doctor_add(
            doctor, BELAY__DOCTOR_OK, "authorities", "%s", folder);
    } else if (file != NULL || folder != NULL) {
        belay__doctor_add(doctor, BELAY__DOCTOR_FAIL, "authorities",
            "'%s' cannot be read: no certificate will be accepted",
            file != NULL ? file : folder);
    } else {
        belay__doctor_add(doctor, BELAY__DOCTOR_NOTE, "authorities",
            "those of the TLS library");
    }
}
#endif

void
belay__doctor_libraries(struct belay__doctor *doctor)
{
    const unsigned long parser = http_parser_version();

    belay__doctor_add(doctor, BELAY__DOCTOR_OK, "belay", "%s", belay_version());
    belay__doctor_add(doctor, BELAY__DOCTOR_OK, "libuv",
        "%s (built with %d.%d.%d)", uv_version_string(), UV_VERSION_MAJOR,
        UV_VERSION_MINOR, UV_VERSION_PATCH);
    look_at_curl(doctor);
#if CURL_AT_LEAST_VERSION(7, 70, 0)
    look_at_authorities(doctor);
#endif
    belay__doctor_add(doctor, BELAY__DOCTOR_OK, "cJSON", "%s", cJSON_Version());
    belay__doctor_add(doctor, BELAY__DOCTOR_OK, "http-parser", "%lu.%lu.%lu",
        parser >> 16 & 255, parser >> 8 & 255, parser & 255);
#if BELAY_CLI_SQLITE
    belay__doctor_add(doctor,
        sqlite3_threadsafe() != 0 ? BELAY__DOCTOR_OK : BELAY__DOCTOR_WARN,
        "sqlite3", "%s (built with %s)%s", sqlite3_libversion(), SQLITE_VERSION,
        sqlite3_threadsafe() != 0 ? "" : ", not made for threads");
#else
    belay__doctor_add(doctor, BELAY__DOCTOR_NOTE, "sqlite3",
        "left out: recorders write lines of JSON only");
#endif
}

/* ---- the environment ---- */

/* A class says whether it can be a key; a length would say more than that. */
static const char *
length_class(size_t len)
{
    if (len < 16) {
        return "short for a key";
    }
    return len < 256 ? "of a usual length" : "long for a key";
}

static void
look_at_key(struct belay__doctor *doctor, const char *name, bool wanted)
{
    const char *value = getenv(name);
    size_t len;

    if (value == NULL || value[0] == '\0') {
        if (wanted) {
            belay__doctor_add(doctor, BELAY__DOCTOR_WARN, name,
                value == NULL ? "not set" : "empty");
        }
        return;
    }
    len = strlen(value);
    if (strcspn(value, " \t\r\n") < len) {
        belay__doctor_add(doctor, BELAY__DOCTOR_WARN, name,
            "set, but with a blank or a line break in it");
    } else {
        belay__doctor_add(doctor,
            len < 16 ? BELAY__DOCTOR_NOTE : BELAY__DOCTOR_OK, name, "set, %s",
            length_class(len));
    }
}

void
belay__doctor_environment(struct belay__doctor *doctor, const char *key_env)
{
    static const char *const keys[] = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY",
        "AZURE_OPENAI_API_KEY", "OPENROUTER_API_KEY", "MISTRAL_API_KEY",
        "GROQ_API_KEY", "DEEPSEEK_API_KEY", "TOGETHER_API_KEY",
        "GEMINI_API_KEY"};
    static const char *const proxies[] = {"http_proxy", "https_proxy",
        "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"};
    const size_t before = doctor->count;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (key_env == NULL || strcmp(key_env, keys[i]) != 0) {
            look_at_key(doctor, keys[i], false);
        }
    }
    if (key_env != NULL) {
        look_at_key(doctor, key_env, true);
    }
    if (doctor->count == before) {
        belay__doctor_add(doctor, BELAY__DOCTOR_NOTE, "keys",
            "none in the environment under a usual name");
    }
    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++) {
        if (getenv(proxies[i]) != NULL) {
            belay__doctor_add(doctor, BELAY__DOCTOR_NOTE, proxies[i],
                "set: the command heeds it, the library if it is told to");
        }
    }
}

/* ---- limits ---- */

static const char *
limit_text(rlim_t limit, char *text, size_t size)
{
    if (limit == RLIM_INFINITY) {
        return "no limit";
    }
    (void)snprintf(text, size, "%" PRIu64, (uint64_t)limit);
    return text;
}

void
belay__doctor_limits(struct belay__doctor *doctor)
{
    struct rlimit limit;
    char soft[32];
    char hard[32];

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        belay__doctor_add(doctor, BELAY__DOCTOR_WARN, "open files",
            "cannot be asked for: %s", strerror(errno));
        return;
    }
    belay__doctor_add(doctor,
        limit.rlim_max < FILES_FEW ? BELAY__DOCTOR_WARN : BELAY__DOCTOR_OK,
        "open files", "%s, can be raised to %s%s",
        limit_text(limit.rlim_cur, soft, sizeof(soft)),
        limit_text(limit.rlim_max, hard, sizeof(hard)),
        limit.rlim_max < FILES_FEW ? "; few for many requests at once" : "");
}

/* ---- the price file ---- */

static int
read_file(const char *path, struct belay__buffer *buffer)
{
    FILE *file = fopen(path, "re");
    size_t got = 1;
    int code = 0;

    if (file == NULL) {
        return -errno;
    }
    while (code == 0 && got > 0) {
        code = belay__buffer_reserve(buffer, 65536);
        if (code == 0) {
            got = fread(buffer->data + buffer->len, 1, 65536, file);
            buffer->len += got;
        }
    }
    if (code == 0 && ferror(file)) {
        code = -errno;
    }
    (void)fclose(file);
    return code;
}

static size_t
count_members(struct belay_slice text)
{
    struct belay__json_value key;
    struct belay__json json;
    size_t count = 0;

    belay__json_open(&json, text);
    if (belay__json_enter_object(&json)) {
        while (belay__json_next_member(&json, &key)) {
            count++;
        }
    }
    return count;
}

static size_t
line_of(struct belay_slice text, size_t offset)
{
    size_t line = 1;

    for (size_t i = 0; i < offset && i < text.len; i++) {
        line += text.data[i] == '\n';
    }
    return line;
}

static void
look_at_prices(struct belay__doctor *doctor, belay_runtime *runtime,
    const char *path, struct belay__buffer *buffer)
{
    struct belay_prices_problem problem = {.reason = NULL};
    belay_prices *prices = NULL;
    int code = read_file(path, buffer);

    if (code < 0) {
        belay__doctor_add(doctor, BELAY__DOCTOR_FAIL, "prices", "'%s': %s",
            path, belay_code_text(code));
        return;
    }
    code = belay_prices_new(
        runtime, belay__buffer_slice(buffer), &prices, &problem);
    if (code == 0) {
        belay__doctor_add(doctor, BELAY__DOCTOR_OK, "prices",
            "'%s', %zu entries", path,
            count_members(belay__buffer_slice(buffer)));
    } else {
        belay__doctor_add(doctor, BELAY__DOCTOR_FAIL, "prices",
            "'%s', line %zu: %s", path,
            line_of(belay__buffer_slice(buffer), problem.offset),
            problem.reason != NULL ? problem.reason : belay_code_text(code));
    }
    belay_prices_unref(prices);
}

void
belay__doctor_prices(
    struct belay__doctor *doctor, belay_runtime *runtime, const char *path)
{
    struct belay__memory *memory = belay__memory_new(NULL);
    struct belay__buffer buffer;

    if (memory == NULL) {
        return;
    }
    belay__buffer_init(&buffer, memory, PRICES_MAX);
    look_at_prices(doctor, runtime, path, &buffer);
    belay__buffer_fini(&buffer);
    belay__memory_unref(memory);
}
