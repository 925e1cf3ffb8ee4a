/* Deadlines of channels and of select: one in the past tries once, a later
 * one ends the wait and leaves nothing behind, and where it races with a
 * partner, exactly what was sent is received. */
#include "cases.h"

#include <sched.h>

static int64_t past(int i)
{
    const int64_t deadlines[] = {0, 1, -1, INT64_MIN, gmp_now() - 1};

    return deadlines[i];
}

enum { PASTS = 5 };

/* A deadline in the past does what can be done without waiting. */
static void past_tries_once(void *arg)
{
    for (int i = 0; i < PASTS; i++) {
        gmp_chan *ch = make_chan(sizeof(int), 1);
        int value = 5;

        CHECK_OK(gmp_chan_send_until(ch, &value, past(i)));
        CHECK_EQ(gmp_chan_send_until(ch, &value, past(i)), -ETIMEDOUT);
        CHECK_EQ(gmp_chan_len(ch), 1);
        value = 6;
        CHECK_OK(gmp_chan_recv_until(ch, &value, past(i)));
        CHECK_EQ(value, 5);
        value = 7;
        CHECK_EQ(gmp_chan_recv_until(ch, &value, past(i)), -ETIMEDOUT);
        CHECK_EQ(gmp_chan_recv_until(ch, NULL, past(i)), -ETIMEDOUT);
        CHECK_EQ(value, 7);
        /* What is closed or misused is known without waiting. */
        CHECK_EQ(gmp_chan_send_until(ch, NULL, past(i)), -EINVAL);
        CHECK_OK(gmp_chan_send_until(ch, &value, past(i)));
        CHECK_OK(gmp_chan_close(ch));
        CHECK_EQ(gmp_chan_send_until(ch, &value, past(i)), -EPIPE);
        CHECK_OK(gmp_chan_recv_until(ch, NULL, past(i)));
        CHECK_EQ(gmp_chan_recv_until(ch, &value, past(i)), -EPIPE);
        CHECK_EQ(value, 0);
        gmp_chan_unref(ch);
    }
}

static void past_select_tries_once(void *arg)
{
    for (int i = 0; i < PASTS; i++) {
        gmp_chan *ch = make_chan(sizeof(int), 1);
        int in = 5, out = 6;
        gmp_case cases[] = {receiving(NULL, &in), receiving(ch, &in),
                            sending(ch, &out)};

        CHECK_EQ(gmp_select_until(cases, 1, past(i)), -ETIMEDOUT);
        CHECK_EQ(gmp_select_until(cases, 2, past(i)), -ETIMEDOUT);
        check_chosen(cases, 3, -1);
        CHECK_EQ(gmp_select_until(cases, 3, past(i)), 2);
        check_chosen(cases, 3, 2);
        cases[2].result = UNTOUCHED;
        CHECK_EQ(gmp_select_until(cases, 3, past(i)), 1);
        check_chosen(cases, 3, 1);
        CHECK_EQ(in, 6);
        CHECK_OK(gmp_chan_close(ch));
        CHECK_EQ(gmp_select_until(cases, 2, past(i)), 1);
        CHECK_EQ(cases[1].result, -EPIPE);
        CHECK_EQ(in, 0);
        gmp_chan_unref(ch);
    }
}

/* A deadline that is far away, or for ever, changes nothing. */
static void far_away_is_no_deadline(void *arg)
{
    const int64_t far[] = {GMP_FOREVER, GMP_FOREVER - 1,
                           gmp_after_ns(SEC(900))};
    gmp_chan *ch = make_chan(sizeof(int), 1);
    int value = 5;

    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        gmp_case receive = receiving(ch, &value);

        CHECK_OK(gmp_chan_send_until(ch, &value, far[i]));
        CHECK_OK(gmp_chan_recv_until(ch, &value, far[i]));
        CHECK_OK(gmp_chan_send(ch, &value));
        CHECK_EQ(gmp_select_until(&receive, 1, far[i]), 0);
    }
    gmp_chan_unref(ch);
}

enum call { SEND, RECV, SELECT_SEND, SELECT_RECV, CALLS };

/* One of the calls with a deadline, as a plain call would return. */
static int call_until(enum call call, gmp_chan *ch, int *elem, int64_t deadline)
{
    gmp_case cases[] = {receiving(NULL, NULL), receiving(ch, elem)};
    int result;

    if (call == SEND)
        return gmp_chan_send_until(ch, elem, deadline);
    if (call == RECV)
        return gmp_chan_recv_until(ch, elem, deadline);
    if (call == SELECT_SEND)
        cases[1].op = GMP_SEND;
    result = gmp_select_until(cases, 2, deadline);
    check_chosen(cases, 2, result < 0 ? -1 : 1);
    return result < 0 ? result : cases[1].result;
}

