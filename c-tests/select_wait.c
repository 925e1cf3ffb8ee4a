/* Select where somebody waits: what wakes it, that exactly one case runs and
 * the others' channels are left at once, in which order waiters are served,
 * and that a select never meets itself. select_many.c has the crowds. */
#include "cases.h"

enum { MOST = 65536, BIG = 100000 };

/* One select on a party of its own. */
struct selector {
    struct party party;
    gmp_case *cases;
    size_t n;
    int index;
};

static void run_select(void *arg)
{
    struct selector *s = arg;

    s->index = gmp_select(s->cases, s->n);
}

static void begin_select(struct selector *s, bool host, gmp_case *cases,
                         size_t n)
{
    s->cases = cases;
    s->n = n;
    begin(&s->party, host, run_select, s);
}

/* What happens to the channel of the case of the same number. */
enum event { SENT, RECEIVED, CLOSED_FOR_RECV, CLOSED_FOR_SEND, EVENTS };

static void cause(enum event event, gmp_chan *ch)
{
    int value = 42;

    if (event == SENT) {
        AWAIT(gmp_chan_try_send(ch, &value) == 0);
    } else if (event == RECEIVED) {
        AWAIT(gmp_chan_try_recv(ch, &value) == 0);
        CHECK_EQ(value, 10 + RECEIVED);
    } else {
        CHECK_OK(gmp_sleep(US(200)));
        CHECK_OK(gmp_chan_close(ch));
    }
}

/* The select is decided by the event: from then on nobody waits on the other
 * channels, whether or not the selector has run again. */
static void woken_by(enum event event, bool host)
{
    gmp_chan *chans[EVENTS];
    int elems[EVENTS], want[EVENTS] = {42, 10 + RECEIVED, 0, 13};
    struct selector s;
    gmp_case cases[EVENTS];

    for (int i = 0; i < EVENTS; i++) {
        chans[i] = make_chan(sizeof(int), 0);
        elems[i] = 10 + i;
        cases[i] = i == RECEIVED || i == CLOSED_FOR_SEND
                       ? sending(chans[i], &elems[i])
                       : receiving(chans[i], &elems[i]);
    }
    begin_select(&s, host, cases, EVENTS);
    cause(event, chans[event]);
    for (int i = 0; i < EVENTS; i++)
        if (i != (int)event)
            check_deserted(chans[i]);
    finish(&s.party);
    CHECK_EQ(s.index, event);
    check_chosen(cases, EVENTS, event);
    CHECK_EQ(cases[event].result, event < CLOSED_FOR_RECV ? 0 : -EPIPE);
    for (int i = 0; i < EVENTS; i++) {
        CHECK_EQ(elems[i], i == (int)event ? want[i] : 10 + i);
        gmp_chan_unref(chans[i]);
    }
}

static void each_event_wakes(void)
{
    for (int i = 0; i < 10 * EVENTS; i++) {
        woken_by((enum event)(i % EVENTS), false);
        woken_by((enum event)(i % EVENTS), true);
    }
}

/* One channel in several cases of a waiting select: one of them runs. */
static void same_channel_waits_once(bool host, bool close)
{
    gmp_chan *ch = make_chan(sizeof(int), 0);
    int elems[6] = {1, 2, 3, 4, 5, 6}, value = 42, ran = 0;
    gmp_case cases[6];
    struct selector s;

    for (int i = 0; i < 6; i++)
        cases[i] = i % 2 ? sending(ch, &elems[i]) : receiving(ch, &elems[i]);
    begin_select(&s, host, cases, 6);
    if (close)
        cause(CLOSED_FOR_RECV, ch);
    else
        AWAIT(gmp_chan_try_send(ch, &value) == 0);
    if (!close)
        check_deserted(ch);
    finish(&s.party);
    check_chosen(cases, 6, s.index);
    CHECK_EQ(cases[s.index].result, close ? -EPIPE : 0);
    CHECK(close || s.index % 2 == 0);
    for (int i = 0; i < 6; i++)
        ran += elems[i] != i + 1;
    CHECK_EQ(ran, s.index % 2 == 0);
    if (s.index % 2 == 0)
        CHECK_EQ(elems[s.index], close ? 0 : 42);
    gmp_chan_unref(ch);
}

