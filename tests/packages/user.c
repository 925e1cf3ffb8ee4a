/* A user's program, in C and C++: one goroutine answers another. */
#include <gmp.h>
#include <stdio.h>
#include <string.h>

#if !GMPRT_VERSION_AT_LEAST(0, 1, 0) || GMPRT_VERSION_AT_LEAST(99, 0, 0)
#error "GMPRT_VERSION_AT_LEAST"
#endif

static void answer(void *ch)
{
    int n = 42;

    gmp_chan_send((gmp_chan *)ch, &n);
}

int main(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 0);
    int n = 0;

    if (ch == NULL || gmp_go(answer, ch) != 0 || gmp_chan_recv(ch, &n) != 0)
        return 1;
    gmp_chan_unref(ch);
    if (strcmp(GMPRT_VERSION, gmp_rt_version()) != 0)
        return 2;
    printf("answer %d\n", n);
    return 0;
}
