/* Everything that blocks, with deadlines and cancellations at random, for as
 * long as one likes, from one seed; the balances at the end are exact.
 *
 * Each scenario has a crew at some object, harasses it, and checks what must
 * be true of the object whatever was given up. */
#include "stress_cancel.h"

enum { CHANNELS = 3 };

/* Channels of all capacities, and what went in and came out; and a ticker. */
struct traffic {
    gmp_chan *ch[CHANNELS + 1]; /* the last one is NULL */
    gmp_chan *ticker;
    int64_t start, period;
    bool closes; /* at the end: nobody waits for ever */
    atomic_bool closing;
    atomic_long sent, received, sent_sum, received_sum, ticks;
};

static void note_sent(struct traffic *t, long value)
{
    atomic_fetch_add(&t->sent, 1);
    atomic_fetch_add(&t->sent_sum, value);
}

static void note_received(struct traffic *t, long value)
{
    CHECK(value > 0);
    atomic_fetch_add(&t->received, 1);
    atomic_fetch_add(&t->received_sum, value);
}

/* How to ask: to wait for ever only where a close will end it. */
static int some_kind(struct actor *a, struct traffic *t)
{
    int kind = below(&a->seed, 6);

    return kind == PLAIN && t->closes ? PLAIN : kind == TRY ? TRY : UNTIL;
}

static void send_or_receive(struct actor *a, struct traffic *t)
{
    gmp_chan *ch = t->ch[below(&a->seed, CHANNELS)];
    bool send = below(&a->seed, 2);
    long value = send ? 1 + below(&a->seed, 1000) : -1;
    int64_t deadline = brace(a);
    int kind = some_kind(a, t), result;

    if (kind == PLAIN)
        result = judge(a, GMP_FOREVER, send ? gmp_chan_send(ch, &value)
                                            : gmp_chan_recv(ch, &value));
    else if (kind == TRY)
        result = send ? gmp_chan_try_send(ch, &value)
                      : gmp_chan_try_recv(ch, &value);
    else
        result = judge(a, deadline,
                       send ? gmp_chan_send_until(ch, &value, deadline)
                            : gmp_chan_recv_until(ch, &value, deadline));
    if (result == -EPIPE)
        CHECK(atomic_load(&t->closing) && (send || value == 0));
    else if (!did_it(kind, result))
        CHECK(send || value == -1);
    else if (send)
        note_sent(t, value);
    else
        note_received(t, value);
}

enum { CASES = 4, UNTOUCHED = 12345 };

/* The case that ran, and it alone, did something. */
static void note_selected(struct traffic *t, const gmp_case *cases,
                          const long *values, int n, int which)
{
    for (int i = 0; i < n; i++) {
        if (i == which)
            continue;
        CHECK_EQ(cases[i].result, UNTOUCHED);
        CHECK(cases[i].op == GMP_SEND || values[i] == -1);
    }
    if (which < 0 || which == n)
        return;
    CHECK(cases[which].ch != NULL);
    if (cases[which].result != 0) {
        CHECK_EQ(cases[which].result, -EPIPE);
        CHECK(atomic_load(&t->closing));
        CHECK(cases[which].op == GMP_SEND || values[which] == 0);
    } else if (cases[which].op == GMP_SEND) {
        note_sent(t, values[which]);
    } else {
        note_received(t, values[which]);
    }
}

/* One more case: a timeout, or the ticker. Gives back when it is due. */
static int64_t add_clock(struct actor *a, struct traffic *t, gmp_case *clock,
                         int64_t *tick)
{
    int64_t ns = US(below(&a->seed, 300)), due = gmp_after_ns(ns);
    bool ticker = below(&a->seed, 2);

    *tick = -1;
    *clock = (gmp_case){ticker ? gmp_chan_ref(t->ticker) : gmp_after(ns), tick,
                        GMP_RECV, UNTOUCHED};
    CHECK(clock->ch != NULL);
    return ticker ? t->start + t->period : due;
}

static void note_clock(struct traffic *t, gmp_case *clock, int64_t due,
                       bool ran)
{
    int64_t tick = *(int64_t *)clock->elem;

    if (!ran) {
        CHECK(clock->result == UNTOUCHED && tick == -1);
    } else if (clock->result == -EPIPE) {
        CHECK(clock->ch == t->ticker && atomic_load(&t->closing));
    } else {
        CHECK_OK(clock->result);
        CHECK(tick >= due && tick <= gmp_now());
        atomic_fetch_add(&t->ticks, clock->ch == t->ticker);
    }
    gmp_chan_unref(clock->ch);
}

