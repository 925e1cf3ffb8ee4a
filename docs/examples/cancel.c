/* A goroutine that is cancelled, cleans up and ends. */
#include <gmp.h>
#include <stdio.h>

/* Works until a cancel; the last words are not cut short. */
static void worker(void *arg)
{
    gmp_chan *said = arg;
    int last = -1;

    while (!gmp_cancelled())
        gmp_sleep(10000000000); /* 10 s, which a cancel ends */
    gmp_shield_enter();
    gmp_chan_send(said, &last); /* would be -ECANCELED without the shield */
    gmp_shield_leave();
}

int main(void)
{
    gmp_chan *said = gmp_chan_make(sizeof(int), 0);
    gmp_g *g;
    int last = 0;

    if (said == NULL || gmp_go_with(NULL, worker, said, &g) != 0)
        return 1;
    gmp_cancel(g);
    gmp_chan_recv(said, &last);
    gmp_join(g);
    gmp_chan_unref(said);
    printf("last words: %d\n", last);
    return last != -1;
}
