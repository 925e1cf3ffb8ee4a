/* Many selects on the same channels: no element is lost or comes twice, no
 * order of the cases makes them wait for each other, and selects meet. */
#include "cases.h"

#include <sched.h>

enum { WIDTH = 4, ROUNDS = 4000 };

static gmp_chan *chans[WIDTH];
static atomic_bool over;

/* What a party has given or got: how many, and their sum. */
struct tally {
    struct party party;
    int number;
    bool sends;
    long count, sum;
};

/* Tries to be a partner of the selector on one channel, again and again. */
static void rival(void *arg)
{
    struct tally *t = arg;

    while (!atomic_load(&over)) {
        long value = t->count * WIDTH + t->number;
        int result = t->sends ? gmp_chan_try_send(chans[t->number], &value)
                              : gmp_chan_try_recv(chans[t->number], &value);

        if (result == 0) {
            t->count++;
            t->sum += value;
        } else {
            CHECK_EQ(result, -EAGAIN);
            gmp_yield();
            sched_yield();
        }
    }
}

/* Rivals offer on all channels of one select at a time: each select takes
 * exactly one offer, and the others stay with who made them. */
static void one_rival_wins(bool sends)
{
    struct tally rivals[WIDTH], all = {.count = 0, .sum = 0};
    gmp_case cases[WIDTH];
    long elems[WIDTH], sum = 0;

    atomic_store(&over, false);
    for (int i = 0; i < WIDTH; i++) {
        chans[i] = make_chan(sizeof(long), 0);
        rivals[i] = (struct tally){.number = i, .sends = sends};
        cases[i] = sends ? receiving(chans[i], &elems[i])
                         : sending(chans[i], &elems[i]);
    }
    for (int i = 0; i < WIDTH; i++)
        begin(&rivals[i].party, i == 0, rival, &rivals[i]);
    for (int round = 0; round < ROUNDS; round++) {
        int chosen;

        for (int i = 0; i < WIDTH; i++)
            elems[i] = sends ? -1 : round * WIDTH + i;
        chosen = gmp_select(cases, WIDTH);
        check_chosen(cases, WIDTH, chosen);
        CHECK_OK(cases[chosen].result);
        cases[chosen].result = UNTOUCHED;
        for (int i = 0; sends && i < WIDTH; i++)
            CHECK((elems[i] >= 0) == (i == chosen));
        sum += elems[chosen];
    }
    atomic_store(&over, true);
    for (int i = 0; i < WIDTH; i++) {
        finish(&rivals[i].party);
        all.count += rivals[i].count;
        all.sum += rivals[i].sum;
        check_deserted(chans[i]);
        gmp_chan_unref(chans[i]);
    }
    CHECK_EQ(all.count, ROUNDS);
    CHECK_EQ(all.sum, sum);
}

enum { SENDERS = 6, RECEIVERS = 5, EACH = 3000 };

static atomic_uchar seen[SENDERS * EACH];
static atomic_int senders_left;

static void shuffle(int *order, int n, uint64_t *random)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(next_random(random) % (unsigned)(i + 1));
        int kept = order[i];

        order[i] = order[j];
        order[j] = kept;
    }
}

/* Sends each of its numbers on whichever channel takes it, with the cases in
 * another order each time; the first sender does not select. */
static void send_all(void *arg)
{
    int number = (int)(intptr_t)arg, order[WIDTH] = {0, 1, 2, 3};
    uint64_t random = (uint64_t)number;
    gmp_case cases[WIDTH];

    for (int i = 0; i < EACH; i++) {
        int value = number * EACH + i;

        shuffle(order, WIDTH, &random);
        for (int j = 0; j < WIDTH; j++)
            cases[j] = sending(chans[order[j]], &value);
        if (number == 0)
            CHECK_OK(gmp_chan_send(chans[i % WIDTH], &value));
        else
            CHECK_OK(cases[gmp_select(cases, WIDTH)].result);
    }
    if (atomic_fetch_sub(&senders_left, 1) == 1)
        for (int i = 0; i < WIDTH; i++)
            CHECK_OK(gmp_chan_close(chans[i]));
}

