/* Long calls, and a library that wants to be called on one thread. */
#include <gmp.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* A call that waits long: other goroutines run at once. */
static void slow_call(void *arg)
{
    usleep(2000);
    *(int *)arg = 1;
}

/* Gives up if the call could not begin within 100 ms. */
static int call_soon(int *called)
{
    return gmp_blocking_until(slow_call, called, gmp_after_ns(100000000));
}

/* Stays on its thread, as OpenGL and some interpreters want it. */
static void on_one_thread(void *arg)
{
    pthread_t self;
    int called = 0;

    gmp_lock_os_thread();
    self = pthread_self();
    gmp_sleep(1000000); /* waits, and continues on the same thread */
    *(int *)arg = pthread_equal(self, pthread_self());
    gmp_unlock_os_thread();
    if (gmp_blocking(slow_call, &called) != 0 || call_soon(&called) != 0)
        *(int *)arg = 0;
}

int main(void)
{
    int same = 0;
    gmp_g *g;

    if (gmp_go_with(NULL, on_one_thread, &same, &g) != 0)
        return 1;
    gmp_join(g);
    printf("%s thread\n", same ? "the same" : "another");
    return !same;
}
