/* Clocks, sleeps, timers and tickers. */
#include <gmp.h>
#include <stdio.h>
#include <time.h>

/* Sleeps for a millisecond, and says for how long it was. */
static void nap(void)
{
    int64_t start = gmp_now();

    gmp_sleep(1000000);
    printf("%lld us\n", (long long)(gmp_now() - start) / 1000);
}

/* Does something ten times, one millisecond apart, without drift. */
static void in_rhythm(void)
{
    int64_t next = gmp_now();

    for (int i = 0; i < 10; i++) {
        next += 1000000;
        gmp_sleep_until(next);
    }
}

/* Sleeps until the wall clock shows the next second. */
static int sleep_to_the_second(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec++;
    t.tv_nsec = 0;
    return gmp_sleep_until(gmp_realtime_deadline(&t));
}

static void remind(void *ch)
{
    gmp_chan_send(ch, NULL);
}

/* A timer that is moved, fires once, and is freed. */
static int remind_later(void)
{
    gmp_chan *fired = gmp_chan_make(0, 1);
    gmp_timer *t = gmp_timer_start(3600000000000, 0, remind, fired);
    int rc = -ENOMEM, pending = 0;

    if (fired != NULL && t != NULL) {
        pending = gmp_timer_stop(t);  /* 1: it had not fired */
        gmp_timer_reset(t, 1000000);  /* in a millisecond after all */
        rc = gmp_chan_recv(fired, NULL);
    }
    gmp_timer_free(t);
    gmp_chan_unref(fired);
    return rc == 0 && pending == 1 ? 0 : -1;
}

/* Waits for a message, but no longer than 2 ms. (gmp_chan_recv_until does
 * that too; in a select such a channel is one case of several.) */
static int receive_or_time_out(gmp_chan *ch)
{
    gmp_chan *timeout = gmp_after(2000000);
    gmp_case cases[] = {{ch, NULL, GMP_RECV, 0}, {timeout, NULL, GMP_RECV, 0}};
    int ran = timeout == NULL ? -ENOMEM : gmp_select(cases, 2);

    gmp_chan_unref(timeout);
    return ran == 1 ? -ETIMEDOUT : ran;
}

/* Three ticks, one each millisecond. */
static int three_ticks(void)
{
    gmp_chan *ticks = gmp_tick(1000000);
    int64_t at = 0;
    int n = 0;

    while (ticks != NULL && n < 3 && gmp_chan_recv(ticks, &at) == 0)
        n++;
    gmp_chan_unref(ticks); /* the last reference: no more ticks */
    return n;
}

int main(void)
{
    gmp_chan *silent = gmp_chan_make(0, 0);
    int rc;

    nap();
    in_rhythm();
    rc = sleep_to_the_second() != 0 || remind_later() != 0 ||
         receive_or_time_out(silent) != -ETIMEDOUT || three_ticks() != 3;
    gmp_chan_unref(silent);
    return rc;
}
