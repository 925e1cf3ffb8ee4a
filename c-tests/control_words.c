/* MXCSR and the x87 control word, which a caller keeps over a call: a goroutine
 * has its own over every park, on whatever thread it goes on, and begins with
 * those of the C ABI, whoever ended on the stack before and wherever it runs.
 * A host thread that runs a goroutine in place has its own back. */
#include "test.h"

enum {
    ROUNDS = 400,
    FIRST_MXCSR = 0x1f80,
    MXCSR_CONTROL = 0xffc0,
    FIRST_FPUCW = 0x37f,
    UP = 0x4000,                /* MXCSR: towards plus infinity */
    FLUSH = 0x8000,             /* MXCSR: results that are denormal are 0 */
    DIVIDE = 0x200,             /* MXCSR: division by zero is masked */
    SINGLE = 0x300              /* x87: these bits at 0 are single precision */
};

struct words {
    unsigned mxcsr;
    unsigned short fpucw;
};

static const struct words first = {FIRST_MXCSR, FIRST_FPUCW};

static struct words get(void)
{
    struct words now;

    __asm__ volatile("stmxcsr %0" : "=m"(now.mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(now.fpucw));
    now.mxcsr &= MXCSR_CONTROL;
    return now;
}

static void set(struct words words)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(words.mxcsr));
    __asm__ volatile("fldcw %0" : : "m"(words.fpucw));
}

static void check_is(struct words want)
{
    struct words now = get();

    CHECK_EQ(now.mxcsr, want.mxcsr);
    CHECK_EQ(now.fpucw, want.fpucw);
}

/* Four kinds of words, none of which raises anything. */
static struct words kind(int n)
{
    static const struct words kinds[] = {
        {FIRST_MXCSR, FIRST_FPUCW},
        {FIRST_MXCSR | UP, FIRST_FPUCW},
        {FIRST_MXCSR, FIRST_FPUCW & ~SINGLE},
        {FIRST_MXCSR | FLUSH, (FIRST_FPUCW & ~SINGLE) | 0x800},
    };
    return kinds[n % 4];
}

static gmp_mutex mutex = GMP_MUTEX_INIT;
static gmp_chan *chan;

static int no(void *g, void *lock)
{
    (void)g;
    (void)lock;
    return 0;
}

/* Every way off the stack and back. */
static void leave_and_come(int way)
{
    static const int64_t moment = 20000;
    int value = way;

    switch (way % 6) {
    case 0:
        gmp_yield();
        break;
    case 1:
        CHECK_OK(gmp_sleep(moment));
        break;
    case 2:
        CHECK_OK(gmp_chan_send(chan, &value));
        break;
    case 3:
        CHECK_OK(gmp_chan_recv(chan, &value));
        break;
    case 4:
        CHECK_OK(gmp_mutex_lock(&mutex));
        gmp_yield();
        CHECK_OK(gmp_mutex_unlock(&mutex));
        break;
    case 5:
        CHECK_OK(gmp_park((gmp_unlockf)no, NULL, NULL));
        break;
    }
}

static void keeper(void *arg)
{
    int me = (int)(intptr_t)arg;

    check_is(first);
    set(kind(me));
    for (int i = 0; i < ROUNDS; i++) {
        leave_and_come(i);
        check_is(kind(me));
    }
}

static void changed(void *arg)
{
    check_is(first);
    set(kind((int)(intptr_t)arg));
}

static void changed_and_exits(void *arg)
{
    changed(arg);
    gmp_exit();
}

/* Goroutines that nobody joins take over each other's stacks. */
static void detached(void *arg)
{
    gmp_waitgroup *all = arg;

    check_is(first);
    set(kind(3));
    CHECK_OK(gmp_waitgroup_done(all));
}

static void starter(void *arg)
{
    gmp_waitgroup all = GMP_WAITGROUP_INIT;

    (void)arg;
    set(kind(1));
    for (int i = 0; i < ROUNDS; i++) {
        gmp_g *g[3];

        CHECK_OK(gmp_waitgroup_add(&all, 8));
        for (int k = 0; k < 8; k++)
            CHECK_OK(gmp_go(detached, &all));
        for (int k = 0; k < 3; k++)
            g[k] = spawn(k ? changed : changed_and_exits,
                         (void *)(intptr_t)(k + 1));
        for (int k = 0; k < 3; k++)
            CHECK_OK(gmp_join(g[k]));
        CHECK_OK(gmp_waitgroup_wait(&all));
        check_is(kind(1));
    }
}

/* An exception that one goroutine has stored is not raised by another one,
 * which would be ended by such a one of its own. */
static void divides(void *arg)
{
    volatile double zero = 0;

    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        volatile double result = 1 / zero;
        volatile long double wide = 1 / (long double)zero;

        (void)result;
        (void)wide;
        gmp_yield();
    }
}

static void minds(void *arg)
{
    const struct words strict = {FIRST_MXCSR & ~DIVIDE, FIRST_FPUCW & ~4};

    (void)arg;
    __asm__ volatile("fnclex");
    set(strict);
    for (int i = 0; i < ROUNDS; i++) {
        volatile double one = i, third = one / 3;
        volatile long double wide = third;

        (void)wide;
        gmp_yield();
        check_is(strict);
    }
}

static void both(void *arg)
{
    gmp_g *g[2];

    (void)arg;
    g[0] = spawn(divides, NULL);
    g[1] = spawn(minds, NULL);
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_join(g[i]));
}

static atomic_int in_place;

static void look(void *arg)
{
    check_is(first);
    if (pthread_equal(*(pthread_t *)arg, pthread_self()))
        atomic_fetch_add(&in_place, 1);
    set(kind(2));
    gmp_yield();
    check_is(kind(2));
}

static void *host(void *arg)
{
    pthread_t self = pthread_self();

    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        set(kind(i));
        CHECK_OK(gmp_join(spawn(look, &self)));
        check_is(kind(i));
        CHECK_OK(gmp_sleep(1000));
        check_is(kind(i));
    }
    return NULL;
}

int test_main(int argc, char **argv)
{
    gmp_g *g[12];
    pthread_t thread;

    (void)argc;
    (void)argv;
    chan = gmp_chan_make(sizeof(int), 12);
    CHECK(chan != NULL);
    for (int i = 0; i < 12; i++)
        g[i] = spawn(keeper, (void *)(intptr_t)i);
    for (int i = 0; i < 12; i++)
        CHECK_OK(gmp_join(g[i]));
    CHECK_OK(gmp_join(spawn(starter, NULL)));
    CHECK_OK(gmp_join(spawn(both, NULL)));
    CHECK_OK(pthread_create(&thread, NULL, host, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    printf("%d of %d in place\n", atomic_load(&in_place), ROUNDS);
    gmp_chan_unref(chan);
    return 0;
}
