#include "pipewire_library.h"

#include <dlfcn.h>
#include <string.h>

#define SONAME "libpipewire-0.3.so.0"

static struct xn_pipewire_library library;
const struct xn_pipewire_library *xn_pw;

static const struct {
    const char *name;
    void *place; /* of the pointer in `library` */
} functions[] = {
#define FUNCTION(name) {"pw_" #name, &library.name},
    XN_PIPEWIRE_FUNCTIONS(FUNCTION)
#undef FUNCTION
};

const char *xn_pipewire_load(void) {
    if (xn_pw) return NULL;
    void *handle = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return dlerror();
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(handle, functions[i].name);
        if (!function) return dlerror();
        memcpy(functions[i].place, &function, sizeof function);
    }
    library.init(NULL, NULL);
    xn_pw = &library;
    return NULL;
}