/* A select that sends and receives on one channel does not meet itself. */
static void nobody_meets_himself(void *arg)
{
    gmp_chan *ch = make_chan(sizeof(int), 0);
    int in = 1, out = 2;
    gmp_case cases[] = {sending(ch, &out), receiving(ch, &in),
                        sending(ch, &out), receiving(ch, &in)};

    for (size_t n = 1; n <= 4; n++) {
        CHECK_EQ(gmp_try_select(cases, n), -EAGAIN);
        CHECK_EQ(gmp_select_until(cases, n, 0), -ETIMEDOUT);
        CHECK_EQ(gmp_select_until(cases, n, gmp_after_ns(US(50))), -ETIMEDOUT);
    }
    check_chosen(cases, 4, -1);
    CHECK_EQ(in, 1);
    check_deserted(ch);
    gmp_chan_unref(ch);
}

static void select_nothing(void *arg)
{
    struct selector *s = arg;

    s->index = gmp_select(NULL, 0);
}

/* Nothing to wait for ends by a deadline or by cancellation alone. */
static void nothing_blocks_for_ever(void *arg)
{
    gmp_case cases[] = {receiving(NULL, NULL), sending(NULL, NULL)};
    int64_t deadline = gmp_after_ns(MS(1));
    struct selector nothing = {.index = 1}, null = {.index = 1};

    CHECK_EQ(gmp_select_until(NULL, 0, deadline), -ETIMEDOUT);
    CHECK(gmp_now() >= deadline);
    deadline = gmp_after_ns(MS(1));
    CHECK_EQ(gmp_select_until(cases, 2, deadline), -ETIMEDOUT);
    CHECK(gmp_now() >= deadline);
    begin(&nothing.party, false, select_nothing, &nothing);
    begin_select(&null, false, cases, 2);
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_OK(gmp_cancel(nothing.party.g));
    CHECK_OK(gmp_cancel(null.party.g));
    finish(&nothing.party);
    finish(&null.party);
    CHECK_EQ(nothing.index, -ECANCELED);
    CHECK_EQ(null.index, -ECANCELED);
    check_chosen(cases, 2, -1);
}

/* A try meets who waits in a select, in both directions. */
static void try_meets_a_waiter(bool host)
{
    gmp_chan *ch = make_chan(sizeof(int), 0), *idle = make_chan(sizeof(int), 0);
    int out = 5, in = 6;
    gmp_case waiting[] = {receiving(idle, NULL), receiving(ch, &in)};
    gmp_case trying[] = {sending(NULL, &out), sending(ch, &out)};
    struct selector s;

    for (int round = 0; round < 20; round++) {
        bool sends = round % 2;

        waiting[1] = sends ? sending(ch, &in) : receiving(ch, &in);
        trying[1] = sends ? receiving(ch, &out) : sending(ch, &out);
        in = round;
        out = 100 + round;
        begin_select(&s, host, waiting, 2);
        AWAIT(gmp_try_select(trying, 2) == 1);
        CHECK_EQ(gmp_try_select(trying, 2), -EAGAIN);
        finish(&s.party);
        CHECK_EQ(s.index, 1);
        CHECK_EQ(in, sends ? round : 100 + round);
        CHECK_EQ(out, in);
        CHECK_OK(waiting[1].result);
        CHECK_OK(trying[1].result);
        check_deserted(idle);
    }
    gmp_chan_unref(ch);
    gmp_chan_unref(idle);
}

