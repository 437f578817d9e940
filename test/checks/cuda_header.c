/* cuda_header.c - are our declarations of NVIDIA's driver NVIDIA's?
 *
 * Holds each type, value, symbol and prototype of gpu/cuda_api.h against
 * cuda.h. Types and prototypes are compared when this is compiled.
 */
#include <stdio.h>

#ifdef NO_CUDA_HEADER
int
main(void)
{
    (void)puts("SKIP: there is no cuda.h; our declarations were not compared");
    return 77;
}
#else
/* First theirs, then our tables. */
#include <cuda.h>

#include "gpu/cuda_api.h"

#include <string.h>

#define TYPE(name, type) \
    _Static_assert(      \
        __builtin_types_compatible_p(name, type), #name " is not " #type);
BELAY__CUDA_TYPES(TYPE)
#undef TYPE

_Static_assert(sizeof(CUresult) == sizeof(unsigned), "CUresult");
_Static_assert(sizeof(CUdevice_attribute) == sizeof(unsigned), "attribute");
_Static_assert(sizeof(CUjit_option) == sizeof(unsigned), "option");
_Static_assert(sizeof(CUuuid) == 16, "CUuuid");

#define VALUE(enumeration, name, value) \
    _Static_assert((unsigned)name == (value), #name " is not " #value);
BELAY__CUDA_VALUES(VALUE)
#undef VALUE

#define PROTOTYPE(name, version, parameters)                            \
    _Static_assert(__builtin_types_compatible_p(                        \
                       __typeof__(name##version), CUresult parameters), \
        #name #version " has another prototype");
BELAY__CUDA_API(PROTOTYPE)
BELAY__CUDA_API_MEASURED(PROTOTYPE)
#undef PROTOTYPE

/* The header maps the bare name to the version that its prototype is of. */
#define TEXT(name) #name
#define NAME(name, version, parameters) {#name #version, TEXT(name)},
static const struct {
    const char *ours;
    const char *theirs;
} names[] = {BELAY__CUDA_API(NAME) BELAY__CUDA_API_MEASURED(NAME)};
#undef NAME

int
main(void)
{
    size_t count = sizeof(names) / sizeof(names[0]);
    int status = 0;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i].ours, names[i].theirs) != 0) {
            printf("we ask for %s, CUDA %d.%d has %s\n", names[i].ours,
                CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10, names[i].theirs);
            status = 1;
        }
    }
    printf("%zu functions compared with CUDA %d.%d\n", count,
        CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10);
    return status;
}
#endif
