/* Select where nobody has to wait: which cases are ready, which one of them is
 * chosen, what it does, what the others keep, and what misuse returns.
 * select_wait.c has the selects that park. */
#include "cases.h"

enum { MOST = 65536, DRAWS = 20000, CELLS = 64 };

/* The three selects as ways to ask once. */
enum way { TRY, PAST, FOREVER, WAYS };

static int ask(enum way way, gmp_case *cases, size_t n)
{
    if (way == TRY)
        return gmp_try_select(cases, n);
    if (way == PAST)
        return gmp_select_until(cases, n, 0);
    return gmp_select(cases, n);
}

/* What a way returns where no case is ready. */
static const int nobody[] = {-EAGAIN, -ETIMEDOUT};

/* A channel of int with the elements 1, 2, ... in it. */
static gmp_chan *filled(size_t capacity, int count, bool closed)
{
    gmp_chan *ch = make_chan(sizeof(int), capacity);

    for (int i = 1; i <= count; i++)
        CHECK_OK(gmp_chan_try_send(ch, &i));
    if (closed)
        CHECK_OK(gmp_chan_close(ch));
    return ch;
}

/* A channel, and what a receive and a send on it return; -EAGAIN: not ready. */
struct state {
    size_t capacity;
    int count;
    bool closed;
    int received, sent;
};

static const struct state states[] = {
    {0, 0, false, -EAGAIN, -EAGAIN},
    {2, 0, false, -EAGAIN, 0},
    {2, 1, false, 0, 0},
    {2, 2, false, 0, -EAGAIN},
    {0, 0, true, -EPIPE, -EPIPE},
    {2, 0, true, -EPIPE, -EPIPE},
    {2, 1, true, 0, -EPIPE},
    {2, 2, true, 0, -EPIPE},
};

/* One case of interest among four that are never ready. */
static void case_runs(const struct state *s, int op, enum way way)
{
    gmp_chan *ch = filled(s->capacity, s->count, s->closed);
    gmp_chan *idle = filled(0, 0, false);
    int want = op == GMP_RECV ? s->received : s->sent;
    int ready = want != -EAGAIN, count = s->count, elem = 99, other = 77, last;
    gmp_case cases[] = {
        receiving(NULL, &other), sending(idle, &other),
        {ch, &elem, op, UNTOUCHED},
        receiving(idle, &other), sending(NULL, &other),
    };

    if (!ready && way == FOREVER)
        goto out;
    CHECK_EQ(ask(way, cases, 5), ready ? 2 : nobody[way]);
    check_chosen(cases, 5, ready ? 2 : -1);
    CHECK_EQ(cases[2].result, ready ? want : UNTOUCHED);
    CHECK_EQ(other, 77);
    if (op == GMP_RECV && ready)
        CHECK_EQ(elem, want == 0 ? 1 : 0);
    else
        CHECK_EQ(elem, 99);
    if (want == 0)
        count += op == GMP_RECV ? -1 : 1;
    CHECK_EQ(gmp_chan_len(ch), count);
    for (int i = 0; i < count; i++)
        CHECK_OK(gmp_chan_try_recv(ch, &last));
    if (op == GMP_SEND && want == 0)
        CHECK_EQ(last, 99);
out:
    gmp_chan_unref(ch);
    gmp_chan_unref(idle);
}

static void ready_cases_run(void *arg)
{
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        for (int way = TRY; way < WAYS; way++) {
            case_runs(&states[i], GMP_RECV, way);
            case_runs(&states[i], GMP_SEND, way);
        }
}

static void nothing_is_never_ready(void *arg)
{
    int elem = 3;
    gmp_case cases[] = {receiving(NULL, &elem), receiving(NULL, NULL),
                        sending(NULL, &elem), sending(NULL, NULL)};

    for (int way = TRY; way <= PAST; way++) {
        CHECK_EQ(ask(way, NULL, 0), nobody[way]);
        CHECK_EQ(ask(way, cases, 0), nobody[way]);
        CHECK_EQ(ask(way, cases, 4), nobody[way]);
        check_chosen(cases, 4, -1);
    }
    CHECK_EQ(elem, 3);
}

/* A receive may drop what it gets. */
static void elements_may_be_dropped(void *arg)
{
    for (int way = TRY; way < WAYS; way++) {
        gmp_chan *ch = filled(2, 2, true);
        gmp_case dropping = receiving(ch, NULL);

        for (int i = 0; i < 4; i++) {
            CHECK_EQ(ask(way, &dropping, 1), 0);
            CHECK_EQ(dropping.result, i < 2 ? 0 : -EPIPE);
            CHECK_EQ(gmp_chan_len(ch), i < 1 ? 1 : 0);
        }
        gmp_chan_unref(ch);
    }
}

