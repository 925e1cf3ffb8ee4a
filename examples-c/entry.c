/* A program that begins in the runtime, as a program in Go does: main runs as
 * the main goroutine, and the process's first thread is m0.
 *
 *     cc entry.c -Wl,-e,_rt0_amd64_linux -lgmprt_rt0 -lgmprt */
#include <gmp.h>
#include <inttypes.h>
#include <stdio.h>

static void beside(void *done)
{
    puts("a goroutine runs beside it");
    gmp_chan_send(done, &(int){1});
}

int main(int argc, char **argv)
{
    printf("main is goroutine %" PRIu64 "\n", gmp_goid());
    for (int i = 1; i < argc; i++)
        printf("argument %d is %s\n", i, argv[i]);

    gmp_chan *done = gmp_chan_make(sizeof(int), 0);
    if (gmp_go(beside, done) != 0)
        return 1;
    return gmp_chan_recv(done, NULL);
}