/* Receives from all channels, until all are closed and drained. */
static void receive_all(void *arg)
{
    int order[WIDTH] = {0, 1, 2, 3}, left = WIDTH;
    uint64_t random = (uint64_t)(intptr_t)arg + 100;
    gmp_chan *open[WIDTH];
    gmp_case cases[WIDTH];

    memcpy(open, chans, sizeof open);
    while (left > 0) {
        int values[WIDTH], chosen;

        shuffle(order, WIDTH, &random);
        for (int j = 0; j < WIDTH; j++) {
            values[j] = -1;
            cases[j] = receiving(open[order[j]], &values[j]);
        }
        chosen = gmp_select(cases, WIDTH);
        check_chosen(cases, WIDTH, chosen);
        for (int j = 0; j < WIDTH; j++)
            CHECK((values[j] != -1) == (j == chosen));
        if (cases[chosen].result == 0) {
            CHECK_EQ(atomic_fetch_add(&seen[values[chosen]], 1), 0);
        } else {
            CHECK_EQ(cases[chosen].result, -EPIPE);
            CHECK_EQ(values[chosen], 0);
            open[order[chosen]] = NULL;
            left--;
        }
    }
}

/* Selects against selects and plain sends, each with the channels in an order
 * of its own: every element arrives exactly once. */
static void every_element_arrives(size_t capacity, bool hosts)
{
    struct party parties[SENDERS + RECEIVERS];

    for (int i = 0; i < WIDTH; i++)
        chans[i] = make_chan(sizeof(int), capacity);
    memset((void *)seen, 0, sizeof seen);
    atomic_store(&senders_left, SENDERS);
    for (intptr_t i = 0; i < SENDERS + RECEIVERS; i++)
        begin(&parties[i], hosts && i % 4 == 0,
              i < SENDERS ? send_all : receive_all, (void *)i);
    for (int i = 0; i < SENDERS + RECEIVERS; i++)
        finish(&parties[i]);
    for (int i = 0; i < SENDERS * EACH; i++)
        CHECK_EQ(atomic_load(&seen[i]), 1);
    for (int i = 0; i < WIDTH; i++)
        gmp_chan_unref(chans[i]);
}

/* Two parties that do each round at the same time. */
struct pair {
    struct party parties[2];
    atomic_long arrived;
};

/* Waits for the other party; on a processor of its own, with open eyes. */
static void meet(struct pair *pair, long *meetings)
{
    ++*meetings;
    atomic_fetch_add(&pair->arrived, 1);
    for (int i = 1; atomic_load(&pair->arrived) < 2 * *meetings; i++)
        if (i % 10000 == 0) {
            gmp_yield();
            sched_yield();
        }
}

static void delay(uint64_t *random)
{
    for (volatile uint64_t left = next_random(random) % 100; left > 0;)
        left = left - 1;
}

static void select_in_time(void *arg)
{
    struct pair *pair = arg;
    uint64_t random = 1;
    long meetings = 0;

    for (int round = 0; round < ROUNDS; round++) {
        gmp_case cases[2];
        int values[2] = {-1, -1}, chosen;

        for (int i = 0; i < 2; i++) {
            chans[i] = make_chan(sizeof(int), 0);
            cases[i] = receiving(chans[i], &values[i]);
        }
        meet(pair, &meetings);
        delay(&random);
        chosen = gmp_select(cases, 2);
        check_chosen(cases, 2, chosen);
        meet(pair, &meetings);
        CHECK_EQ(cases[chosen].result, round % 3 == 2 ? -EPIPE : 0);
        CHECK_EQ(values[chosen], round % 3 == 2 ? 0 : round);
        CHECK_EQ(values[!chosen], -1);
        gmp_chan_unref(chans[0]);
        gmp_chan_unref(chans[1]);
    }
}