/* Ends the test if counts of equal expectation differ by more than chance.
 * A chi-square of d degrees of freedom is above d + 2 sqrt(dx) + 2x, and so
 * above 2d + 3x, at most once in e^x times: here, once in 7e10. */
static void check_uniform(const long *counts, size_t n)
{
    double expected = 0, chi = 0;

    for (size_t i = 0; i < n; i++)
        expected += (double)counts[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        double off = (double)counts[i] - expected;

        chi += off * off / expected;
    }
    if (chi < 2 * (double)(n - 1) + 3 * 25)
        return;
    fprintf(stderr, "chi-square %.0f of %zu counts:", chi, n);
    for (size_t i = 0; i < n && i < CELLS; i++)
        fprintf(stderr, " %ld", counts[i]);
    fprintf(stderr, "\n");
    CHECK(!"the choice is uniform");
}

/* A select as text, one character a case. Ready: r and s receive from and send
 * on a channel of their own, R and S on a closed one. Not ready: . and , on an
 * idle channel, n and N on none. + and - receive from and send on the channel
 * of the case before, and are ready if it is. */
static const char *const patterns[] = {
    "rr",
    "rs",
    "r-",
    "R.S",
    "r+++-",
    "rsrsRSr",
    "rr..............",
    "..............,s,R",
    "n.r+......N,,sR.-,",
    "rsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrsrs",
};

static gmp_case case_of(char kind, gmp_chan *before, int *elem)
{
    gmp_case c = receiving(NULL, elem);

    if (strchr("s-S,N", kind))
        c.op = GMP_SEND;
    if (strchr("rs", kind))
        c.ch = filled(2, 1, false);
    else if (strchr("+-", kind))
        c.ch = gmp_chan_ref(before);
    else if (strchr("RS", kind))
        c.ch = filled(0, 0, true);
    else if (strchr(".,", kind))
        c.ch = filled(0, 0, false);
    return c;
}

/* Undoes what the chosen case did, so that each draw finds the same. */
static void undo(const gmp_case *c)
{
    if (c->result == -EPIPE)
        return;
    CHECK_OK(c->result);
    CHECK_EQ(gmp_chan_len(c->ch), c->op == GMP_RECV ? 0 : 2);
    CHECK_OK(c->op == GMP_RECV ? gmp_chan_try_send(c->ch, c->elem)
                               : gmp_chan_try_recv(c->ch, c->elem));
}

/* Each ready case is chosen as often as any other, whatever stands beside it,
 * and whatever was chosen before: pairs of choices are uniform as well. */
static void draw(const char *pattern, enum way way)
{
    static long pairs[CELLS * CELLS];
    gmp_case cases[CELLS];
    int n = (int)strlen(pattern), ready = 0, elem = 1, previous = 0;
    int cell[CELLS];
    long counts[CELLS] = {0};

    memset(pairs, 0, sizeof pairs);
    for (int i = 0; i < n; i++) {
        cases[i] = case_of(pattern[i], i ? cases[i - 1].ch : NULL, &elem);
        cell[i] = -1;
        if (strchr("rsRS", pattern[i])
            || (strchr("+-", pattern[i]) && cell[i - 1] >= 0))
            cell[i] = ready++;
    }
    for (int i = 0; i < DRAWS; i++) {
        int chosen = ask(way, cases, (size_t)n), c;

        check_chosen(cases, (size_t)n, chosen);
        undo(&cases[chosen]);
        cases[chosen].result = UNTOUCHED;
        c = cell[chosen];
        CHECK(c >= 0);
        counts[c]++;
        if (i % 2)
            pairs[previous * ready + c]++;
        previous = c;
    }
    check_uniform(counts, (size_t)ready);
    check_uniform(pairs, (size_t)(ready * ready));
    for (int i = 0; i < n; i++)
        gmp_chan_unref(cases[i].ch);
}

static void choice_is_uniform(void *arg)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        draw(patterns[i], (enum way)(i % WAYS));
}

static gmp_chan *closed;
static atomic_long firsts[2];

static void choose_once(void *arg)
{
    gmp_case cases[] = {receiving(closed, NULL), receiving(closed, NULL)};

    atomic_fetch_add(&firsts[gmp_select(cases, 2)], 1);
}