/* Among up to four sends and receives, the same channel twice, or none. */
static void select_one(struct actor *a, struct traffic *t)
{
    gmp_case cases[CASES + 1];
    long values[CASES];
    int n = below(&a->seed, CASES + 1), clocks = below(&a->seed, 3) == 0;
    int64_t deadline, due = 0, tick;
    int kind = some_kind(a, t), result;
    size_t all = (size_t)(n + clocks);

    for (int i = 0; i < n; i++) {
        bool send = below(&a->seed, 2);

        values[i] = send ? 1 + below(&a->seed, 1000) : -1;
        cases[i] = (gmp_case){t->ch[below(&a->seed, CHANNELS + 1)],
                              &values[i], send ? GMP_SEND : GMP_RECV,
                              UNTOUCHED};
    }
    if (clocks)
        due = add_clock(a, t, &cases[n], &tick);
    deadline = brace(a);
    if (kind == TRY)
        result = gmp_try_select(cases, all);
    else if (clocks && kind == PLAIN)
        result = judge(a, GMP_FOREVER, gmp_select(cases, all));
    else
        result = judge(a, deadline, gmp_select_until(cases, all, deadline));
    CHECK(result >= 0 ? result < n + clocks : !did_it(kind, result));
    note_selected(t, cases, values, n, result);
    if (clocks)
        note_clock(t, &cases[n], due, result == n);
}

static void trade(struct actor *a)
{
    for (int i = below(&a->seed, 60); i > 0; i--) {
        dawdle(a);
        if (below(&a->seed, 2))
            select_one(a, a->subject);
        else
            send_or_receive(a, a->subject);
    }
}

static void traffic(uint64_t *seed)
{
    struct traffic t = {.closes = below(seed, 2), .start = gmp_now()};
    struct crew crew;
    long value, left = 0, left_sum = 0;

    for (int i = 0; i < CHANNELS; i++) {
        t.ch[i] = gmp_chan_make(sizeof(long),
                                (size_t)(below(seed, 2) * below(seed, 10)));
        CHECK(t.ch[i] != NULL);
    }
    t.period = US(10 + below(seed, 300));
    t.ticker = gmp_tick(t.period);
    crew_start(&crew, seed, 1 + below(seed, CREW), trade, &t);
    crew_harass(&crew, seed);
    for (int i = 0; t.closes && i <= CHANNELS; i++) {
        linger(seed);
        atomic_store(&t.closing, true);
        CHECK_OK(gmp_chan_close(i < CHANNELS ? t.ch[i] : t.ticker));
    }
    crew_join(&crew, seed);
    CHECK(atomic_load(&t.ticks) <= (gmp_now() - t.start) / t.period);
    gmp_chan_unref(t.ticker);
    for (int i = 0; i < CHANNELS; i++) {
        for (; gmp_chan_try_recv(t.ch[i], &value) == 0; left++)
            left_sum += value;
        gmp_chan_unref(t.ch[i]);
    }
    CHECK_EQ(atomic_load(&t.sent), atomic_load(&t.received) + left);
    CHECK_EQ(atomic_load(&t.sent_sum),
             atomic_load(&t.received_sum) + left_sum);
}

/* A timer that many stop and reset. Its runs may last longer than its
 * scenario, so it is judged and freed when all goroutines are gone. */
struct bell {
    struct bell *next; /* in all_bells */
    gmp_timer *timer;
    int64_t period;
    bool resets;
    atomic_int armed, stopped, rings, inside;
};

static _Atomic(struct bell *) all_bells;

static void ring(void *arg)
{
    struct bell *b = arg;
    uint64_t seed = gmp_goid() * 53;

    CHECK(atomic_fetch_add(&b->inside, 1) == 0 || b->period == 0);
    atomic_fetch_add(&b->rings, 1);
    linger(&seed);
    atomic_fetch_sub(&b->inside, 1);
}

static void stop_bell(struct bell *b)
{
    int result = gmp_timer_stop(b->timer);

    CHECK(result == 0 || result == 1);
    atomic_fetch_add(&b->stopped, result);
}

static void stop_and_reset(struct actor *a)
{
    struct bell *b = a->subject;

    for (int i = below(&a->seed, 20); i > 0; i--) {
        dawdle(a);
        if (b->resets && below(&a->seed, 4)) {
            atomic_fetch_add(&b->armed, 1);
            CHECK_OK(gmp_timer_reset(b->timer, US(below(&a->seed, 200))));
        } else {
            stop_bell(b);
        }
    }
}

