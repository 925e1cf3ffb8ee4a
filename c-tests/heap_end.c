/* What happens when an object of the heap goes: cleanups are called once, weak
 * pointers read NULL, and a collected channel goes with what is in it. */
#include "shadow.h"

#include <signal.h>
#include <sys/wait.h>

enum { MANY = 200, LOST = 10000, MAGIC = 0x5eed };

static gmp_chan *called;
static bool stressed;
/* How many objects there are of a sort: MANY, or fewer where each is dear. */
static int many = MANY;

/* Overwrites what earlier calls have left below on the stack. */
static __attribute__((noinline)) void clear_stack(void)
{
    volatile char room[8192];

    memset((char *)room, 0, sizeof room);
}

static void collect(void)
{
    clear_stack();
    CHECK_OK(gmp_gc());
}

/* A cleanup: tells of itself by its number, which is in an object that nothing
 * else keeps. */
static void tell(void *number)
{
    CHECK_OK(gmp_chan_send(called, number));
    CHECK_OK(gmp_gc_free(number));
}

static long *new_number(long n)
{
    long *number = gmp_gc_alloc_noscan(sizeof *number);

    CHECK(number != NULL);
    *number = n;
    return number;
}

/* Waits until so many of those from `first` on have told, and none of them
 * twice. Others may be late: a word that looked like a pointer kept them. */
static int count_told(int wanted, long first)
{
    static char told[2 * MANY];
    int n = 0;
    long number;

    memset(told, 0, sizeof told);
    while (n < wanted && gmp_chan_recv_until(called, &number,
                                             gmp_after_ns(SEC(20))) == 0) {
        number -= first;
        if (number >= 0 && number < 2 * many) {
            CHECK(told[number]++ == 0);
            n++;
        }
    }
    return n;
}

static __attribute__((noinline)) void make_garbage(void **kept)
{
    for (int i = 0; i < many; i++) {
        void **p = gmp_gc_alloc(64), **other = gmp_gc_alloc(64);

        CHECK(p != NULL && other != NULL);
        p[0] = other;
        other[0] = p;
        CHECK_OK(gmp_gc_cleanup(p + 3, tell, new_number(2 * i)));
        CHECK_OK(gmp_gc_cleanup(p, tell, new_number(2 * i + 1)));
        if (i == 7)
            *kept = p;
    }
}

static void test_cleanups(void)
{
    void *kept[1] = {NULL};
    int n, on_stack;
    long number;

    CHECK_EQ(gmp_gc_cleanup(&on_stack, tell, NULL), -EINVAL);
    CHECK_EQ(gmp_gc_cleanup(NULL, tell, NULL), -EINVAL);
    make_garbage(kept);
    CHECK_EQ(gmp_gc_cleanup(kept[0], NULL, NULL), -EINVAL);
    CHECK_EQ(gmp_gc_cleanup(kept[0], tell, (char *)kept[0] + 63), -EINVAL);
    collect();
    /* A word of the stack may look like one of them. */
    n = count_told(2 * many * 9 / 10, 0);
    CHECK_EQ(n, 2 * many * 9 / 10);
    while (gmp_chan_recv_until(called, &number, gmp_after_ns(MS(50))) == 0)
        CHECK(number / 2 != 7);
    CHECK_OK(gmp_gc_free(kept[0]));
    for (n = 0; n < 2; n += number / 2 == 7)
        CHECK_OK(gmp_chan_recv_until(called, &number, gmp_after_ns(SEC(20))));
}

/* --- Cleanups that end their goroutine, or leave something on it ---------- */

enum how { EXITS, CANCELS, DEFERS, SETS, LOCKS, WAYS, APART = 1 << 20 };

static gmp_key *key;
static atomic_int left;

static void is_left(void *arg)
{
    (void)arg;
    atomic_fetch_add(&left, 1);
}

static void leaves(void *how)
{
    CHECK(!gmp_cancelled());
    CHECK(gmp_getspecific(key) == NULL);
    switch (*(const long *)how) {
    case EXITS:
        gmp_exit();
        abort();
    case CANCELS:
        CHECK_OK(gmp_cancel(gmp_self()));
        break;
    case DEFERS:
        CHECK_OK(gmp_defer(is_left, NULL));
        break;
    case SETS:
        CHECK_OK(gmp_setspecific(key, &left));
        break;
    case LOCKS:
        CHECK_OK(gmp_lock_os_thread());
        break;
    }
}