/* A select that waits to send into a full buffer comes after what is in it. */
static void full_buffer_keeps_order(void)
{
    gmp_chan *ch = make_chan(sizeof(int), 2), *idle = make_chan(sizeof(int), 0);
    int value, out = 3;
    gmp_case cases[] = {receiving(idle, NULL), sending(ch, &out)};
    struct selector s;

    for (value = 1; value <= 2; value++)
        CHECK_OK(gmp_chan_send(ch, &value));
    begin_select(&s, false, cases, 2);
    CHECK_OK(gmp_sleep(US(500)));
    CHECK_EQ(gmp_chan_len(ch), 2);
    for (int i = 1; i <= 3; i++) {
        CHECK_OK(gmp_chan_recv(ch, &value));
        CHECK_EQ(value, i);
    }
    finish(&s.party);
    CHECK_EQ(s.index, 1);
    check_deserted(idle);
    gmp_chan_unref(ch);
    gmp_chan_unref(idle);
}

static unsigned char big_out[BIG], big_in[BIG];

/* Big elements pass between two selects, whichever comes first. */
static void big_elements_pass(bool host, bool waiter_sends)
{
    gmp_chan *ch = make_chan(BIG, 0), *idle = make_chan(BIG, 0);
    gmp_case out[] = {receiving(idle, NULL), sending(ch, big_out)};
    gmp_case in[] = {receiving(ch, big_in), receiving(idle, NULL)};
    struct selector s;

    for (int round = 1; round < 6; round++) {
        memset(big_out, round, BIG);
        memset(big_in, 0xEE, BIG);
        begin_select(&s, host, waiter_sends ? out : in, 2);
        if (round % 2)
            CHECK_OK(gmp_sleep(US(200)));
        CHECK_EQ(gmp_select(waiter_sends ? in : out, 2), !waiter_sends);
        finish(&s.party);
        CHECK_EQ(s.index, waiter_sends);
        for (int i = 0; i < BIG; i++)
            CHECK_EQ(big_in[i], round);
    }
    gmp_chan_unref(ch);
    gmp_chan_unref(idle);
}

/* As many cases as there may be, each on a channel of its own, wait at once,
 * and leave all the others when one is served. */
static void most_cases_wait(bool host)
{
    static gmp_case cases[MOST];
    static const size_t places[] = {0, 40000, MOST - 1};
    struct selector s;

    for (size_t i = 0; i < MOST; i++)
        cases[i] = i % 2 ? sending(make_chan(0, 0), NULL)
                         : receiving(make_chan(0, 0), NULL);
    CHECK_EQ(gmp_select_until(cases, MOST, gmp_after_ns(US(100))), -ETIMEDOUT);
    check_chosen(cases, MOST, -1);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        gmp_case *served = &cases[places[i]];

        begin_select(&s, host, cases, MOST);
        AWAIT((served->op == GMP_RECV ? gmp_chan_try_send(served->ch, NULL)
                                      : gmp_chan_try_recv(served->ch, NULL))
              == 0);
        for (size_t j = 0; j < MOST; j++)
            check_deserted(cases[j].ch);
        finish(&s.party);
        CHECK_EQ(s.index, places[i]);
        check_chosen(cases, MOST, s.index);
        served->result = UNTOUCHED;
    }
    for (size_t i = 0; i < MOST; i++)
        gmp_chan_unref(cases[i].ch);
}

static gmp_chan *line, *aside;
static atomic_int arrived;

struct customer {
    struct party party;
    bool sends, selects;
    int elem;
};

static void wait_in_line(void *arg)
{
    struct customer *c = arg;
    gmp_case cases[] = {receiving(aside, NULL), receiving(line, &c->elem)};

    if (c->sends)
        cases[1].op = GMP_SEND;
    atomic_fetch_add(&arrived, 1);
    if (c->selects)
        CHECK_EQ(gmp_select(cases, 2), 1);
    else if (c->sends)
        CHECK_OK(gmp_chan_send(line, &c->elem));
    else
        CHECK_OK(gmp_chan_recv(line, &c->elem));
}

