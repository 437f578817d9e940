/* base.c - codes, their names and texts, and the version. */
#include <belay/base.h>

#include <uv.h>

_Static_assert(
    (int)BELAY_ECANCELED == (int)UV_ECANCELED, "codes of the system are uv's");
_Static_assert(
    (int)BELAY_ETIMEDOUT == (int)UV_ETIMEDOUT, "codes of the system are uv's");
_Static_assert(
    (int)BELAY_ENOMEM == (int)UV_ENOMEM, "codes of the system are uv's");

const char *
belay_code_name(int code)
{
    switch (code) {
    case 0:
        return "OK";
#define CASE(name, value, text) \
    case (value):               \
        return #name;
        BELAY_CODE_MAP(CASE)
#undef CASE
    default:
        break;
    }
    /* uv_err_name() allocates for a code that it does not know. */
    switch (code) {
#define CASE(name, text) \
    case UV_##name:      \
        return #name;
        UV_ERRNO_MAP(CASE)
#undef CASE
    default:
        return "UNKNOWN";
    }
}

const char *
belay_code_text(int code)
{
    switch (code) {
    case 0:
        return "success";
#define CASE(name, value, text) \
    case (value):               \
        return text;
        BELAY_CODE_MAP(CASE)
#undef CASE
    default:
        break;
    }
    switch (code) {
#define CASE(name, text) \
    case UV_##name:      \
        return text;
        UV_ERRNO_MAP(CASE)
#undef CASE
    default:
        return "unknown error";
    }
}

#define STRING(x) #x
#define JOIN(major, minor, patch) \
    STRING(major) "." STRING(minor) "." STRING(patch)

const char *
belay_version(void)
{
    return JOIN(BELAY_VERSION_MAJOR, BELAY_VERSION_MINOR, BELAY_VERSION_PATCH);
}
