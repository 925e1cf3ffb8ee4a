/* Channels: what Go's do, from goroutines and host threads. */
#include "test.h"

enum { PRODUCERS = 10, CONSUMERS = 7, EACH = 2000, BIG = 100000 };

static void unbuffered_needs_a_partner(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 0);
    int value = 5;

    CHECK_EQ(gmp_chan_cap(ch), 0);
    CHECK_EQ(gmp_chan_len(ch), 0);
    CHECK_EQ(gmp_chan_try_send(ch, &value), -EAGAIN);
    CHECK_EQ(gmp_chan_try_recv(ch, &value), -EAGAIN);
    CHECK_EQ(value, 5);
    gmp_chan_unref(ch);
}

static void buffer_is_a_queue(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 3);
    int value;

    CHECK_EQ(gmp_chan_cap(ch), 3);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(gmp_chan_len(ch), i);
            value = 10 * round + i;
            CHECK_OK(i % 2 ? gmp_chan_send(ch, &value)
                           : gmp_chan_try_send(ch, &value));
        }
        CHECK_EQ(gmp_chan_try_send(ch, &value), -EAGAIN);
        for (int i = 0; i < 3; i++) {
            CHECK_OK(i % 2 ? gmp_chan_recv(ch, &value)
                           : gmp_chan_try_recv(ch, &value));
            CHECK_EQ(value, 10 * round + i);
        }
        CHECK_EQ(gmp_chan_try_recv(ch, &value), -EAGAIN);
        CHECK_EQ(gmp_chan_len(ch), 0);
    }
    gmp_chan_unref(ch);
}

static void closed_drains_then_zeroes(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int64_t), 4);
    int64_t value = 1;

    CHECK_OK(gmp_chan_send(ch, &value));
    value = 2;
    CHECK_OK(gmp_chan_send(ch, &value));
    CHECK_OK(gmp_chan_close(ch));
    CHECK_EQ(gmp_chan_close(ch), -EPIPE);
    CHECK_EQ(gmp_chan_send(ch, &value), -EPIPE);
    CHECK_EQ(gmp_chan_try_send(ch, &value), -EPIPE);
    CHECK_EQ(gmp_chan_len(ch), 2);
    CHECK_OK(gmp_chan_recv(ch, &value));
    CHECK_EQ(value, 1);
    CHECK_OK(gmp_chan_try_recv(ch, &value));
    CHECK_EQ(value, 2);
    for (int i = 0; i < 2; i++) {
        value = -1;
        CHECK_EQ(gmp_chan_recv(ch, &value), -EPIPE);
        CHECK_EQ(value, 0);
        value = -1;
        CHECK_EQ(gmp_chan_try_recv(ch, &value), -EPIPE);
        CHECK_EQ(value, 0);
    }
    CHECK_EQ(gmp_chan_recv(ch, NULL), -EPIPE);
    gmp_chan_unref(ch);
}

static gmp_chan *shared;
static atomic_int broken_pipes;

static void receive_until_closed(void *arg)
{
    int64_t value = -1;

    CHECK_EQ(gmp_chan_recv(shared, &value), -EPIPE);
    CHECK_EQ(value, 0);
    atomic_fetch_add(&broken_pipes, 1);
}

static void send_until_closed(void *arg)
{
    int64_t value = 7;

    while (gmp_chan_send(shared, &value) == 0)
        continue;
    CHECK_EQ(gmp_chan_send(shared, &value), -EPIPE);
    atomic_fetch_add(&broken_pipes, 1);
}

static void close_wakes_everybody(gmp_fn waiter, size_t capacity)
{
    gmp_g *waiters[20];

    shared = gmp_chan_make(sizeof(int64_t), capacity);
    atomic_store(&broken_pipes, 0);
    for (int i = 0; i < 20; i++)
        waiters[i] = spawn(waiter, NULL);
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_EQ(atomic_load(&broken_pipes), 0);
    CHECK_OK(gmp_chan_close(shared));
    for (int i = 0; i < 20; i++)
        CHECK_OK(gmp_join(waiters[i]));
    CHECK_EQ(atomic_load(&broken_pipes), 20);
    gmp_chan_unref(shared);
}

