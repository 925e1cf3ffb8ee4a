/* A program that is not linked with the library, and loads it when it wants
 * goroutines. */
#include <dlfcn.h>
#include <gmp.h>
#include <stdio.h>

/* The functions that it uses. */
static struct {
    __typeof__(gmp_wait_init) *wait_init;
    __typeof__(gmp_go) *go;
    __typeof__(gmp_chan_make) *chan_make;
    __typeof__(gmp_chan_send) *chan_send;
    __typeof__(gmp_chan_recv) *chan_recv;
    __typeof__(gmp_chan_unref) *chan_unref;
    __typeof__(gmp_shutdown) *shutdown;
    __typeof__(gmp_after_ns) *after_ns;
} gmp;

static int find_all(void *library)
{
    const struct {
        const char *name;
        void *place;
    } functions[] = {
        {"gmp_wait_init", &gmp.wait_init},   {"gmp_go", &gmp.go},
        {"gmp_chan_make", &gmp.chan_make},   {"gmp_chan_send", &gmp.chan_send},
        {"gmp_chan_recv", &gmp.chan_recv},   {"gmp_chan_unref", &gmp.chan_unref},
        {"gmp_shutdown", &gmp.shutdown},     {"gmp_after_ns", &gmp.after_ns},
    };

    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *found = dlsym(library, functions[i].name);

        if (found == NULL)
            return -ENOSYS;
        *(void **)functions[i].place = found;
    }
    return gmp.wait_init(); /* why the start failed, if it did */
}

static void answer(void *answers)
{
    int n = 42;

    gmp.chan_send(answers, &n);
}

int main(void)
{
    void *library = dlopen("libgmprt.so.0", RTLD_NOW | RTLD_LOCAL);
    gmp_chan *answers;
    int n = 0;

    if (library == NULL || find_all(library) != 0)
        return 1;
    answers = gmp.chan_make(sizeof n, 0);
    if (answers == NULL || gmp.go(answer, answers) != 0)
        return 1;
    gmp.chan_recv(answers, &n);
    printf("the answer is %d\n", n);
    if (gmp.shutdown(gmp.after_ns(1000000000)) != 0) /* 1 s */
        return 1;
    gmp.chan_unref(answers);
    dlclose(library);
    return n != 42;
}
