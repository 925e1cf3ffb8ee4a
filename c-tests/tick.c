/* Channels that time sends on: gmp_after once, gmp_tick again and again. */
#include "test.h"

enum { CLOSED = 300, DROPPED = 20000, RECEIVERS = 4 };

#define FAR SEC(3600)

static int below(uint64_t *seed, int n)
{
    return (int)(next_random(seed) % (uint64_t)n);
}

/* Receives a tick that was due at a time, and gives it back. */
static int64_t receive_tick(gmp_chan *ch, int64_t due)
{
    int64_t tick = -1;

    CHECK_OK(gmp_chan_recv(ch, &tick));
    CHECK(tick >= due);
    CHECK(tick <= gmp_now());
    return tick;
}

static void after_ticks_once(void *arg)
{
    static const int64_t spans[] = {INT64_MIN, -1, 0, 1, US(80), MS(4)};

    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        int64_t due = gmp_after_ns(spans[i]), value = 5;
        gmp_chan *ch = gmp_after(spans[i]);

        CHECK(ch != NULL);
        CHECK_EQ(gmp_chan_cap(ch), 1);
        receive_tick(ch, due);
        CHECK_EQ(gmp_chan_try_recv(ch, &value), -EAGAIN);
        CHECK_EQ(gmp_chan_recv_until(ch, &value, gmp_after_ns(US(50))),
                 -ETIMEDOUT);
        CHECK_EQ(value, 5);
        gmp_chan_unref(ch);
    }
}

/* The tick waits in the buffer for whoever comes late, as it was. */
static void after_keeps_its_tick(void *arg)
{
    int64_t due = gmp_after_ns(US(100)), seen;
    gmp_chan *ch = gmp_after(US(100));

    AWAIT(gmp_chan_len(ch) == 1);
    seen = gmp_now();
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK(receive_tick(ch, due) <= seen);
    gmp_chan_unref(ch);
}

static void after_in_the_far_future(void *arg)
{
    static const int64_t spans[] = {SEC(100), FAR, INT64_MAX - 1, INT64_MAX};

    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        gmp_chan *ch = gmp_after(spans[i]);

        CHECK_EQ(gmp_chan_len(ch), 0);
        CHECK_EQ(gmp_chan_recv_until(ch, NULL, gmp_now() - 1), -ETIMEDOUT);
        gmp_chan_unref(ch);
    }
}

/* A user may close it, and send on it, as on any channel: the tick finds no
 * room then, and goes nowhere. */
static void after_is_a_channel(void *arg)
{
    gmp_chan *closed = gmp_after(US(500)), *full = gmp_after(US(500));
    int64_t value = 77;

    if (gmp_chan_try_send(full, &value) == 0) {
        CHECK_OK(gmp_chan_close(closed));
        CHECK_OK(gmp_sleep(MS(2)));
        CHECK_OK(gmp_chan_recv(full, &value));
        CHECK_EQ(value, 77);
        while (gmp_chan_recv(closed, &value) == 0)
            continue; /* the tick was faster than the close */
        CHECK_EQ(value, 0);
    }
    gmp_chan_unref(closed);
    gmp_chan_unref(full);
}

/* Tick n comes n + 1 periods after the start, at the soonest. */
static void ticks_never_early(void *arg)
{
    static const int64_t periods[] = {US(30), US(700)};

    for (int i = 0; i < 2; i++) {
        int64_t start = gmp_now(), last = start, tick;
        gmp_chan *ch = gmp_tick(periods[i]);

        CHECK(ch != NULL);
        CHECK_EQ(gmp_chan_cap(ch), 1);
        for (int n = 1; n <= 30; n++) {
            tick = receive_tick(ch, start + n * periods[i]);
            CHECK(tick > last);
            last = tick;
        }
        CHECK_OK(gmp_chan_close(ch));
        gmp_chan_unref(ch);
    }
}

static void follow(void *arg)
{
    int64_t start = gmp_now(), last = start, tick;
    gmp_chan *ch = gmp_tick(US(15));

    while (gmp_now() < start + MS(50)) {
        tick = receive_tick(ch, start);
        CHECK(tick > last);
        last = tick;
    }
    gmp_chan_unref(ch);
}

/* Also where a thread that sends one is held up, and another sends the next
 * one: more processors than CPUs. */
static void ticks_come_in_order(void *arg)
{
    int procs = gmp_set_maxprocs(12);
    gmp_g *gs[6];

    for (int i = 0; i < 6; i++)
        gs[i] = spawn(follow, NULL);
    for (int i = 0; i < 6; i++)
        CHECK_OK(gmp_join(gs[i]));
    gmp_set_maxprocs(procs);
}