/* A wait ends at its deadline and not before, with the element as it was and
 * nobody left in the queue. */
static void waits_until_its_deadline(void *arg)
{
    static const int64_t spans[] = {1, US(1), US(50), MS(3)};
    gmp_chan *empty = make_chan(sizeof(int), 0);
    gmp_chan *full = make_chan(sizeof(int), 1);
    int elem = 5;

    CHECK_OK(gmp_chan_send(full, &elem));
    for (size_t i = 0; i < 3 * CALLS * sizeof spans / sizeof *spans; i++) {
        enum call call = (enum call)(i % CALLS);
        gmp_chan *chans[] = {empty, NULL, call % 2 ? empty : full};
        int64_t deadline = gmp_after_ns(spans[i / (3 * CALLS)]);
        gmp_chan *ch = chans[i / CALLS % 3];

        CHECK_EQ(call_until(call, ch, &elem, deadline), -ETIMEDOUT);
        CHECK(gmp_now() >= deadline);
        CHECK_EQ(elem, 5);
        check_deserted(empty);
        CHECK_EQ(gmp_chan_try_send(full, &elem), -EAGAIN);
    }
    CHECK_OK(gmp_chan_try_recv(full, &elem));
    check_deserted(full);
    gmp_chan_unref(empty);
    gmp_chan_unref(full);
}

/* A wait with a deadline that its partner, or a close, ends before. */
struct waiter {
    struct party party;
    enum call call;
    gmp_chan *ch;
    int64_t deadline;
    int elem, result;
};

static void wait_once(void *arg)
{
    struct waiter *w = arg;

    w->result = call_until(w->call, w->ch, &w->elem, w->deadline);
}

static void begin_wait(struct waiter *w, bool host, enum call call,
                       gmp_chan *ch, int64_t deadline)
{
    w->call = call;
    w->ch = ch;
    w->deadline = deadline;
    w->elem = 5;
    begin(&w->party, host, wait_once, w);
}

static void partner_comes_first(bool host)
{
    for (int i = 0; i < 2 * CALLS; i++) {
        gmp_chan *ch = make_chan(sizeof(int), 0);
        enum call call = (enum call)(i % CALLS);
        bool receives = call % 2;
        struct waiter w;
        int elem = 6;

        begin_wait(&w, host, call, ch,
                   i < CALLS ? gmp_after_ns(SEC(900)) : GMP_FOREVER);
        /* A deadline in the past is enough to meet who waits already. */
        AWAIT(call_until(receives ? SEND : RECV, ch, &elem, 0) == 0);
        finish(&w.party);
        CHECK_OK(w.result);
        CHECK_EQ(w.elem, receives ? 6 : 5);
        CHECK_EQ(elem, w.elem);

        begin_wait(&w, host, call, ch, gmp_after_ns(SEC(900)));
        CHECK_OK(gmp_sleep(US(300)));
        CHECK_OK(gmp_chan_close(ch));
        finish(&w.party);
        CHECK_EQ(w.result, -EPIPE);
        CHECK_EQ(w.elem, receives ? 0 : 5);
        gmp_chan_unref(ch);
    }
}

/* Who gives up may stand anywhere in the queue: all the others are served. */
static void queue_closes_up(bool receives)
{
    struct waiter waiters[12];
    gmp_chan *ch = make_chan(sizeof(int), 0);

    for (int i = 0; i < 12; i++) {
        enum call call = (enum call)(2 * (i / 2 % 2) + receives);

        begin_wait(&waiters[i], i % 4 == 0, call, ch,
                   i % 3 ? gmp_after_ns(SEC(900)) : gmp_after_ns(MS(2)));
    }
    for (int i = 0; i < 12; i += 3) {
        finish(&waiters[i].party);
        CHECK_EQ(waiters[i].result, -ETIMEDOUT);
        CHECK_EQ(waiters[i].elem, 5);
    }
    for (int i = 0; i < 8; i++) {
        int elem = 6;

        CHECK_OK(call_until(receives ? SEND : RECV, ch, &elem, GMP_FOREVER));
        CHECK_EQ(elem, receives ? 6 : 5);
    }
    for (int i = 0; i < 12; i++) {
        if (i % 3 == 0)
            continue;
        finish(&waiters[i].party);
        CHECK_OK(waiters[i].result);
        CHECK_EQ(waiters[i].elem, receives ? 6 : 5);
    }
    check_deserted(ch);
    gmp_chan_unref(ch);
}

/* What a party has given or got: how many, and a sum that tells whether they
 * are the same ones. */
struct tally {
    long count, expired;
    uint64_t digest;
};

static void add(struct tally *t, int64_t value)
{
    uint64_t state = (uint64_t)value;

    t->count++;
    t->digest += next_random(&state);
}

