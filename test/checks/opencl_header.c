/* opencl_header.c - are our declarations of OpenCL Khronos's?
 *
 * Holds each type, value and prototype of gpu/opencl_api.h against CL/cl.h,
 * when this is compiled.
 */
#include <stdio.h>

#ifdef NO_OPENCL_HEADER
int
main(void)
{
    (void)puts("SKIP: there is no CL/cl.h; our declarations were not compared");
    return 77;
}
#else
/* First theirs, then our tables. */
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <CL/cl_ext.h>

#include "gpu/opencl_api.h"

#define TYPE(name, type) \
    _Static_assert(      \
        __builtin_types_compatible_p(name, type), #name " is not " #type);
BELAY__OPENCL_TYPES(TYPE)
#undef TYPE

#define VALUE(name, value) \
    _Static_assert(name == (value), #name " is not " #value);
BELAY__OPENCL_CODES(VALUE)
BELAY__OPENCL_VALUES(VALUE)
#undef VALUE

#define PROTOTYPE(name, result, parameters)                                \
    _Static_assert(                                                        \
        __builtin_types_compatible_p(__typeof__(name), result parameters), \
        #name " has another prototype");
BELAY__OPENCL_API(PROTOTYPE)
#undef PROTOTYPE

#define ONE(name, result, parameters) +1
int
main(void)
{
    (void)printf(
        "%d functions compared with CL/cl.h\n", BELAY__OPENCL_API(ONE));
    return 0;
}
#endif