static void no_period_no_ticker(void *arg)
{
    CHECK(gmp_tick(0) == NULL);
    CHECK(gmp_tick(-1) == NULL);
    CHECK(gmp_tick(INT64_MIN) == NULL);
    gmp_chan_unref(gmp_tick(INT64_MAX));
}

/* While a tick waits in the buffer the others get lost. One may be on its way
 * at the receiver's return; the one after that is younger. */
static void slow_receivers_miss_ticks(void *arg)
{
    int64_t start = gmp_now(), returned;
    gmp_chan *ch = gmp_tick(US(200));

    for (int i = 0; i < 5; i++) {
        AWAIT(gmp_chan_len(ch) == 1);
        CHECK_OK(gmp_sleep(MS(2)));
        CHECK_EQ(gmp_chan_len(ch), 1);
        returned = gmp_now();
        CHECK(receive_tick(ch, start) < returned);
        receive_tick(ch, start);
        receive_tick(ch, returned);
    }
    CHECK_OK(gmp_chan_close(ch));
    gmp_chan_unref(ch);
}

static void wait_for_close(void *ch)
{
    while (gmp_chan_recv(ch, NULL) == 0)
        continue;
    CHECK_EQ(gmp_chan_recv(ch, NULL), -EPIPE);
}

static void closing_stops(void *arg)
{
    gmp_chan *ch = gmp_tick(US(50)), *far = gmp_tick(FAR);
    gmp_g *waiters[2] = {spawn(wait_for_close, ch),
                         spawn(wait_for_close, far)};
    int64_t value = 1;

    CHECK_OK(gmp_sleep(US(300)));
    CHECK_OK(gmp_chan_close(ch));
    CHECK_OK(gmp_chan_close(far));
    CHECK_EQ(gmp_chan_close(ch), -EPIPE);
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_join(waiters[i]));
    CHECK_EQ(gmp_chan_recv(ch, &value), -EPIPE);
    CHECK_EQ(value, 0);
    gmp_chan_unref(ch);
    gmp_chan_unref(far);
}

/* At any moment: with ticks on their way, or one in the buffer. */
static void close_races_with_ticks(void *arg)
{
    uint64_t seed = 3;
    int64_t value;
    int left;

    for (int i = 0; i < CLOSED; i++) {
        gmp_chan *ch = i % 3 ? gmp_tick(US(1 + below(&seed, 20)))
                             : gmp_after(US(below(&seed, 20)));

        spin_ns(US(below(&seed, 40)));
        if (i % 5 == 0)
            gmp_chan_try_recv(ch, NULL);
        if (i % 7) {
            CHECK_OK(gmp_chan_close(ch));
            for (left = 0; gmp_chan_try_recv(ch, &value) == 0; left++)
                CHECK(value > 0);
            CHECK(left <= 1);
            CHECK_EQ(gmp_chan_try_recv(ch, &value), -EPIPE);
        }
        gmp_chan_unref(ch);
    }
}

/* Channels that nobody wants any more go at once, and not when they tick. */
static void unref_before_the_tick(void *arg)
{
    long rss = 0;

    for (int i = 0; i < 10 * DROPPED; i++) {
        if (i == DROPPED)
            rss = status_value("/proc/self/status", "VmRSS:");
        gmp_chan_unref(i % 2 ? gmp_after(FAR + i) : gmp_tick(FAR - i));
    }
    rss = status_value("/proc/self/status", "VmRSS:") - rss;
    CHECK(rss < 4096 || test_under(NULL)); /* a tool may keep what is freed */
}

/* Another reference keeps the ticker going. */
static void last_unref_counts(void *arg)
{
    int64_t start = gmp_now();
    gmp_chan *ch = gmp_tick(US(100)), *once = gmp_after(MS(1));

    CHECK(gmp_chan_ref(ch) == ch);
    CHECK(gmp_chan_ref(once) == once);
    gmp_chan_unref(ch);
    gmp_chan_unref(once);
    for (int n = 1; n <= 3; n++)
        receive_tick(ch, start + n * US(100));
    receive_tick(once, start + MS(1));
    gmp_chan_unref(ch);
    gmp_chan_unref(once);
}

static void send_slowly(void *ch)
{
    for (long i = 1; i <= 5; i++) {
        CHECK_OK(gmp_sleep(US(300)));
        CHECK_OK(gmp_chan_send(ch, &i));
    }
    CHECK_OK(gmp_chan_close(ch));
}