static void check_balance(const struct tally *given, const struct tally *got)
{
    CHECK_EQ(given->count, got->count);
    CHECK(given->digest == got->digest);
}

enum { PARTIES = 5, GIVERS = 3, POISON = -77 };

static gmp_chan *market[2];
static atomic_long done, expired;
static atomic_bool over;

struct trader {
    struct party party;
    int number;
    bool selects;
    struct tally tally;
};

/* Sends or receives until a deadline, by a plain call or by a select on both
 * channels. */
static int deal(const struct trader *t, int64_t *elem, int64_t deadline)
{
    int op = t->number < GIVERS ? GMP_SEND : GMP_RECV, chosen;
    gmp_chan *ch = market[t->tally.count % 2];
    gmp_case cases[] = {{market[0], elem, op, UNTOUCHED},
                        {market[1], elem, op, UNTOUCHED}};

    if (!t->selects)
        return op == GMP_SEND ? gmp_chan_send_until(ch, elem, deadline)
                              : gmp_chan_recv_until(ch, elem, deadline);
    chosen = gmp_select_until(cases, 2, deadline);
    check_chosen(cases, 2, chosen < 0 ? -1 : chosen);
    return chosen < 0 ? chosen : cases[chosen].result;
}

static void trade(void *arg)
{
    struct trader *t = arg;
    uint64_t random = (uint64_t)t->number;

    while (!atomic_load(&over)) {
        int64_t next = t->tally.count * GIVERS + t->number;
        int64_t elem = t->number < GIVERS ? next : POISON;
        int64_t span = (int64_t)(next_random(&random) % US(80)) - US(10);
        int result = deal(t, &elem, gmp_after_ns(span));

        if (result == 0) {
            CHECK(elem >= 0);
            add(&t->tally, elem);
            atomic_fetch_add(&done, 1);
        } else {
            CHECK_EQ(result, -ETIMEDOUT);
            CHECK_EQ(elem, t->number < GIVERS ? next : POISON);
            atomic_fetch_add(&expired, 1);
        }
        /* A late reader would find this instead of the element. */
        elem = POISON;
    }
}

/* Thousands of short waits, of which many expire: what was sent successfully
 * was received, or is in the buffer. */
static void balance_is_exact(size_t capacity, bool hosts, bool selects)
{
    struct trader traders[PARTIES];
    struct tally given = {0, 0, 0}, got = {0, 0, 0};
    int64_t elem;

    for (int i = 0; i < 2; i++)
        market[i] = make_chan(sizeof elem, capacity);
    atomic_store(&done, 0);
    atomic_store(&expired, 0);
    atomic_store(&over, false);
    for (int i = 0; i < PARTIES; i++) {
        traders[i] = (struct trader){.number = i, .selects = selects};
        begin(&traders[i].party, hosts && i % 2, trade, &traders[i]);
    }
    AWAIT(atomic_load(&done) >= 2000 && atomic_load(&expired) >= 2000);
    atomic_store(&over, true);
    for (int i = 0; i < PARTIES; i++) {
        struct tally *all = i < GIVERS ? &given : &got;

        finish(&traders[i].party);
        all->count += traders[i].tally.count;
        all->digest += traders[i].tally.digest;
    }
    for (int i = 0; i < 2; i++) {
        while (gmp_chan_try_recv(market[i], &elem) == 0)
            add(&got, elem);
        check_deserted(market[i]);
        gmp_chan_unref(market[i]);
    }
    check_balance(&given, &got);
}

enum { DUELS = 1000, NO_MORE = -1 };

/* Two parties, of whom one waits until a deadline that the other aims at. */
struct duel {
    gmp_chan *ch;
    enum call call;
    bool host; /* the one who aims */
    atomic_llong deadline;
    struct tally waited, aimed;
};

static void wait_in_duel(void *arg)
{
    struct duel *d = arg;
    uint64_t random = 1;

    for (int i = 0; i < DUELS; i++) {
        int64_t span = US(5) + (int64_t)(next_random(&random) % US(30));
        int64_t deadline = gmp_after_ns(span);
        int elem = d->call % 2 ? POISON : i, result;

        atomic_store(&d->deadline, deadline);
        result = call_until(d->call, d->ch, &elem, deadline);
        if (result == 0) {
            CHECK(elem >= 0);
            add(&d->waited, elem);
        } else {
            CHECK_EQ(result, -ETIMEDOUT);
            CHECK_EQ(elem, d->call % 2 ? POISON : i);
            d->waited.expired++;
        }
        elem = POISON;
    }
    atomic_store(&d->deadline, NO_MORE);
}

