/* Goroutines of steps: they wait without a stack, for channels, deadlines and
 * goroutines; all else about them is as of a goroutine. */
#include "test.h"

enum { PLAYERS = 8, EACH = 3000, ROUNDS = 200 };

#define FOREVER GMP_FOREVER, NULL

/* What a simple step works on. */
struct one {
    gmp_wait wait;
    atomic_int step; /* how many steps there were */
    int rc;   /* the result of the first wait */
    gmp_chan *ch;
    gmp_g *g;
    int64_t deadline, elem;
    int (*name)(struct one *); /* names the wait */
    gmp_wait_timer timer;
};

/* Waits once for what `name` names, and keeps the result. */
static int waits_once(gmp_wait *wait)
{
    struct one *one = (struct one *)wait;

    if (one->step++ > 0) {
        one->rc = gmp_step_result();
        return 0;
    }
    CHECK_EQ(gmp_step_wait(), wait);
    CHECK_EQ(gmp_step_result(), 0);
    one->rc = one->name(one);
    CHECK_EQ(gmp_step_result(), one->rc);
    return one->rc == GMP_STEP_WAIT ? one->rc : 0;
}

static int names_recv(struct one *one)
{
    return gmp_step_recv(one->ch, &one->elem, one->deadline, &one->timer);
}

static int names_send(struct one *one)
{
    return gmp_step_send(one->ch, &one->elem, one->deadline, &one->timer);
}

static int names_sleep(struct one *one)
{
    return gmp_step_sleep(one->deadline, &one->timer);
}

static int names_join(struct one *one)
{
    return gmp_step_join(one->g, one->deadline, &one->timer);
}

static int names_yield(struct one *one)
{
    (void)one;
    return gmp_step_yield();
}

static struct one one_of(int (*name)(struct one *), gmp_chan *ch)
{
    struct one one;

    memset(&one, 0, sizeof one);
    one.name = name;
    one.ch = ch;
    one.deadline = GMP_FOREVER;
    one.elem = 7;
    return one;
}

static gmp_g *start(struct one *one)
{
    gmp_g *g;

    CHECK_OK(gmp_go_step(NULL, waits_once, &one->wait, NULL, &g));
    return g;
}

static int result_of(struct one *one)
{
    CHECK_OK(gmp_join(start(one)));
    return one->rc;
}

static void outside_of_a_step(void)
{
    gmp_chan *ch = gmp_chan_make(8, 1);
    int64_t elem = 0;

    CHECK_EQ(gmp_step_wait(), NULL);
    CHECK_EQ(gmp_step_result(), -EPERM);
    CHECK_EQ(gmp_step_send(ch, &elem, FOREVER), -EPERM);
    CHECK_EQ(gmp_step_recv(ch, &elem, FOREVER), -EPERM);
    CHECK_EQ(gmp_step_sleep(FOREVER), -EPERM);
    CHECK_EQ(gmp_step_join(gmp_self(), FOREVER), -EPERM);
    CHECK_EQ(gmp_step_yield(), -EPERM);
    CHECK_EQ(gmp_chan_len(ch), 0);
    CHECK_EQ(gmp_go_step(NULL, NULL, (gmp_wait *)&elem, NULL, NULL), -EINVAL);
    CHECK_EQ(gmp_go_step(NULL, waits_once, NULL, NULL, NULL), -EINVAL);
    gmp_chan_unref(ch);
}

static void nop(void *arg)
{
    (void)arg;
}