/* The first choice of goroutines and of threads differs as well. */
static void newcomers_choose_uniformly(bool host, int n)
{
    closed = filled(0, 0, true);
    atomic_store(&firsts[0], 0);
    atomic_store(&firsts[1], 0);
    for (int i = 0; i < n; i++) {
        struct party newcomer;

        begin(&newcomer, host, choose_once, NULL);
        finish(&newcomer);
    }
    CHECK_EQ(firsts[0] + firsts[1], n);
    check_uniform((long[]){firsts[0], firsts[1]}, 2);
    gmp_chan_unref(closed);
}

/* One element is for one of the cases that want it, and one place in the
 * buffer for one of those that have an element for it. */
static void same_channel_many_times(void *arg)
{
    gmp_chan *ch = make_chan(sizeof(int), 1);
    int elems[8], value = 5;
    gmp_case cases[8];

    for (int round = 0; round < 100; round++) {
        int chosen;

        for (int i = 0; i < 8; i++) {
            elems[i] = -i;
            cases[i] = receiving(ch, &elems[i]);
        }
        CHECK_OK(gmp_chan_try_send(ch, &value));
        chosen = gmp_select(cases, 8);
        check_chosen(cases, 8, chosen);
        for (int i = 0; i < 8; i++)
            CHECK_EQ(elems[i], i == chosen ? 5 : -i);
        CHECK_EQ(gmp_try_select(cases, 8), -EAGAIN);

        for (int i = 0; i < 8; i++)
            cases[i] = sending(ch, &elems[i]);
        elems[chosen] = 6;
        chosen = gmp_select(cases, 8);
        check_chosen(cases, 8, chosen);
        CHECK_EQ(gmp_try_select(cases, 8), -EAGAIN);
        CHECK_OK(gmp_chan_try_recv(ch, &value));
        CHECK_EQ(value, elems[chosen]);
        value = 5;
    }
    gmp_chan_unref(ch);
}

/* Filled and drained by chance, a buffer still is a queue, and its ends are
 * where its capacity says. */
static void buffer_stays_a_queue(void *arg)
{
    gmp_chan *ch = make_chan(sizeof(long), 5);
    long out = 0, in = -1, received = 0, least = 5, most = 0;
    gmp_case cases[] = {sending(ch, &out), receiving(ch, &in)};

    for (int i = 0; i < 5000; i++) {
        long len = out - received;
        int chosen = gmp_select(cases, 2);

        CHECK(len < 5 || chosen == 1);
        CHECK(len > 0 || chosen == 0);
        CHECK_OK(cases[chosen].result);
        if (chosen == 0)
            out++;
        else
            CHECK_EQ(in, received++);
        CHECK_EQ(gmp_chan_len(ch), out - received);
        least = len < least ? len : least;
        most = len > most ? len : most;
    }
    CHECK_EQ(least, 0);
    CHECK_EQ(most, 5);
    gmp_chan_unref(ch);
}

static void elements_of_any_size(void *arg)
{
    static const size_t sizes[] = {0, 1, 3, 8, 24, 4097, 100000, 1 << 20};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        gmp_chan *ch = make_chan(size, 2);
        /* One byte more on either side, to see what is left alone. */
        unsigned char *out = malloc(size + 1), *in = malloc(size + 2);
        gmp_case send = sending(ch, size ? out : NULL);
        gmp_case recv = receiving(ch, size ? in + 1 : NULL);

        CHECK(out && in);
        for (int round = 1; round <= 3; round++) {
            memset(out, round, size + 1);
            memset(in, 0xEE, size + 2);
            CHECK_OK(gmp_select(&send, 1));
            memset(out, 0xDD, size + 1);
            CHECK_OK(gmp_select(&recv, 1));
            CHECK_OK(send.result);
            CHECK_OK(recv.result);
            for (size_t j = 1; j <= size; j++)
                CHECK_EQ(in[j], round);
            CHECK(in[0] == 0xEE && in[size + 1] == 0xEE);
        }
        CHECK_OK(gmp_chan_close(ch));
        CHECK_OK(gmp_try_select(&recv, 1));
        CHECK_EQ(recv.result, -EPIPE);
        for (size_t j = 1; j <= size; j++)
            CHECK_EQ(in[j], 0);
        CHECK(in[0] == 0xEE && in[size + 1] == 0xEE);
        gmp_chan_unref(ch);
        free(out);
        free(in);
    }
}

static gmp_case many[MOST + 1];

/* The one ready case is found among as many as there may be, on one channel
 * or each on its own, and all may be ready. */