static atomic_int tickets;

static void receive_in_turn(void *arg)
{
    int value;

    atomic_fetch_add(&tickets, 1);
    CHECK_OK(gmp_chan_recv(shared, &value));
    *(int *)arg = value;
}

static void send_in_turn(void *arg)
{
    atomic_fetch_add(&tickets, 1);
    CHECK_OK(gmp_chan_send(shared, arg));
}

/* Starts five waiters, each when the one before waits as far as one can see,
 * and says whether they were served in that order. */
static bool served_in_order(bool senders)
{
    gmp_g *waiters[5];
    int values[5], value;
    bool ordered = true;

    shared = gmp_chan_make(sizeof(int), 0);
    atomic_store(&tickets, 0);
    for (int i = 0; i < 5; i++) {
        values[i] = i;
        waiters[i] =
            spawn(senders ? send_in_turn : receive_in_turn, &values[i]);
        AWAIT(atomic_load(&tickets) == i + 1);
        CHECK_OK(gmp_sleep(MS(2)));
    }
    for (int i = 0; i < 5; i++) {
        value = i;
        if (senders)
            CHECK_OK(gmp_chan_recv(shared, &value));
        else
            CHECK_OK(gmp_chan_send(shared, &value));
        ordered = ordered && value == i;
    }
    for (int i = 0; i < 5; i++) {
        CHECK_OK(gmp_join(waiters[i]));
        ordered = ordered && values[i] == i;
    }
    gmp_chan_unref(shared);
    return ordered;
}

/* A loaded machine may hold one waiter up on its way to the channel. That it
 * does so each of four times is the channel's fault. */
static void waiters_are_served_in_order(bool senders)
{
    for (int tries = 0; !served_in_order(senders); tries++)
        CHECK(tries < 3);
}

static void count_signals(void *arg)
{
    long n = 0;

    while (gmp_chan_recv(shared, NULL) == 0)
        n++;
    *(long *)arg = n;
}

static void elements_may_be_empty(void)
{
    long n = 0;
    gmp_g *g;

    shared = gmp_chan_make(0, 4);
    CHECK(shared != NULL);
    CHECK_EQ(gmp_chan_cap(shared), 4);
    g = spawn(count_signals, &n);
    for (int i = 0; i < 100; i++)
        CHECK_OK(gmp_chan_send(shared, NULL));
    CHECK_OK(gmp_chan_close(shared));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(n, 100);
    gmp_chan_unref(shared);
}

static void echo_big(void *arg)
{
    gmp_chan **both = arg;
    static unsigned char elem[BIG];

    while (gmp_chan_recv(both[0], elem) == 0)
        CHECK_OK(gmp_chan_send(both[1], elem));
    for (int i = 0; i < BIG; i++)
        CHECK_EQ(elem[i], 0);
}

static void elements_may_be_big(void)
{
    static unsigned char elem[BIG];
    gmp_chan *both[2] = {gmp_chan_make(BIG, 0), gmp_chan_make(BIG, 2)};
    gmp_g *g = spawn(echo_big, both);

    for (int round = 1; round < 6; round++) {
        memset(elem, round, BIG);
        CHECK_OK(gmp_chan_send(both[0], elem));
        memset(elem, 0xEE, BIG);
        CHECK_OK(gmp_chan_recv(both[1], elem));
        for (int i = 0; i < BIG; i++)
            CHECK_EQ(elem[i], round);
    }
    CHECK_OK(gmp_chan_close(both[0]));
    CHECK_OK(gmp_join(g));
    gmp_chan_unref(both[0]);
    gmp_chan_unref(both[1]);
}

static void send_dropped(void *arg)
{
    int value = 1;

    CHECK_OK(gmp_chan_send(arg, &value));
    gmp_chan_unref(arg);
}

