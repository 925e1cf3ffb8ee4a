/* A host that changes its environment and then loads the library named by its
 * first argument: the C library's memory no longer says where the arguments
 * are. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int (*wait_init)(void);
    void *library;

    if (argc != 3 || setenv("GMPRT_TEST", "moved", 1) != 0)
        return 2;
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    *(void **)&wait_init = dlsym(library, "gmp_wait_init");
    return wait_init ? -wait_init() : 2;
}