static void results(void)
{
    gmp_chan *ch = gmp_chan_make(8, 1);
    struct one recv = one_of(names_recv, ch), send = one_of(names_send, ch);
    struct one sleep = one_of(names_sleep, NULL);
    struct one join = one_of(names_join, NULL);
    struct one yield = one_of(names_yield, NULL);
    int64_t before = gmp_now();

    /* At once. */
    CHECK_EQ(result_of(&send), 0);
    CHECK_EQ(send.step, 1);
    CHECK_EQ(result_of(&recv), 0);
    CHECK_EQ(recv.step, 1);
    CHECK_EQ(recv.elem, 7);
    /* After a deadline. */
    recv.step = 0;
    recv.deadline = gmp_after_ns(MS(2));
    CHECK_EQ(result_of(&recv), -ETIMEDOUT);
    CHECK(gmp_now() >= recv.deadline);
    recv.step = 0;
    CHECK_EQ(result_of(&recv), -ETIMEDOUT);
    sleep.deadline = gmp_after_ns(MS(2));
    CHECK_EQ(result_of(&sleep), 0);
    CHECK(gmp_now() >= sleep.deadline);
    sleep.step = 0;
    sleep.deadline = before;
    CHECK_EQ(result_of(&sleep), 0);
    CHECK_EQ(sleep.step, 2);
    CHECK_EQ(result_of(&yield), 0);
    CHECK_EQ(yield.step, 2);
    /* A join, of one that has ended or has not; and a stale handle. */
    CHECK_OK(gmp_go_with(NULL, nop, NULL, &join.g));
    CHECK_EQ(result_of(&join), 0);
    join.step = 0;
    CHECK_EQ(result_of(&join), -EINVAL);
    join.step = 0;
    sleep.step = 0;
    sleep.deadline = gmp_after_ns(SEC(3600));
    join.g = start(&sleep);
    join.deadline = gmp_after_ns(MS(2));
    CHECK_EQ(result_of(&join), -ETIMEDOUT);
    CHECK_OK(gmp_cancel(join.g));
    join.step = 0;
    join.deadline = GMP_FOREVER;
    CHECK_EQ(result_of(&join), 0);
    CHECK_EQ(sleep.rc, -ECANCELED);
    /* A close. */
    recv.step = 0;
    recv.deadline = GMP_FOREVER;
    gmp_g *g = start(&recv);
    AWAIT(recv.step == 1);
    CHECK_OK(gmp_chan_close(ch));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(recv.rc, -EPIPE);
    CHECK_EQ(recv.elem, 0);
    send.step = 0;
    CHECK_EQ(result_of(&send), -EPIPE);
    gmp_chan_unref(ch);
}

static void wrong_arguments(void)
{
    gmp_chan *ch = gmp_chan_make(8, 0);
    struct one join = one_of(names_join, NULL);
    gmp_attr attr = GMP_ATTR_INIT;

    attr.stack_size = (size_t)2 << 30;
    CHECK_EQ(gmp_go_step(&attr, waits_once, &join.wait, NULL, NULL), -EINVAL);
    join.g = NULL;
    CHECK_EQ(result_of(&join), -EINVAL);
    gmp_chan_unref(ch);
}

/* A cancel ends each wait, and each later call. */
static int names_again(gmp_wait *wait)
{
    struct one *one = (struct one *)wait;

    if (one->step++ == 0)
        return one->name(one);
    one->rc = gmp_step_result();
    CHECK_EQ(gmp_step_recv(one->ch, &one->elem, FOREVER), -ECANCELED);
    CHECK_EQ(gmp_step_sleep(FOREVER), -ECANCELED);
    CHECK_EQ(gmp_step_result(), -ECANCELED);
    CHECK_EQ(gmp_sleep(1), -ECANCELED);
    return 0;
}

static void cancels(void)
{
    gmp_chan *ch = gmp_chan_make(8, 0);
    struct one forever = one_of(names_sleep, NULL);
    gmp_g *target = start(&forever);
    struct one all[5] = {
        one_of(names_recv, ch),    one_of(names_send, ch),
        one_of(names_sleep, NULL), one_of(names_join, NULL),
        one_of(names_recv, NULL), /* which is never ready */
    };

    all[3].g = target;
    for (int late = 0; late < 2; late++)
        for (int i = 0; i < 5; i++) {
            gmp_g *g;
            /* One at a time at ch, with and without a deadline. */
            all[i].step = 0;
            all[i].deadline = late ? gmp_after_ns(SEC(3600)) : GMP_FOREVER;
            CHECK_OK(gmp_go_step(NULL, names_again, &all[i].wait, NULL, &g));
            AWAIT(all[i].step == 1);
            if (late)
                gmp_sleep(US(100));
            CHECK_OK(gmp_cancel(g));
            CHECK_OK(gmp_join(g));
            CHECK_EQ(all[i].rc, -ECANCELED);
        }
    CHECK_EQ(gmp_chan_try_recv(ch, NULL), -EAGAIN);
    CHECK_OK(gmp_cancel(target));
    CHECK_OK(gmp_join(target));
    gmp_chan_unref(ch);
}