static __attribute__((noinline)) void free_with(gmp_fn f, long n)
{
    void *p = gmp_gc_alloc(64);

    CHECK(p != NULL);
    CHECK_OK(gmp_gc_cleanup(p, f, new_number(n)));
    CHECK_OK(gmp_gc_free(p));
}

static void test_cleanups_that_leave(void)
{
    atomic_store(&left, 0);
    for (int how = 0; how < WAYS; how++) {
        free_with(leaves, how);
        free_with(leaves, how);
        free_with(tell, APART + how);
        CHECK_EQ(count_told(1, APART + how), 1);
    }
    for (int i = 0; atomic_load(&left) < 4 && i < 2000; i++)
        CHECK_OK(gmp_sleep(MS(5)));
    CHECK_EQ(atomic_load(&left), 4);
}

static __attribute__((noinline)) void make_weak(gmp_weak **weak, void **kept)
{
    for (int i = 0; i < many; i++) {
        long *p = gmp_gc_alloc(100);

        CHECK(p != NULL);
        *p = i;
        weak[i] = gmp_gc_weak(p + 2);
        CHECK(weak[i] != NULL);
        CHECK(gmp_gc_weak(p) == weak[i]);
        CHECK(gmp_gc_weak_get(weak[i]) == p);
        if (i % 2 == 0)
            kept[i] = p;
    }
}

static void test_weak(void)
{
    gmp_weak **weak = gmp_gc_alloc(many * sizeof *weak);
    void **kept = gmp_gc_alloc(many * sizeof *kept);
    int gone = 0;

    CHECK(weak != NULL && kept != NULL);
    CHECK(gmp_gc_weak(&gone) == NULL);
    CHECK(gmp_gc_weak(NULL) == NULL);
    CHECK(gmp_gc_weak_get(NULL) == NULL);
    make_weak(weak, kept);
    collect();
    for (int i = 0; i < many; i++) {
        long *p = gmp_gc_weak_get(weak[i]);

        CHECK(p == kept[i] || (i % 2 != 0 && *p == i));
        gone += p == NULL;
    }
    CHECK(gone > many * 4 / 10);
    CHECK_OK(gmp_gc_free(kept[0]));
    CHECK(gmp_gc_weak_get(weak[0]) == NULL);
    GMP_GC_KEEP(weak);
    GMP_GC_KEEP(kept);
}

/* Objects that goroutines find by weak pointers only, while others collect. */
struct found {
    long magic, slot;
    char rest[80];
};

enum { SLOTS = 64 };
static _Atomic(gmp_weak *) slots[SLOTS];
static atomic_int storming;

static void finds(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    int rounds = stressed ? 100 : 20000;
    struct found *strong[4] = {0};

    for (int i = 0; i < rounds; i++) {
        long slot = (long)((seed = seed * 1103515245 + 12345) >> 16) % SLOTS;
        gmp_weak *weak = atomic_load(&slots[slot]);
        struct found *p = gmp_gc_weak_get(weak);

        if (p == NULL) {
            p = gmp_gc_alloc(sizeof *p);
            CHECK(p != NULL);
            p->magic = MAGIC;
            p->slot = slot;
            atomic_store(&slots[slot], gmp_gc_weak(p));
        }
        CHECK_EQ(p->magic, MAGIC);
        CHECK_EQ(p->slot, slot);
        strong[i % 4] = p;
        if (i % 64 == 0)
            gmp_yield();
    }
    atomic_fetch_sub(&storming, 1);
    GMP_GC_KEEP(strong);
}

static void test_weak_storm(void)
{
    gmp_g *g[4];

    atomic_store(&storming, 4);
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_go_with(NULL, finds, (void *)(uintptr_t)(i + 1), &g[i]));
    while (atomic_load(&storming) > 0) {
        CHECK_OK(gmp_gc());
        CHECK_OK(gmp_sleep(100000));
    }
    for (int i = 0; i < 4; i++)
        CHECK_OK(gmp_join(g[i]));
}

struct letter {
    gmp_chan *reply;
    long number;
};

static void answers(void *arg)
{
    gmp_chan *in = arg;
    struct letter *letter;

    while (gmp_chan_recv(in, &letter) == 0) {
        long twice = 2 * letter->number;
        CHECK_OK(gmp_chan_send(letter->reply, &twice));
    }
}

/* A letter with its own channel for the answer, and nobody frees either. */
static __attribute__((noinline)) void ask(gmp_chan *in, long number)
{
    struct letter *letter = gmp_gc_alloc(sizeof *letter);
    long answer;

    CHECK(letter != NULL);
    letter->reply = gmp_gc_chan_make(sizeof answer, number % 3);
    CHECK(letter->reply != NULL);
    letter->number = number;
    CHECK_OK(gmp_chan_send(in, &letter));
    CHECK_OK(gmp_chan_recv(letter->reply, &answer));
    CHECK_EQ(answer, 2 * number);
}

