/* A rate limiter that allows bursts: a bucket of tokens.
 *
 *     a ticker --ticks--> refill --tokens--> the requests
 *
 * A request takes a token, or waits for one. Each tick adds a token, up to the
 * size of the bucket. */
#include <gmp.h>
#include <inttypes.h>
#include <stdio.h>

enum { BURST = 3, REQUESTS = 8 };
static const int64_t MS = 1000000, PERIOD = 20 * MS;

static gmp_chan *ticks, *tokens;
static int64_t start;

static void say(const char *what, int n)
{
    printf("%3" PRId64 " ms: %s %d\n", (gmp_now() - start) / MS, what, n);
}

static void refill(void *arg)
{
    (void)arg;
    while (gmp_chan_recv(ticks, NULL) == 0)
        gmp_chan_try_send(tokens, NULL); /* not into a full bucket */
}

static void crowd(int n)
{
    say("crowd", n);
    for (int i = 1; i <= REQUESTS; i++) {
        gmp_chan_recv(tokens, NULL);
        say("request", i);
    }
}

int main(void)
{
    tokens = gmp_chan_make(0, BURST); /* they have no content, only a number */
    while (gmp_chan_try_send(tokens, NULL) == 0)
        ;
    start = gmp_now();
    ticks = gmp_tick(PERIOD);
    gmp_g *refiller;
    if (gmp_go_with(NULL, refill, NULL, &refiller) != 0)
        return 1;

    crowd(1);
    gmp_sleep(10 * PERIOD);
    crowd(2);

    gmp_chan_close(ticks); /* this stops the ticker, and ends refill */
    gmp_join(refiller);
    gmp_chan_unref(ticks);
    gmp_chan_unref(tokens);
}