/* Players pass numbers on in a ring; some are steps and some goroutines. */
struct player {
    gmp_wait wait;
    gmp_chan *in, *out;
    int64_t word, sum;
    int left;
    bool sends;
};

static int plays(gmp_wait *wait)
{
    struct player *p = (struct player *)wait;
    int rc = gmp_step_result();

    while (rc == 0) {
        if (p->sends) {
            p->sends = false;
            p->word++;
            rc = gmp_step_send(p->out, &p->word, FOREVER);
        } else {
            p->sum += p->word;
            if (p->left-- == 0)
                return 0;
            p->sends = true;
            rc = gmp_step_recv(p->in, &p->word, FOREVER);
        }
    }
    CHECK_EQ(rc, GMP_STEP_WAIT);
    return rc;
}

static void plays_on_a_stack(void *arg)
{
    struct player *p = arg;

    while (p->left-- > 0) {
        CHECK_OK(gmp_chan_recv(p->in, &p->word));
        p->word++;
        CHECK_OK(gmp_chan_send(p->out, &p->word));
    }
}

static void ring(size_t capacity, int stacks)
{
    static struct player all[PLAYERS];
    gmp_chan *ch[PLAYERS];
    gmp_g *g[PLAYERS];
    int64_t word = 0;

    for (int i = 0; i < PLAYERS; i++)
        CHECK((ch[i] = gmp_chan_make(8, capacity)) != NULL);
    for (int i = 0; i < PLAYERS; i++) {
        memset(&all[i], 0, sizeof all[i]);
        all[i].in = ch[i];
        all[i].out = ch[(i + 1) % PLAYERS];
        all[i].left = EACH;
        if (i % 4 < stacks)
            CHECK_OK(gmp_go_with(NULL, plays_on_a_stack, &all[i], &g[i]));
        else
            CHECK_OK(gmp_go_step(NULL, plays, &all[i].wait, NULL, &g[i]));
    }
    CHECK_OK(gmp_chan_send(ch[0], &word));
    /* The last send of the last player is for us. */
    for (int i = 0; i < PLAYERS - 1; i++)
        CHECK_OK(gmp_join(g[i]));
    CHECK_OK(gmp_chan_recv(ch[0], &word));
    CHECK_OK(gmp_join(g[PLAYERS - 1]));
    CHECK_EQ(word, PLAYERS * EACH);
    for (int i = 0; i < PLAYERS; i++)
        gmp_chan_unref(ch[i]);
}

/* A step may block: then it keeps its stack. What a goroutine has, it has. */
static gmp_key *key;
static atomic_int destroyed, deferred;

static void destroys(void *value)
{
    CHECK_EQ(*(int *)value, 42);
    destroyed++;
}

static void defers(void *arg)
{
    (void)arg;
    deferred++;
}

static int does_all(gmp_wait *wait)
{
    static int value = 42;
    struct one *one = (struct one *)wait;
    gmp_g *g;

    switch (one->step++) {
    case 0:
        one->g = gmp_self();
        CHECK_OK(gmp_setspecific(key, &value));
        CHECK_OK(gmp_defer(defers, NULL));
        CHECK_OK(gmp_set_name("steps"));
        CHECK_OK(gmp_shield_enter());
        return gmp_step_sleep(gmp_after_ns(US(100)), &one->timer);
    case 1:
        CHECK_EQ(gmp_self(), one->g);
        CHECK_EQ(gmp_getspecific(key), &value);
        CHECK_OK(gmp_shield_leave());
        CHECK_EQ(gmp_shield_leave(), -EPERM);
        CHECK_OK(gmp_sleep(US(100)));
        CHECK_OK(gmp_go_with(NULL, nop, NULL, &g));
        CHECK_OK(gmp_join(g));
        gmp_yield();
        return gmp_step_yield();
    case 2:
        CHECK_EQ(deferred, one->elem);
        CHECK_EQ(gmp_self(), one->g);
        return one->ch == NULL ? 0 : (gmp_exit(), -1);
    }
    return -1;
}