static void bells(uint64_t *seed)
{
    struct bell *b = calloc(1, sizeof *b);

    CHECK(b != NULL);
    b->resets = below(seed, 2);
    b->period = below(seed, 3) ? 0 : US(1 + below(seed, 200));
    b->armed = 1;
    b->timer = gmp_timer_start(US(below(seed, 300)), b->period, ring, b);
    CHECK(b->timer != NULL);
    crew_run(seed, stop_and_reset, b);
    stop_bell(b);
    CHECK_EQ(gmp_timer_stop(b->timer), 0);
    gmp_timer_free(b->timer);
    b->next = atomic_load(&all_bells);
    while (!atomic_compare_exchange_weak(&all_bells, &b->next, b))
        continue;
}

/* Each time that it was armed it was stopped, or rang, or was armed anew. */
static void judge_bells(void)
{
    struct bell *b;

    while ((b = atomic_load(&all_bells)) != NULL) {
        int ends = atomic_load(&b->stopped) + atomic_load(&b->rings);

        CHECK_EQ(atomic_load(&b->inside), 0);
        CHECK(b->period || ends <= atomic_load(&b->armed));
        CHECK(b->period || b->resets || ends == 1);
        CHECK(!b->period || atomic_load(&b->stopped) <= b->armed);
        atomic_store(&all_bells, b->next);
        free(b);
    }
}

/* A group, some of whose members fail, or wait for the end of all. */
struct family {
    gmp_group *group;
    bool doomed; /* cancelled in the end, so members may wait for ever */
    atomic_uint failed; /* by member */
    atomic_int started, ended;
};

struct member {
    struct family *family;
    uint64_t seed;
    int me;
};

static int child(void *arg)
{
    uint64_t seed = (uint64_t)(intptr_t)arg;

    for (int i = below(&seed, 10); i > 0; i--)
        linger(&seed);
    return below(&seed, 8) == 0 ? 99 : 0;
}

/* A group of a member: cancelled with it, and gone before it ends. */
static void found_family(uint64_t *seed)
{
    gmp_group *group = gmp_group_make();
    int result = 0;

    CHECK(group != NULL);
    for (int i = below(seed, 4); i > 0; i--)
        CHECK_OK(gmp_group_go(group, child,
                              (void *)(intptr_t)next_random(seed)));
    if (below(seed, 2))
        result = gmp_group_wait_until(group, some_deadline(seed));
    CHECK(result == 0 || result == 99 || result == -ETIMEDOUT ||
          (result == -ECANCELED && gmp_cancelled()));
    gmp_group_free(group);
}

static int live(void *arg)
{
    struct member *m = arg;
    struct family *f = m->family;
    bool patient = f->doomed && below(&m->seed, 3) == 0;
    int result = below(&m->seed, 8) == 0 ? 100 + m->me : 0;

    for (int i = below(&m->seed, 10); i > 0; i--)
        linger(&m->seed);
    if (below(&m->seed, 4) == 0)
        found_family(&m->seed);
    if (patient)
        CHECK_EQ(below(&m->seed, 2) ? gmp_sleep(SEC(3600))
                                    : gmp_chan_recv(NULL, NULL), -ECANCELED);
    if (!gmp_cancelled() && below(&m->seed, 8) == 0)
        CHECK(gmp_group_wait(f->group) != 0); /* deadlock, or cancelled */
    if (result != 0)
        atomic_fetch_or(&f->failed, 1u << m->me);
    atomic_fetch_add(&f->ended, 1);
    if (result == 0 && below(&m->seed, 8) == 0)
        gmp_exit();
    return result;
}

/* What a wait of somebody outside may say. */
static void judge_family(struct family *f, int result)
{
    if (result == -ETIMEDOUT)
        return;
    CHECK_EQ(atomic_load(&f->ended), atomic_load(&f->started));
    if (result == 0)
        CHECK_EQ(atomic_load(&f->failed), 0);
    else
        CHECK(result >= 100 && atomic_load(&f->failed) >> (result - 100) & 1);
}

static void family(uint64_t *seed)
{
    struct family f = {.group = gmp_group_make(), .doomed = below(seed, 2)};
    struct member members[CREW];
    int n = below(seed, CREW + 1);

    CHECK(f.group != NULL);
    for (int i = 0; i < n; i++) {
        members[i] = (struct member){&f, next_random(seed), i};
        atomic_fetch_add(&f.started, 1);
        CHECK_OK(gmp_group_go(f.group, live, &members[i]));
        if (below(seed, 4) == 0)
            judge_family(&f, gmp_group_wait_until(f.group,
                                                  some_deadline(seed)));
    }
    if (f.doomed && below(seed, 2)) {
        linger(seed);
        CHECK_OK(gmp_group_cancel(f.group));
        judge_family(&f, gmp_group_wait(f.group));
    } else if (!f.doomed) {
        judge_family(&f, gmp_group_wait(f.group));
    }
    gmp_group_free(f.group);
    CHECK_EQ(atomic_load(&f.ended), n);
}