static void most_cases(void *arg)
{
    static const size_t places[] = {0, 1, MOST / 2, MOST - 2, MOST - 1};
    gmp_chan *one = make_chan(0, 0), *ready = make_chan(0, 1);

    for (int distinct = 0; distinct < 2; distinct++) {
        for (size_t i = 0; i < MOST; i++)
            many[i] = i % 2 ? sending(distinct ? make_chan(0, 0) : one, NULL)
                            : receiving(distinct ? make_chan(0, 0) : one, NULL);
        CHECK_EQ(gmp_try_select(many, MOST), -EAGAIN);
        CHECK_EQ(gmp_select_until(many, MOST, 0), -ETIMEDOUT);
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            gmp_case kept = many[places[i]];

            many[places[i]] = sending(ready, NULL);
            CHECK_EQ(ask((enum way)(i % WAYS), many, MOST), places[i]);
            CHECK_OK(gmp_chan_try_recv(ready, NULL));
            check_chosen(many, MOST, (int)places[i]);
            many[places[i]] = kept;
        }
        for (size_t i = 0; distinct && i < MOST; i++)
            CHECK_OK(gmp_chan_close(many[i].ch));
        if (distinct) {
            int chosen = gmp_select(many, MOST);

            check_chosen(many, MOST, chosen);
            CHECK_EQ(many[chosen].result, -EPIPE);
        }
        for (size_t i = 0; distinct && i < MOST; i++)
            gmp_chan_unref(many[i].ch);
    }
    gmp_chan_unref(one);
    gmp_chan_unref(ready);
}

/* What is wrong with a select: its cases, how many, and what it returns. The
 * first case is ready, so that a select which does not look at all of them
 * first shows itself. */
struct misuse {
    gmp_case wrong;
    size_t n;
    bool no_cases;
    int want;
};

static void misuse_is_an_error(void *arg)
{
    gmp_chan *full = filled(2, 2, false), *room = make_chan(1, 2);
    gmp_chan *shut = filled(0, 0, true), *empty = make_chan(0, 0);
    int elem = 8;
    const struct misuse table[] = {
        {receiving(empty, NULL), 1, true, -EINVAL},
        {receiving(empty, NULL), MOST, true, -EINVAL},
        {receiving(empty, NULL), MOST + 1, true, -EINVAL},
        {receiving(empty, NULL), SIZE_MAX, true, -EINVAL},
        {receiving(empty, NULL), MOST + 1, false, -EINVAL},
        {receiving(empty, NULL), SIZE_MAX, false, -EINVAL},
        {{full, &elem, 0, UNTOUCHED}, 2, false, -EINVAL},
        {{full, &elem, -1, UNTOUCHED}, 2, false, -EINVAL},
        {{full, &elem, GMP_SEND | GMP_RECV, UNTOUCHED}, 2, false, -EINVAL},
        {{full, &elem, GMP_SEND + 65536, UNTOUCHED}, 2, false, -EINVAL},
        {{NULL, &elem, 0, UNTOUCHED}, 2, false, -EINVAL},
        {{NULL, &elem, INT32_MIN, UNTOUCHED}, 2, false, -EINVAL},
        {sending(full, NULL), 2, false, -EINVAL},
        {sending(room, NULL), 2, false, -EINVAL},
        {sending(shut, NULL), 2, false, -EINVAL},
        /* What only looks like misuse: the first case runs. */
        {sending(empty, NULL), 2, false, 0},
        {sending(NULL, NULL), 2, false, 0},
        {receiving(NULL, NULL), 2, false, 0},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (int way = TRY; way < WAYS; way++) {
            const struct misuse *row = &table[i];
            size_t n = row->n < MOST ? row->n : MOST;

            for (size_t j = 0; j <= MOST; j++)
                many[j] = receiving(NULL, NULL);
            many[0] = receiving(full, NULL);
            many[1] = row->wrong;
            CHECK_EQ(ask(way, row->no_cases ? NULL : many, row->n), row->want);
            check_chosen(many, n, row->want);
            CHECK_EQ(gmp_chan_len(full), row->want == 0 ? 1 : 2);
            if (row->want == 0)
                CHECK_OK(gmp_chan_try_send(full, &elem));
            CHECK_EQ(gmp_chan_len(room), 0);
        }
    gmp_chan_unref(full);
    gmp_chan_unref(room);
    gmp_chan_unref(shut);
    gmp_chan_unref(empty);
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        ready_cases_run,         nothing_is_never_ready,
        elements_may_be_dropped, choice_is_uniform,
        same_channel_many_times, buffer_stays_a_queue,
        elements_of_any_size,    most_cases,
        misuse_is_an_error,
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    newcomers_choose_uniformly(false, 1000);
    newcomers_choose_uniformly(true, 400);
    return 0;
}
