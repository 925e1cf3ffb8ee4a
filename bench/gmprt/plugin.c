/* The library that bench/raw/dlopen.c loads: goroutines in a program that
 * knows nothing of them. */
#include <gmp.h>

static void answer(void *results)
{
    gmp_chan_send(results, &(int){42});
    gmp_chan_unref(results);
}

/* What a goroutine sends: 42. */
int first_result(void)
{
    int result = -1;
    gmp_chan *results = gmp_chan_make(sizeof(int), 0);
    if (gmp_go(answer, gmp_chan_ref(results)) == 0)
        gmp_chan_recv(results, &result);
    gmp_chan_unref(results);
    return result;
}