static void end_in_time(void *arg)
{
    struct pair *pair = arg;
    uint64_t random = 2;
    long meetings = 0;

    for (int round = 0; round < ROUNDS; round++) {
        meet(pair, &meetings);
        delay(&random);
        if (round % 3 == 0) {
            gmp_case cases[] = {sending(chans[1], &round),
                                sending(chans[0], &round)};

            CHECK_OK(cases[gmp_select(cases, 2)].result);
        } else if (round % 3 == 1) {
            CHECK_OK(gmp_chan_send(chans[round % 2], &round));
        } else {
            CHECK_OK(gmp_chan_close(chans[round % 2]));
        }
        meet(pair, &meetings);
    }
}

/* A select and what ends it come at the same moment: neither waits in vain.
 * There is no third party that would help them out. */
static void nobody_is_missed(bool first_is_host, bool second_is_host)
{
    struct pair pair = {.arrived = 0};

    begin(&pair.parties[0], first_is_host, select_in_time, &pair);
    begin(&pair.parties[1], second_is_host, end_in_time, &pair);
    finish(&pair.parties[0]);
    finish(&pair.parties[1]);
}

enum { TRADERS = 6 };

static gmp_chan *closing;
static atomic_long trades;

/* Sends and receives on the same two channels in one select; what it sends
 * names it, and never comes back to it. */
static void trade(void *arg)
{
    struct tally *t = arg;
    uint64_t random = (uint64_t)t->number;
    int order[5] = {0, 1, 2, 3, 4};

    for (;;) {
        long out = t->number, in = -1;
        gmp_case all[] = {sending(chans[0], &out), receiving(chans[0], &in),
                          sending(chans[1], &out), receiving(chans[1], &in),
                          receiving(closing, NULL)};
        gmp_case cases[5];
        int chosen;

        shuffle(order, 5, &random);
        for (int i = 0; i < 5; i++)
            cases[i] = all[order[i]];
        chosen = gmp_select(cases, 5);
        check_chosen(cases, 5, chosen);
        if (cases[chosen].result == -EPIPE)
            return;
        CHECK_OK(cases[chosen].result);
        if (cases[chosen].op == GMP_SEND) {
            CHECK_EQ(in, -1);
            t->count++;
            t->sum += out;
        } else {
            CHECK(in >= 0 && in != t->number);
            t->count--;
            t->sum -= in;
        }
        atomic_fetch_add(&trades, 1);
    }
}

/* Traders who all do the same find each other, until the market closes; what
 * one gave, another one got. */
static void selects_meet_each_other(int hosts)
{
    struct tally traders[TRADERS];
    long count = 0, sum = 0;

    closing = make_chan(0, 0);
    chans[0] = make_chan(sizeof(long), 0);
    chans[1] = make_chan(sizeof(long), 0);
    atomic_store(&trades, 0);
    for (int i = 0; i < TRADERS; i++) {
        traders[i] = (struct tally){.number = i};
        begin(&traders[i].party, i < hosts, trade, &traders[i]);
    }
    AWAIT(atomic_load(&trades) >= 20000);
    CHECK_OK(gmp_chan_close(closing));
    for (int i = 0; i < TRADERS; i++) {
        finish(&traders[i].party);
        count += traders[i].count;
        sum += traders[i].sum;
    }
    CHECK_EQ(count, 0);
    CHECK_EQ(sum, 0);
    for (int i = 0; i < 2; i++) {
        check_deserted(chans[i]);
        gmp_chan_unref(chans[i]);
    }
    gmp_chan_unref(closing);
}

int test_main(int argc, char **argv)
{
    one_rival_wins(false);
    one_rival_wins(true);
    every_element_arrives(0, false);
    every_element_arrives(0, true);
    every_element_arrives(1, false);
    every_element_arrives(16, true);
    nobody_is_missed(false, false);
    nobody_is_missed(false, true);
    nobody_is_missed(true, true);
    selects_meet_each_other(0);
    selects_meet_each_other(2);
    return 0;
}