static void as_a_goroutine(void)
{
    struct one one = one_of(NULL, NULL);
    gmp_g *g;

    key = gmp_key_create(destroys);
    CHECK(key != NULL);
    one.elem = 0;
    CHECK_OK(gmp_go_step(NULL, does_all, &one.wait, NULL, &g));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(destroyed, 1);
    CHECK_EQ(deferred, 1);
    /* It ends by gmp_exit. */
    one.elem = 1;
    one.step = 0;
    one.ch = gmp_chan_make(1, 0);
    CHECK_OK(gmp_go_step(NULL, does_all, &one.wait, NULL, &g));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(destroyed, 2);
    CHECK_EQ(deferred, 2);
    gmp_chan_unref(one.ch);
    gmp_key_delete(key);
}

/* A stack of its own size, and a thread of its own. */
static int stays_on_its_thread(gmp_wait *wait)
{
    struct one *one = (struct one *)wait;
    volatile char large[512 * 1024];

    large[0] = (char)one->step;
    if (one->step == 0)
        one->elem = (int64_t)syscall(SYS_gettid);
    CHECK_EQ(syscall(SYS_gettid), one->elem);
    if (one->step++ == 20 + large[0] * 0)
        return 0;
    return one->step % 2 ? gmp_step_yield()
                         : gmp_step_sleep(gmp_after_ns(US(50)), &one->timer);
}

static void attributes(void)
{
    struct one one = one_of(NULL, NULL);
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    attr.flags = GMP_LOCKED_THREAD;
    for (size_t mib = 1; mib <= 16; mib *= 16) {
        attr.stack_size = mib << 20;
        one.step = 0;
        CHECK_OK(
            gmp_go_step(&attr, stays_on_its_thread, &one.wait, NULL, &g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(one.step, 21);
    }
}

/* Senders and receivers with short deadlines, some of whom are cancelled: what
 * was sent is received, once. */
struct trader {
    gmp_wait wait;
    gmp_chan *ch;
    int64_t word;
    uint32_t random;
    int left;
    bool waits, sends;
    gmp_wait_timer timer;
};

static atomic_long sent, received, given_up;

static int trades(gmp_wait *wait)
{
    struct trader *t = (struct trader *)wait;

    for (;;) {
        int rc = gmp_step_result();
        if (rc == GMP_STEP_WAIT)
            return rc;
        if (t->waits && rc == 0)
            atomic_fetch_add(t->sends ? &sent : &received, t->word);
        else if (t->waits)
            given_up++;
        if (t->left-- == 0 || (t->waits && rc != 0 && rc != -ETIMEDOUT))
            return 0;
        t->waits = true;
        t->random = t->random * 1664525 + 1013904223;
        if (t->sends)
            t->word = t->random >> 16;
        int64_t until = t->random >> 30 ? gmp_after_ns(t->random >> 17)
                                        : gmp_after_ns(MS(20));
        if (t->random >> 25 & 1)
            until = gmp_after_ns(SEC(3600));
        rc = t->sends ? gmp_step_send(t->ch, &t->word, until, &t->timer)
                      : gmp_step_recv(t->ch, &t->word, until, &t->timer);
        CHECK(rc <= 0 || rc == GMP_STEP_WAIT);
    }
}

static void storm(size_t capacity)
{
    static struct trader all[16];
    gmp_chan *ch = gmp_chan_make(8, capacity);
    gmp_g *g[16];
    int64_t word;

    for (int i = 0; i < 16; i++) {
        memset(&all[i], 0, sizeof all[i]);
        all[i].ch = ch;
        all[i].left = ROUNDS;
        all[i].sends = i % 2;
        all[i].random = (uint32_t)i * 7919;
        CHECK_OK(gmp_go_step(NULL, trades, &all[i].wait, NULL, &g[i]));
    }
    for (int i = 0; i < 12; i++) {
        gmp_sleep(US(100 * i));
        CHECK(gmp_cancel(g[i]) == 0 || true);
    }
    /* The others have no partner for ever. */
    CHECK_OK(gmp_chan_close(ch));
    for (int i = 0; i < 16; i++)
        CHECK_OK(gmp_join(g[i]));
    while (gmp_chan_try_recv(ch, &word) == 0)
        atomic_fetch_add(&received, word);
    CHECK_EQ(sent, received);
    gmp_chan_unref(ch);
}

int test_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    outside_of_a_step();
    results();
    wrong_arguments();
    cancels();
    for (int stacks = 0; stacks < 4; stacks++) {
        ring(0, stacks);
        ring(2, stacks);
    }
    as_a_goroutine();
    attributes();
    for (int i = 0; i < 5; i++)
        storm((size_t)i);
    return 0;
}
