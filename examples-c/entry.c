/* A program whose first instruction is the runtime's: it is linked with
 * `-nostartfiles -Wl,-e,_rt0_amd64_linux`, and its main is called as the main
 * goroutine, as main.main is in Go. */
#include <gmp.h>
#include <stdio.h>

static void echo(void *done)
{
    puts("a goroutine runs beside it");
    gmp_chan_send(done, &(int){1});
    gmp_chan_unref(done);
}

int main(int argc, char **argv)
{
    printf("main is goroutine %llu\n", (unsigned long long)gmp_goid());
    for (int i = 1; i < argc; i++)
        printf("argument %d is %s\n", i, argv[i]);

    gmp_chan *done = gmp_chan_make(sizeof(int), 0);
    if (gmp_go(echo, gmp_chan_ref(done)) != 0)
        return 1;
    gmp_chan_recv(done, NULL);
    gmp_chan_unref(done);
    return 0;
}