static void references_count(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 0);

    CHECK(gmp_chan_ref(ch) == ch);
    CHECK_OK(gmp_go(send_dropped, ch));
    CHECK_OK(gmp_chan_recv(ch, NULL)); /* takes the element, drops it */
    for (int i = 0; i < 1000; i++)
        CHECK(gmp_chan_ref(ch) == ch);
    for (int i = 0; i < 1000; i++)
        gmp_chan_unref(ch);
    CHECK_OK(gmp_chan_close(ch));
    gmp_chan_unref(ch);
    gmp_chan_unref(NULL);
    CHECK(gmp_chan_ref(NULL) == NULL);
}

struct elem {
    int producer, number;
    char padding[13];
};

static atomic_long received, total;
static atomic_int producers_left;

static void produce(void *arg)
{
    struct elem elem;

    memset(&elem, 0, sizeof elem);
    elem.producer = (int)(intptr_t)arg;
    for (elem.number = 0; elem.number < EACH; elem.number++)
        CHECK_OK(gmp_chan_send(shared, &elem));
    if (atomic_fetch_sub(&producers_left, 1) == 1)
        CHECK_OK(gmp_chan_close(shared));
}

static void consume(void *arg)
{
    int next[PRODUCERS] = {0};
    struct elem elem;
    int result;

    while ((result = gmp_chan_recv(shared, &elem)) == 0) {
        /* One receiver sees each sender's elements in their order. */
        CHECK(elem.number >= next[elem.producer]);
        next[elem.producer] = elem.number + 1;
        atomic_fetch_add(&received, 1);
        atomic_fetch_add(&total, elem.number);
    }
    CHECK_EQ(result, -EPIPE);
}

static void *consume_on_thread(void *arg)
{
    consume(arg);
    return NULL;
}

static void *produce_on_thread(void *arg)
{
    produce(arg);
    return NULL;
}

/* Every element arrives exactly once. With `threads`, a producer and two
 * consumers are host threads. */
static void every_element_arrives(size_t capacity, bool threads)
{
    gmp_g *gs[PRODUCERS + CONSUMERS];
    pthread_t hosts[3];
    intptr_t first = threads, n = 0;

    shared = gmp_chan_make(sizeof(struct elem), capacity);
    atomic_store(&received, 0);
    atomic_store(&total, 0);
    atomic_store(&producers_left, PRODUCERS);
    for (int i = 0; i < CONSUMERS; i++)
        gs[n++] = spawn(consume, NULL);
    for (intptr_t i = first; i < PRODUCERS; i++)
        gs[n++] = spawn(produce, (void *)i);
    if (threads) {
        pthread_create(&hosts[0], NULL, produce_on_thread, (void *)0);
        pthread_create(&hosts[1], NULL, consume_on_thread, NULL);
        pthread_create(&hosts[2], NULL, consume_on_thread, NULL);
        for (int i = 0; i < 3; i++)
            CHECK_OK(pthread_join(hosts[i], NULL));
    }
    for (intptr_t i = 0; i < n; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_EQ(atomic_load(&received), PRODUCERS * EACH);
    CHECK_EQ(atomic_load(&total), (long)PRODUCERS * EACH * (EACH - 1) / 2);
    gmp_chan_unref(shared);
}

int test_main(int argc, char **argv)
{
    unbuffered_needs_a_partner();
    buffer_is_a_queue();
    closed_drains_then_zeroes();
    close_wakes_everybody(receive_until_closed, 0);
    close_wakes_everybody(receive_until_closed, 4);
    close_wakes_everybody(send_until_closed, 0);
    close_wakes_everybody(send_until_closed, 4);
    waiters_are_served_in_order(false);
    waiters_are_served_in_order(true);
    elements_may_be_empty();
    elements_may_be_big();
    references_count();
    every_element_arrives(0, false);
    every_element_arrives(1, true);
    every_element_arrives(64, false);
    every_element_arrives(0, true);
    return 0;
}