/* Sleeps, blocking calls, and children that are joined or not. */
static void nap(struct actor *a)
{
    int64_t deadline = brace(a), span = US(1 + below(&a->seed, 200));
    int64_t start = gmp_now();
    bool until = below(&a->seed, 2);

    if (did_it(UNTIL, judge(a, GMP_FOREVER,
                            until ? gmp_sleep_until(deadline)
                                  : gmp_sleep(span))))
        CHECK(gmp_now() >= (until ? deadline : start + span));
}

static void block_a_little(void *arg)
{
    (*(int *)arg)++;
    block_ns(US(20));
}

static void block(struct actor *a)
{
    int64_t deadline = brace(a);
    int calls = 0;
    int result = judge(a, deadline, gmp_blocking_until(block_a_little, &calls,
                                                       deadline));

    CHECK_EQ(calls, did_it(UNTIL, result));
}

static void be_a_child(void *arg)
{
    uint64_t seed = gmp_goid() * 91;

    for (int i = below(&seed, 5); i > 0; i--)
        linger(&seed);
    CHECK_OK(gmp_waitgroup_done(arg));
}

static void have_a_child(struct actor *a, gmp_waitgroup *children)
{
    gmp_g *g;
    int result = -ETIMEDOUT;

    CHECK_OK(gmp_waitgroup_add(children, 1));
    g = spawn(be_a_child, children);
    if (below(&a->seed, 3) == 0)
        cancel(g);
    for (int i = 0; result == -ETIMEDOUT && i < 3; i++) {
        int64_t deadline = i < 2 ? brace(a) : (brace(a), GMP_FOREVER);

        result = judge(a, deadline, gmp_join_until(g, deadline));
    }
    if (!did_it(UNTIL, result))
        gmp_release(g);
}

static void sleep_block_and_join(struct actor *a)
{
    for (int i = below(&a->seed, 20); i > 0; i--) {
        dawdle(a);
        switch (below(&a->seed, 3)) {
        case 0:
            nap(a);
            break;
        case 1:
            block(a);
            break;
        default:
            have_a_child(a, a->subject);
        }
    }
}

static void naps(uint64_t *seed)
{
    gmp_waitgroup children = GMP_WAITGROUP_INIT;

    crew_run(seed, sleep_block_and_join, &children);
    CHECK_OK(gmp_waitgroup_wait(&children));
}

/* A ring that takes turns through park and ready. The cancelled ones cannot
 * park any more, and look again and again until it is their turn. */
struct turns {
    _Atomic(gmp_g *) players[CREW];
    atomic_int whose, left;
    int n;
};

static void play(struct actor *a)
{
    struct turns *t = a->subject;
    int next = (a->me + 1) % t->n, result;

    result = gmp_sleep(1); /* after which a host thread has a handle */
    CHECK(result == 0 || (result == -ECANCELED && gmp_cancelled()));
    CHECK(gmp_self() != NULL);
    atomic_store(&t->players[a->me], gmp_self());
    for (;;) {
        while (atomic_load(&t->whose) != a->me) {
            int64_t deadline = brace(a);

            if (below(&a->seed, 2))
                deadline = GMP_FOREVER;
            if (!did_it(UNTIL, judge(a, deadline,
                                     gmp_park_until(NULL, NULL, "turn",
                                                    deadline))))
                gmp_yield();
        }
        dawdle(a);
        while (atomic_load(&t->players[next]) == NULL)
            gmp_yield();
        result = atomic_fetch_sub(&t->left, 1);
        atomic_store(&t->whose, next);
        if (t->n > 1)
            gmp_ready(atomic_load(&t->players[next]));
        if (result <= t->n)
            break; /* its last turn */
    }
}

static void turns(uint64_t *seed)
{
    struct turns t = {.n = 1 + below(seed, CREW)};
    struct crew crew;

    t.left = t.n * (1 + below(seed, 20));
    crew_start(&crew, seed, t.n, play, &t);
    crew_harass(&crew, seed);
    crew_join(&crew, seed);
    CHECK_EQ(atomic_load(&t.left), 0);
}

static struct scenario scenarios[] = {
    {"traffic", traffic, 0}, {"ledger", ledger, 0}, {"page", page, 0},
    {"store", store, 0},     {"pool", pool, 0},     {"site", site, 0},
    {"chores", chores, 0},   {"bells", bells, 0},   {"family", family, 0},
    {"naps", naps, 0},       {"turns", turns, 0},
};

int test_main(int argc, char **argv)
{
    stress(scenarios, sizeof scenarios / sizeof *scenarios);
    judge_bells();
    return 0;
}