static __attribute__((noinline)) void lose_channels(void)
{
    for (int i = 0; i < many; i++) {
        gmp_chan *ch = gmp_gc_chan_make(sizeof(void *), 3), *same;
        void *number = new_number(i);

        CHECK(ch != NULL);
        CHECK_OK(gmp_chan_send(ch, &ch));
        CHECK_OK(gmp_chan_send(ch, &number));
        CHECK_OK(gmp_chan_recv(ch, &same));
        CHECK(same == ch);
        CHECK_OK(gmp_chan_send(ch, &ch));
        CHECK_OK(gmp_gc_cleanup(ch, tell, new_number(LOST + i)));
        gmp_chan_unref(gmp_chan_ref(ch));
        gmp_chan_unref(ch);
        CHECK_EQ(gmp_chan_len(ch), 2);
    }
}

/* An element that was received keeps nothing. */
static __attribute__((noinline)) gmp_weak *pass(gmp_chan *ch, int drop)
{
    long *number = new_number(5), *same = NULL;
    gmp_weak *weak = gmp_gc_weak(number);

    CHECK(weak != NULL);
    CHECK_OK(gmp_chan_send(ch, &number));
    CHECK_OK(gmp_chan_recv(ch, drop ? NULL : &same));
    CHECK(drop || same == number);
    return weak;
}

static void test_channels(void)
{
    gmp_chan *in = gmp_gc_chan_make(sizeof(struct letter *), 1), *ints;
    long *kept = new_number(42);
    gmp_weak *weak[MANY];
    gmp_g *g;
    int gone = 0;

    CHECK(gmp_gc_chan_make(SIZE_MAX, 1) == NULL);
    CHECK(gmp_gc_chan_make(8, SIZE_MAX / 8) == NULL);
    ints = gmp_gc_chan_make(sizeof(int), 1);
    CHECK(ints != NULL);
    CHECK_EQ(gmp_signal_notify(ints, SIGUSR1), -EINVAL);
    CHECK_OK(gmp_go_with(NULL, answers, in, &g));
    for (long i = 0; i < (stressed ? 50 : 3000); i++) {
        ask(in, i);
        if (i % 300 == 0)
            collect();
    }
    CHECK_OK(gmp_chan_close(in));
    CHECK_OK(gmp_join(g));
    lose_channels();
    collect();
    CHECK_EQ(count_told(many * 9 / 10, LOST), many * 9 / 10);
    in = gmp_gc_chan_make(sizeof kept, 2);
    CHECK(in != NULL);
    for (int i = 0; i < many; i++)
        weak[i] = pass(in, i % 2);
    CHECK_OK(gmp_chan_send(in, &kept));
    kept = NULL;
    collect();
    for (int i = 0; i < many; i++)
        gone += gmp_gc_weak_get(weak[i]) == NULL;
    CHECK(gone > many * 9 / 10);
    CHECK_OK(gmp_chan_recv(in, &kept));
    CHECK_EQ(*kept, 42);
    while (gmp_chan_recv_until(called, NULL, gmp_after_ns(MS(50))) == 0)
        ;
}

static void test_fork(void)
{
    long *p = new_number(1);
    gmp_weak *weak = gmp_gc_weak(p);
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        CHECK(gmp_gc_weak_get(weak) == p);
        CHECK(gmp_gc_weak(p) == NULL);
        CHECK_EQ(gmp_gc_cleanup(p, tell, NULL), -ENOTSUP);
        CHECK(gmp_gc_chan_make(8, 1) == NULL);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    GMP_GC_KEEP(p);
}

static void on_goroutine(void *arg)
{
    (void)arg;
    test_cleanups();
    test_cleanups_that_leave();
    test_weak();
    test_weak_storm();
    test_channels();
}

int test_main(int argc, char **argv)
{
    gmp_g *g;

    (void)argc;
    (void)argv;
    stressed = gc_stressed();
    if (stressed)
        many = MANY / 2;
    called = gmp_chan_make(sizeof(long), 4 * MANY);
    CHECK(called != NULL);
    key = gmp_key_create(is_left);
    CHECK(key != NULL);
    CHECK_OK(gmp_go_with(NULL, on_goroutine, NULL, &g));
    CHECK_OK(gmp_join(g));
    on_goroutine(NULL);
    test_fork();
    gmp_key_delete(key);
    gmp_chan_unref(called);
    return 0;
}