/* The idiom: a message, or a timeout. Every message comes, however often the
 * wait for it is given up. */
static void after_is_a_timeout(void *arg)
{
    gmp_chan *ch = gmp_chan_make(sizeof(long), 0);
    gmp_g *sender = spawn(send_slowly, ch);
    long value, sum = 0;
    bool open = true;

    while (open) {
        int64_t due = gmp_after_ns(US(100)), tick = -1;
        gmp_chan *timeout = gmp_after(US(100));
        gmp_case cases[] = {{ch, &value, GMP_RECV, 1},
                            {timeout, &tick, GMP_RECV, 1}};
        int which = gmp_select(cases, 2);

        CHECK(which == 0 || which == 1);
        CHECK_EQ(cases[1 - which].result, 1);
        if (which == 0) {
            open = cases[0].result == 0;
            CHECK(open || cases[0].result == -EPIPE);
            sum += open ? value : 0;
            CHECK_EQ(tick, -1);
        } else {
            CHECK_OK(cases[1].result);
            CHECK(tick >= due && tick <= gmp_now());
        }
        gmp_chan_unref(timeout);
    }
    CHECK_EQ(sum, 1 + 2 + 3 + 4 + 5);
    CHECK_OK(gmp_join(sender));
    gmp_chan_unref(ch);
}

/* What is never ready loses against time, and what is ready does not. */
static void timeout_decides(void *arg)
{
    gmp_chan *never = gmp_chan_make(0, 0), *ready = gmp_chan_make(0, 1);
    gmp_chan *soon = gmp_after(US(200)), *late = gmp_after(FAR);
    gmp_case first[] = {{never, NULL, GMP_RECV, 0}, {soon, NULL, GMP_RECV, 0}};
    gmp_case second[] = {{ready, NULL, GMP_SEND, 0},
                         {late, NULL, GMP_RECV, 0}};

    CHECK_EQ(gmp_select(first, 2), 1);
    CHECK_EQ(gmp_select(second, 2), 0);
    gmp_chan_unref(never);
    gmp_chan_unref(ready);
    gmp_chan_unref(soon);
    gmp_chan_unref(late);
}

/* Many receivers on one ticker, every other one a host thread. */
static gmp_chan *shared;
static atomic_int shared_ticks;

struct receiver {
    gmp_g *g;
    pthread_t thread;
    int64_t last;
};

static void receive_until_closed(void *arg)
{
    struct receiver *r = arg;
    int64_t tick;

    while (gmp_chan_recv(shared, &tick) == 0) {
        CHECK(tick > r->last); /* one receiver sees them in order, once */
        CHECK(tick <= gmp_now());
        r->last = tick;
        atomic_fetch_add(&shared_ticks, 1);
    }
}

static void *receive_on_thread(void *arg)
{
    receive_until_closed(arg);
    return NULL;
}

static void each_tick_comes_once(void *arg)
{
    struct receiver receivers[RECEIVERS];
    int64_t start = gmp_now(), elapsed;

    atomic_store(&shared_ticks, 0);
    shared = gmp_tick(US(100));
    for (int i = 0; i < RECEIVERS; i++) {
        struct receiver *r = &receivers[i];

        *r = (struct receiver){.last = start};
        if (i % 2)
            r->g = spawn(receive_until_closed, r);
        else
            CHECK_OK(pthread_create(&r->thread, NULL, receive_on_thread, r));
    }
    AWAIT(atomic_load(&shared_ticks) >= 50);
    CHECK_OK(gmp_chan_close(shared));
    elapsed = gmp_now() - start;
    for (int i = 0; i < RECEIVERS; i++) {
        if (i % 2)
            CHECK_OK(gmp_join(receivers[i].g));
        else
            CHECK_OK(pthread_join(receivers[i].thread, NULL));
    }
    CHECK(atomic_load(&shared_ticks) <= elapsed / US(100));
    gmp_chan_unref(shared);
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        after_ticks_once,        after_keeps_its_tick,
        after_in_the_far_future, after_is_a_channel,
        ticks_never_early,       slow_receivers_miss_ticks,
        no_period_no_ticker,     close_races_with_ticks,
        closing_stops,           unref_before_the_tick,
        last_unref_counts,       after_is_a_timeout,
        timeout_decides,         each_tick_comes_once,
        ticks_come_in_order,
    };
    int64_t goroutines;

    CHECK_OK(gmp_wait_init());
    goroutines = gmp_num_goroutines();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    AWAIT(gmp_num_goroutines() <= goroutines);
    return 0;
}