static void aim_in_duel(void *arg)
{
    struct duel *d = arg;
    uint64_t random = 2;
    int64_t deadline, last = 0;

    for (int i = 0; (deadline = atomic_load(&d->deadline)) != NO_MORE;) {
        int64_t aim = (int64_t)(next_random(&random) % US(20)) - US(10);
        int elem = i, result;

        if (deadline == last) {
            if (d->host)
                sched_yield();
            else
                gmp_yield();
            continue;
        }
        last = deadline;
        while (gmp_now() < deadline + aim)
            if (i % 2 && !d->host)
                gmp_yield();
        result = d->call % 2 ? gmp_chan_try_send(d->ch, &elem)
                             : gmp_chan_try_recv(d->ch, &elem);
        if (result == 0)
            add(&d->aimed, elem);
        else
            CHECK_EQ(result, -EAGAIN);
        i++;
    }
}

/* A partner that comes at the very deadline either meets who waits or does
 * not, and both agree on it. */
static void both_agree(enum call call, bool waiter_is_host, bool other_is_host)
{
    struct duel d = {.call = call, .host = other_is_host};
    struct party waiter, other;

    d.ch = make_chan(sizeof(int), 0);
    begin(&other, other_is_host, aim_in_duel, &d);
    begin(&waiter, waiter_is_host, wait_in_duel, &d);
    finish(&waiter);
    finish(&other);
    CHECK_EQ(d.waited.count + d.waited.expired, DUELS);
    check_balance(&d.waited, &d.aimed);
    check_deserted(d.ch);
    gmp_chan_unref(d.ch);
}

/* A close at the deadline is an end of the wait like any other. */
static void close_races_with_deadline(void)
{
    uint64_t random = 3;

    for (int i = 0; i < 400; i++) {
        gmp_chan *ch = make_chan(sizeof(int), 0);
        enum call call = (enum call)(i % CALLS);
        int64_t span = (int64_t)(next_random(&random) % US(40));
        struct waiter w;
        int elem;

        begin_wait(&w, i % 8 == 7, call, ch, gmp_after_ns(span));
        spin_ns((int64_t)(next_random(&random) % US(40)));
        CHECK_OK(gmp_chan_close(ch));
        finish(&w.party);
        CHECK(w.result == -EPIPE || w.result == -ETIMEDOUT);
        CHECK_EQ(w.elem, w.result == -EPIPE && call % 2 ? 0 : 5);
        CHECK_EQ(gmp_chan_recv_until(ch, &elem, 0), -EPIPE);
        gmp_chan_unref(ch);
    }
}

enum { CROWD = 300 };

static atomic_int leaving;

static void wait_and_leave(void *arg)
{
    wait_once(arg);
    atomic_fetch_add(&leaving, 1);
}

/* As many get an element as were sent, out of a crowd that gives up by and by;
 * a host thread sends as fast as it can. */
static void crowd_gives_up(bool selects)
{
    static struct waiter crowd[CROWD];
    gmp_chan *ch = make_chan(sizeof(int), 0);
    int sent = 0, got = 0;

    atomic_store(&leaving, 0);
    for (int i = 0; i < CROWD; i++) {
        struct waiter *w = &crowd[i];

        w->call = selects ? SELECT_RECV : RECV;
        w->ch = ch;
        w->elem = POISON;
        w->deadline = gmp_after_ns(US(20) * (i * 7919 % CROWD));
        begin(&w->party, false, wait_and_leave, w);
    }
    while (atomic_load(&leaving) < CROWD)
        if (gmp_chan_try_send(ch, &sent) == 0)
            sent++;
        else
            sched_yield();
    for (int i = 0; i < CROWD; i++) {
        finish(&crowd[i].party);
        CHECK(crowd[i].result == 0 || crowd[i].result == -ETIMEDOUT);
        CHECK((crowd[i].elem == POISON) == (crowd[i].result != 0));
        got += crowd[i].result == 0;
    }
    CHECK_EQ(got, sent);
    gmp_chan_unref(ch);
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {past_tries_once, past_select_tries_once,
                                   far_away_is_no_deadline,
                                   waits_until_its_deadline};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i](NULL);                            /* from a host thread */
        CHECK_OK(gmp_join(spawn(cases[i], NULL))); /* from a goroutine */
    }
    for (int i = 0; i < 2; i++) {
        partner_comes_first(i);
        queue_closes_up(i);
        crowd_gives_up(i);
    }
    close_races_with_deadline();
    for (int i = 0; i < 8; i++)
        balance_is_exact(i & 1 ? 3 : 0, i & 2, i & 4);
    for (int call = SEND; call < CALLS; call++) {
        both_agree((enum call)call, false, false);
        both_agree((enum call)call, false, true);
        both_agree((enum call)call, true, false);
    }
    return 0;
}
