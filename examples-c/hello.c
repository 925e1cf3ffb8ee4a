/* A goroutine says hello, and reports that on a channel.
 *
 * Each user of a channel holds a reference to it: here main and hello. */
#include <gmp.h>
#include <stdio.h>

static void hello(void *done)
{
    puts("hello");
    gmp_chan_send(done, &(int){1});
    gmp_chan_unref(done);
}

int main(void)
{
    gmp_chan *done = gmp_chan_make(sizeof(int), 0);
    if (gmp_go(hello, gmp_chan_ref(done)) != 0)
        return 1;
    gmp_chan_recv(done, NULL);
    gmp_chan_unref(done);
}
