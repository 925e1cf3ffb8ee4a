/* Channels and selects. */
#include "ops.h"

enum { CAPACITY = 128, MOST = 4 };

static const int64_t HOUR = 3600 * (int64_t)1000000000;

/* Two goroutines, or what they are told. */
struct pair {
    gmp_chan *there, *back;
    int64_t deadline;
    long rounds;
};

static void answer(void *arg)
{
    struct pair *p = arg;
    long n;

    for (long i = 0; i < p->rounds; i++) {
        CHECK(gmp_chan_recv_until(p->there, &n, p->deadline) == 0);
        CHECK(gmp_chan_send_until(p->back, &n, p->deadline) == 0);
    }
}

/* As answer, by the functions without a deadline. */
static void answer_plainly(void *arg)
{
    struct pair *p = arg;
    long n;

    for (long i = 0; i < p->rounds; i++) {
        CHECK(gmp_chan_recv(p->there, &n) == 0);
        CHECK(gmp_chan_send(p->back, &n) == 0);
    }
}

static void pair_free(struct pair *p)
{
    gmp_chan_unref(p->there);
    gmp_chan_unref(p->back);
}

void pingpong(long rounds)
{
    struct pair p = {gmp_chan_make(sizeof(long), 0),
                     gmp_chan_make(sizeof(long), 0), GMP_FOREVER, rounds};
    gmp_g *g = spawn(answer_plainly, &p);
    long got;

    for (long i = 0; i < rounds; i++) {
        CHECK(gmp_chan_send(p.there, &i) == 0);
        CHECK(gmp_chan_recv(p.back, &got) == 0 && got == i);
    }
    CHECK(gmp_join(g) == 0);
    pair_free(&p);
}

void pingpong_until(long rounds)
{
    struct pair p = {gmp_chan_make(sizeof(long), 0),
                     gmp_chan_make(sizeof(long), 0), gmp_after_ns(HOUR),
                     rounds};
    gmp_g *g = spawn(answer, &p);
    long got;

    for (long i = 0; i < rounds; i++) {
        CHECK(gmp_chan_send_until(p.there, &i, p.deadline) == 0);
        CHECK(gmp_chan_recv_until(p.back, &got, p.deadline) == 0 && got == i);
    }
    CHECK(gmp_join(g) == 0);
    pair_free(&p);
}

void buffered(long rounds)
{
    gmp_chan *ch = gmp_chan_make(sizeof(long), CAPACITY);
    long got;

    for (long i = 0; i < rounds; i++) {
        CHECK(gmp_chan_send(ch, &i) == 0);
        CHECK(gmp_chan_recv(ch, &got) == 0 && got == i);
    }
    gmp_chan_unref(ch);
}

static void send_all(void *arg)
{
    struct pair *p = arg;

    for (long i = 0; i < p->rounds; i++)
        CHECK(gmp_chan_send(p->there, &i) == 0);
}

void buffered_1_1(long rounds)
{
    struct pair p = {gmp_chan_make(sizeof(long), CAPACITY), NULL, 0, rounds};
    gmp_g *g = spawn(send_all, &p);
    long got;

    for (long i = 0; i < rounds; i++)
        CHECK(gmp_chan_recv(p.there, &got) == 0 && got == i);
    CHECK(gmp_join(g) == 0);
    pair_free(&p);
}

/* One goroutine receives from whichever, and fills that up again. */
static void select_ready(long rounds, size_t n)
{
    gmp_case cases[MOST];
    long got = 0, sum = 0;

    for (size_t i = 0; i < n; i++) {
        long first = (long)i;

        cases[i] = (gmp_case){gmp_chan_make(sizeof(long), 2), &got, GMP_RECV,
                              0};
        CHECK(gmp_chan_send(cases[i].ch, &first) == 0);
    }
    for (long i = 0; i < rounds; i++) {
        int ran = gmp_select(cases, n);

        CHECK(ran >= 0 && ran == got);
        sum++;
        CHECK(gmp_chan_send(cases[ran].ch, &got) == 0);
    }
    CHECK(sum == rounds);
    for (size_t i = 0; i < n; i++)
        gmp_chan_unref(cases[i].ch);
}

void select2_ready(long rounds)
{
    select_ready(rounds, 2);
}

void select4_ready(long rounds)
{
    select_ready(rounds, 4);
}

void select2_park(long rounds)
{
    struct pair senders[2];
    gmp_g *gs[2];
    gmp_case cases[2];
    long got, sum = 0, half = rounds / 2;

    for (int i = 0; i < 2; i++) {
        senders[i] = (struct pair){gmp_chan_make(sizeof(long), 0), NULL, 0,
                                   half};
        cases[i] = (gmp_case){senders[i].there, &got, GMP_RECV, 0};
        gs[i] = spawn(send_all, &senders[i]);
    }
    for (long i = 0; i < 2 * half; i++) {
        CHECK(gmp_select(cases, 2) >= 0);
        sum += got;
    }
    CHECK(sum == half * (half - 1));
    for (int i = 0; i < 2; i++) {
        CHECK(gmp_join(gs[i]) == 0);
        pair_free(&senders[i]);
    }
}