/* Starts six waiters, selects and plain calls, goroutines and host threads,
 * each when the one before waits as far as one can see, and says whether they
 * were served in that order. */
static bool served_in_order(bool sends)
{
    struct customer customers[6];
    bool ordered = true;

    line = make_chan(sizeof(int), 0);
    aside = make_chan(sizeof(int), 0);
    atomic_store(&arrived, 0);
    for (int i = 0; i < 6; i++) {
        struct customer *c = &customers[i];

        c->sends = sends;
        c->selects = i % 2;
        c->elem = i;
        begin(&c->party, i / 2 == 1, wait_in_line, c);
        AWAIT(atomic_load(&arrived) == i + 1);
        CHECK_OK(gmp_sleep(MS(2)));
    }
    for (int i = 0; i < 6; i++) {
        int value = i;

        CHECK_OK(sends ? gmp_chan_recv(line, &value)
                       : gmp_chan_send(line, &value));
        ordered = ordered && value == i;
    }
    for (int i = 0; i < 6; i++) {
        finish(&customers[i].party);
        ordered = ordered && customers[i].elem == i;
    }
    gmp_chan_unref(line);
    gmp_chan_unref(aside);
    return ordered;
}

/* A loaded machine may hold one waiter up on its way to the channel. That it
 * does so each of four times is the channel's fault. */
static void waiters_are_served_in_order(bool sends)
{
    for (int tries = 0; !served_in_order(sends); tries++)
        CHECK(tries < 3);
}

static void wait_for_close(void *arg)
{
    struct customer *c = arg;
    gmp_case cases[] = {receiving(aside, &c->elem), receiving(line, &c->elem)};

    if (c->sends)
        cases[1].op = GMP_SEND;
    atomic_fetch_add(&arrived, 1);
    CHECK_EQ(gmp_select(cases, 2), 1);
    CHECK_EQ(cases[1].result, -EPIPE);
    CHECK_EQ(c->elem, c->sends ? 7 : 0);
}

/* A close ends all selects on the channel, whether they send or receive. */
static void close_wakes_everybody(void)
{
    struct customer customers[20];

    line = make_chan(sizeof(int), 0);
    aside = make_chan(sizeof(int), 0);
    for (int sends = 0; sends < 2; sends++) {
        atomic_store(&arrived, 0);
        for (int i = 0; i < 20; i++) {
            customers[i].sends = sends;
            customers[i].elem = 7;
            begin(&customers[i].party, i % 5 == 0, wait_for_close,
                  &customers[i]);
        }
        AWAIT(atomic_load(&arrived) == 20);
        CHECK_OK(gmp_sleep(MS(1)));
        CHECK_OK(gmp_chan_close(line));
        for (int i = 0; i < 20; i++)
            finish(&customers[i].party);
        check_deserted(aside);
        gmp_chan_unref(line);
        line = make_chan(sizeof(int), 0);
    }
    gmp_chan_unref(line);
    gmp_chan_unref(aside);
}

int test_main(int argc, char **argv)
{
    each_event_wakes();
    for (int i = 0; i < 8; i++)
        same_channel_waits_once(i & 1, i & 2);
    nobody_meets_himself(NULL);
    CHECK_OK(gmp_join(spawn(nobody_meets_himself, NULL)));
    nothing_blocks_for_ever(NULL);
    CHECK_OK(gmp_join(spawn(nothing_blocks_for_ever, NULL)));
    full_buffer_keeps_order();
    waiters_are_served_in_order(false);
    waiters_are_served_in_order(true);
    for (int i = 0; i < 2; i++) {
        try_meets_a_waiter(i);
        big_elements_pass(i, false);
        big_elements_pass(i, true);
        most_cases_wait(i);
    }
    close_wakes_everybody();
    return 0;
}
