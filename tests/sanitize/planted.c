/* Programs with one bug each, and their twins without it: the first argument
 * says which. tests/sanitize.rs compiles them with each sanitizer. */
#include <gmp.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS(n) ((int64_t)(n) * 1000000)

/* The other end has to be there: a failure is another exit code. */
static void must(int rc)
{
    if (rc != 0) {
        fprintf(stderr, "a call failed: %d\n", rc);
        _exit(3);
    }
}

/* --- Races ---------------------------------------------------------------- */

static int shared;
static gmp_mutex lock = GMP_MUTEX_INIT;
static gmp_rwmutex rw = GMP_RWMUTEX_INIT;
static gmp_sema sema = GMP_SEMA_INIT(0);
static gmp_cond cond = GMP_COND_INIT;
static gmp_once once = GMP_ONCE_INIT;
static gmp_waitgroup all = GMP_WAITGROUP_INIT;
static gmp_chan *chan, *back;
static int ends[2];

/* The tool looks at the first access of each goroutine to a place, and may miss
 * two at the same instant. So there are many places, and with another argument
 * another order: at most at one of them both are at once. */
static int places[64];

static void add(void *arg)
{
    for (int i = 0; i < 64; i++)
        ++((volatile int *)places)[arg == NULL ? i : 63 - i];
    gmp_waitgroup_done(&all);
}

static void add_locked(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        must(gmp_mutex_lock(&lock));
        shared++;
        must(gmp_mutex_unlock(&lock));
        gmp_yield();
    }
    gmp_waitgroup_done(&all);
}

static void two(gmp_fn f)
{
    must(gmp_waitgroup_add(&all, 2));
    must(gmp_go(f, NULL));
    must(gmp_go(f, &all));
    must(gmp_waitgroup_wait(&all));
}

static void race(void)
{
    two(add);
}

/* One ends before the other begins, and leaves its stack. */
static void race_in_turn(void)
{
    must(gmp_waitgroup_add(&all, 2));
    must(gmp_go(add, NULL));
    gmp_sleep(MS(30));
    must(gmp_go(add, NULL));
    must(gmp_waitgroup_wait(&all));
}

/* The library writes into a buffer that another goroutine writes to. */
static char buffer[64];

static void read_buffer(void *arg)
{
    (void)arg;
    if (gmp_read(ends[0], buffer, sizeof buffer) < 1)
        _exit(3);
    gmp_waitgroup_done(&all);
}

static void fill_buffer(void *arg)
{
    (void)arg;
    /* Of eight bytes side by side the tool remembers four accesses. */
    ((volatile char *)buffer)[0] = 1;
    /* A report needs the history of the first as well. */
    gmp_sleep(MS(300));
    gmp_waitgroup_done(&all);
}

static void race_of_a_read(void)
{
    if (pipe(ends) != 0 || write(ends[1], "abc", 3) != 3)
        _exit(3);
    must(gmp_waitgroup_add(&all, 2));
    must(gmp_go(fill_buffer, NULL));
    gmp_sleep(MS(30));
    must(gmp_go(read_buffer, NULL));
    must(gmp_waitgroup_wait(&all));
}

/* --- The same, in order: each way that there is --------------------------- */

static void echo(void *arg)
{
    int *value;

    (void)arg;
    while (gmp_chan_recv(chan, &value) == 0) {
        *value += 1;
        must(gmp_chan_send(back, &value));
    }
    gmp_waitgroup_done(&all);
}

static void by_channel(size_t capacity)
{
    chan = gmp_chan_make(sizeof(int *), capacity);
    back = gmp_chan_make(sizeof(int *), capacity);
    must(gmp_waitgroup_add(&all, 4));
    for (int i = 0; i < 4; i++)
        must(gmp_go(echo, NULL));
    for (int i = 0; i < 50; i++) {
        int *value = malloc(sizeof *value);

        *value = i;
        must(gmp_chan_send(chan, &value));
        must(gmp_chan_recv(back, &value));
        *value += 1;
        free(value);
    }
    must(gmp_chan_close(chan));
    must(gmp_waitgroup_wait(&all));
    gmp_chan_unref(chan);
    gmp_chan_unref(back);
}

static void selects(void *arg)
{
    int *value = malloc(sizeof *value);
    gmp_case cases[] = { { chan, &value, GMP_SEND, 0 },
                         { back, NULL, GMP_RECV, 0 } };

    (void)arg;
    *value = 7;
    if (gmp_select(cases, 2) != 0)
        _exit(3);
    gmp_waitgroup_done(&all);
}

static void by_select(void)
{
    int *value;

    chan = gmp_chan_make(sizeof(int *), 0);
    back = gmp_chan_make(sizeof(int *), 0);
    must(gmp_waitgroup_add(&all, 1));
    must(gmp_go(selects, NULL));
    must(gmp_chan_recv(chan, &value));
    *value = 8;
    free(value);
    must(gmp_waitgroup_wait(&all));
    gmp_chan_unref(chan);
    gmp_chan_unref(back);
}

static void add_for_join(void *arg)
{
    *(int *)arg += 1;
}

static void by_join(void)
{
    int sum = 0;
    gmp_g *g;

    for (int i = 0; i < 20; i++) {
        must(gmp_go_with(NULL, add_for_join, &sum, &g));
        must(gmp_join(g));
        sum++;
    }
}

static int add_for_group(void *arg)
{
    (void)arg;
    must(gmp_rwmutex_lock(&rw));
    shared++;
    must(gmp_rwmutex_unlock(&rw));
    must(gmp_rwmutex_rlock(&rw));
    int seen = shared;
    must(gmp_rwmutex_runlock(&rw));
    return seen < 0;
}

static void by_group(void)
{
    gmp_group *gr = gmp_group_make();

    for (int i = 0; i < 10; i++)
        must(gmp_group_go(gr, add_for_group, NULL));
    must(gmp_group_wait(gr));
    shared++;
    for (int i = 0; i < 10; i++)
        must(gmp_group_go(gr, add_for_group, NULL));
    gmp_group_free(gr);
    shared++;
}

static void add_and_unref(void *arg)
{
    shared++;
    gmp_chan_unref(arg);
}

static void by_references(void)
{
    gmp_chan *both = gmp_chan_make(1, 0);

    must(gmp_go(add_and_unref, gmp_chan_ref(both)));
    gmp_sleep(MS(30));
    gmp_chan_unref(both);
    shared++;
}

static void opens_and_closes(void *arg)
{
    int fds[2];

    if (pipe(fds) != 0)
        _exit(3);
    must(gmp_close(fds[0]));
    must(gmp_close(fds[1]));
    gmp_waitgroup_done(&all);
}

/* The numbers of files are the same, one after the other. */
static void by_files(void)
{
    must(gmp_waitgroup_add(&all, 2));
    must(gmp_go(opens_and_closes, NULL));
    gmp_sleep(MS(30));
    must(gmp_go(opens_and_closes, NULL));
    must(gmp_waitgroup_wait(&all));
}

static void add_and_release(void *arg)
{
    (void)arg;
    shared++;
    must(gmp_sema_release(&sema));
}

static int begun;

static void begin(void *arg)
{
    (void)arg;
    begun = 1;
}

static void add_once(void *arg)
{
    (void)arg;
    must(gmp_once_do(&once, begin, NULL));
    if (begun != 1)
        _exit(3);
    must(gmp_mutex_lock(&lock));
    must(gmp_cond_signal(&cond));
    must(gmp_mutex_unlock(&lock));
    gmp_waitgroup_done(&all);
}

static int unlock_it(gmp_g *g, void *m)
{
    (void)g;
    shared++;
    return gmp_mutex_unlock(m) == 0;
}

static void parks(void *arg)
{
    gmp_g **self = arg;

    must(gmp_mutex_lock(&lock));
    *self = gmp_self();
    must(gmp_park(unlock_it, &lock, "test"));
    shared++;
    gmp_waitgroup_done(&all);
}

static void by_park(void)
{
    gmp_g *other = NULL;

    must(gmp_waitgroup_add(&all, 1));
    must(gmp_go(parks, &other));
    for (gmp_g *seen = NULL; seen == NULL;) {
        gmp_sleep(MS(1));
        must(gmp_mutex_lock(&lock));
        seen = other;
        must(gmp_mutex_unlock(&lock));
    }
    shared++;
    must(gmp_ready(other));
    must(gmp_waitgroup_wait(&all));
    shared++;
}

static void writes(void *arg)
{
    (void)arg;
    shared++;
    if (gmp_write(ends[1], "x", 1) != 1)
        _exit(3);
}

static void at_its_time(void *arg)
{
    *(int *)arg += 1;
    must(gmp_sema_release(&sema));
}

static void by_the_rest(void)
{
    static int counted;
    char byte;

    must(gmp_go(add_and_release, NULL));
    must(gmp_sema_acquire(&sema));
    shared++;
    must(gmp_waitgroup_add(&all, 3));
    must(gmp_mutex_lock(&lock));
    for (int i = 0; i < 3; i++)
        must(gmp_go(add_once, NULL));
    must(gmp_cond_wait(&cond, &lock));
    must(gmp_mutex_unlock(&lock));
    must(gmp_waitgroup_wait(&all));
    if (pipe(ends) != 0)
        _exit(3);
    must(gmp_go(writes, NULL));
    if (gmp_read(ends[0], &byte, 1) != 1)
        _exit(3);
    shared++;
    counted = 1;
    gmp_timer *t = gmp_timer_start(MS(1), 0, at_its_time, &counted);
    must(gmp_sema_acquire(&sema));
    counted++;
    gmp_timer_free(t);
}

/* Many on one stack after the other, and errno, which is the thread's. */
static void churn(void *arg)
{
    char local[512];

    memset(local, (int)(intptr_t)arg, sizeof local);
    for (int i = 0; i < 3; i++) {
        if (close(-1) == 0)
            _exit(3);
        gmp_yield();
        if (local[i] != (char)(intptr_t)arg)
            _exit(3);
    }
    gmp_waitgroup_done(&all);
}

static void handler(int signo)
{
    (void)signo;
    if (write(ends[1], "x", 1) != 1)
        _exit(3);
}

static void reads_of_signals(void *arg)
{
    char byte;

    (void)arg;
    for (int i = 0; i < 3; i++) {
        must(kill(getpid(), SIGUSR1));
        if (gmp_read(ends[0], &byte, 1) != 1)
            _exit(3);
    }
    gmp_waitgroup_done(&all);
}

/* A handler runs while each thread waits in a call of the library. */
static void by_handler(void)
{
    must(pipe(ends));
    signal(SIGUSR1, handler);
    must(gmp_waitgroup_add(&all, 1));
    must(gmp_go(reads_of_signals, NULL));
    must(gmp_waitgroup_wait(&all));
}

static void in_order(void *arg)
{
    (void)arg;
    two(add_locked);
    by_channel(0);
    by_channel(3);
    by_select();
    by_join();
    by_group();
    by_references();
    by_files();
    by_handler();
    by_park();
    by_the_rest();
    must(gmp_waitgroup_add(&all, 200));
    for (int i = 0; i < 200; i++)
        must(gmp_go(churn, (void *)(intptr_t)(i & 63)));
    must(gmp_waitgroup_wait(&all));
}

static void clean(void)
{
    gmp_g *g;

    in_order(NULL);
    must(gmp_go_with(NULL, in_order, NULL, &g));
    must(gmp_join(g));
}

/* --- Memory --------------------------------------------------------------- */

static __attribute__((noinline)) void touch(char *freed)
{
    gmp_yield();
    freed[3] = 1;
}

static __attribute__((noinline)) void victim(void *arg)
{
    char *p = malloc(10);

    (void)arg;
    free(p);
    touch(p);
}

static void use_after_free(void)
{
    gmp_g *g;

    must(gmp_go_with(NULL, victim, NULL, &g));
    must(gmp_join(g));
}

static __attribute__((noinline)) void overruns(void *arg)
{
    char *small = malloc(8);

    (void)arg;
    if (gmp_read(ends[0], small, 16) != 16)
        _exit(3);
    free(small);
}

/* The library fills more than there is. */
static void read_too_much(void)
{
    gmp_g *g;

    if (pipe(ends) != 0 || write(ends[1], "0123456789abcdef", 16) != 16)
        _exit(3);
    must(gmp_go_with(NULL, overruns, NULL, &g));
    must(gmp_join(g));
}

static int *volatile escaped;

static __attribute__((noinline)) void let_escape(void)
{
    int local = 1;

    escaped = &local;
}

static void use_after_return(void *arg)
{
    (void)arg;
    let_escape();
    gmp_yield();
    *escaped = 2;
}

static void returned(void)
{
    gmp_g *g;

    must(gmp_go_with(NULL, use_after_return, NULL, &g));
    must(gmp_join(g));
}

static __attribute__((noinline)) void lose(void)
{
    char *volatile lost = malloc(1234);

    lost[0] = 1;
    lost = NULL;
}

static __attribute__((noinline)) void wipe(void)
{
    volatile char over[4096];

    for (size_t i = 0; i < sizeof over; i++)
        over[i] = 0;
}

static void waits_for_ever(void *arg)
{
    char *mine = malloc(77);
    int value;

    (void)arg;
    memset(mine, 1, 77);
    gmp_chan_recv(chan, &value);
    free(mine);
}

static atomic_bool lost;

static void loses(void *arg)
{
    (void)arg;
    lose();
    wipe();
    atomic_store(&lost, true);
    waits_for_ever(NULL);
}

static void waits_with_a_copy(void *arg)
{
    char **mine = arg;
    int value;

    gmp_chan_recv(chan, &value);
    free(*mine);
}

static void never_begins(void *arg)
{
    free(arg);
}

/* Goroutines that wait when the process ends hold on to their memory. */
static void held(void)
{
    gmp_attr attr = GMP_ATTR_INIT;

    chan = gmp_chan_make(sizeof(int), 0);
    attr.name = "a name that is copied";
    for (int i = 0; i < 20; i++) {
        char *mine = malloc(55);

        must(gmp_go(waits_for_ever, NULL));
        must(gmp_go_with(&attr, waits_for_ever, NULL, NULL));
        must(gmp_go_copy(waits_with_a_copy, &mine, sizeof mine));
    }
    gmp_sleep(MS(50));
    must(gmp_go(never_begins, malloc(33)));
}

static void leak(void)
{
    held();
    must(gmp_go(loses, NULL));
    while (!atomic_load(&lost))
        gmp_sleep(MS(1));
    gmp_sleep(MS(50));
}

/* --- The collected heap --------------------------------------------------- */

/* An object that alone points to memory of malloc. */
struct holder {
    struct holder *next;
    char *block;
    long number;
};

static struct holder *volatile kept;
static atomic_int holding;

static __attribute__((noinline)) struct holder *hold(int n)
{
    struct holder *first = NULL;

    while (n-- > 0) {
        struct holder *it = gmp_gc_alloc(sizeof *it);

        it->next = first;
        it->block = malloc(66);
        memset(it->block, n, 66);
        it->number = n;
        first = it;
    }
    return first;
}

static __attribute__((noinline)) void look(struct holder **at)
{
    long n = 0;

    for (struct holder *it = *at; it != NULL; it = it->next, n++)
        if (it->number != n || it->block[65] != (char)n)
            _exit(5);
    if (n != 10)
        _exit(5);
}

/* Frees the blocks: the objects go by themselves. */
static __attribute__((noinline)) void let_go(struct holder **at)
{
    for (struct holder *it = *at; it != NULL; it = it->next)
        free(it->block);
    *at = NULL;
}

static __attribute__((noinline)) void fill(struct holder **at)
{
    *at = hold(10);
    atomic_fetch_add(&holding, 1);
}

/* Its only pointers are in a variable, which may lie apart from the stack. */
static void holds_and_waits(void *arg)
{
    struct holder *mine[3] = {NULL, NULL, NULL};
    int value;

    (void)arg;
    fill(&mine[1]);
    wipe();
    gmp_chan_recv(chan, &value);
    look(&mine[1]);
    let_go(&mine[1]);
    gmp_waitgroup_done(&all);
}

static atomic_bool stop;

static void holds_and_computes(void *arg)
{
    struct holder *mine[3] = {NULL, NULL, NULL};

    (void)arg;
    fill(&mine[1]);
    wipe();
    while (!atomic_load(&stop))
        continue;
    look(&mine[1]);
    let_go(&mine[1]);
    gmp_waitgroup_done(&all);
}

static void *holding_thread(void *arg)
{
    holds_and_waits(arg);
    return NULL;
}

/* Copies what nobody has written into an object: a struct has gaps. */
static __attribute__((noinline)) void **with_gaps(void)
{
    void *room[40];
    void **object = gmp_gc_alloc(sizeof room);

    __asm__ volatile("" : : "r"(room) : "memory");
    memcpy(object, room, sizeof room);
    return object;
}

static __attribute__((noinline)) void collect_often(void)
{
    struct holder *mine[3] = {NULL, NULL, NULL};
    void **gaps = with_gaps();

    fill(&mine[1]);
    wipe();
    for (int i = 0; i < 5; i++) {
        must(gmp_gc());
        for (int n = 0; n < 1000; n++)
            memset(gmp_gc_alloc(sizeof(struct holder)), 0x77,
                   sizeof(struct holder));
        look(&mine[1]);
        look((struct holder **)&kept);
    }
    let_go(&mine[1]);
    GMP_GC_KEEP(gaps);
}

/* What objects point to is held, and objects in frames stay. */
static void collected(void)
{
    pthread_t thread;

    chan = gmp_chan_make(sizeof(int), 0);
    kept = hold(10);
    must(gmp_waitgroup_add(&all, 4));
    must(gmp_go(holds_and_waits, NULL));
    must(gmp_go(holds_and_waits, NULL));
    must(gmp_go(holds_and_computes, NULL));
    must(pthread_create(&thread, NULL, holding_thread, NULL));
    while (atomic_load(&holding) < 4)
        gmp_sleep(MS(1));
    gmp_sleep(MS(5));
    collect_often();
    atomic_store(&stop, true);
    must(gmp_chan_close(chan));
    must(gmp_waitgroup_wait(&all));
    must(pthread_join(thread, NULL));
    gmp_chan_unref(chan);
}

static void collected_leak(void)
{
    collected();
    lose();
    wipe();
}

/* --- Stacks --------------------------------------------------------------- */

static __attribute__((noinline)) void deep(int n)
{
    volatile char frame[256];

    memset((char *)frame, n, sizeof frame);
    if (n == 0)
        gmp_exit();
    deep(n - 1);
    frame[0] = 1;
}

static void exits(void *arg)
{
    deep((int)(intptr_t)arg);
}

static __attribute__((noinline)) void jumps_to(jmp_buf to, int n)
{
    volatile char frame[256];

    memset((char *)frame, n, sizeof frame);
    gmp_yield();
    if (n == 0)
        longjmp(to, 1);
    jumps_to(to, n - 1);
    frame[0] = 1;
}

static void jumps(void *arg)
{
    jmp_buf here;

    if (setjmp(here) == 0)
        jumps_to(here, 10);
    churn(arg);
}

static void *host(void *arg)
{
    gmp_g *g;

    for (int i = 0; i < 50; i++) {
        must(gmp_waitgroup_add(&all, 1));
        must(gmp_go_with(NULL, churn, arg, &g));
        must(gmp_join(g));
    }
    return NULL;
}

/* Frames that are left, locked threads that end, host threads that run
 * goroutines in place. */
static void stacks(void)
{
    gmp_attr locked = GMP_ATTR_INIT;
    pthread_t threads[2];
    gmp_g *g;

    locked.flags = GMP_LOCKED_THREAD;
    for (int i = 0; i < 50; i++) {
        must(gmp_go_with(NULL, exits, (void *)(intptr_t)(i % 20), &g));
        must(gmp_join(g));
        must(gmp_waitgroup_add(&all, 2));
        must(gmp_go_with(&locked, churn, (void *)(intptr_t)i, &g));
        must(gmp_join(g));
        must(gmp_go(jumps, NULL));
        must(gmp_waitgroup_wait(&all));
    }
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, host, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } programs[] = {
        { "race", race },
        { "race_in_turn", race_in_turn },
        { "race_of_a_read", race_of_a_read },
        { "clean", clean },
        { "use_after_free", use_after_free },
        { "read_too_much", read_too_much },
        { "returned", returned },
        { "leak", leak },
        { "held", held },
        { "collected", collected },
        { "collected_leak", collected_leak },
        { "stacks", stacks },
    };

    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (argc == 2 && strcmp(argv[1], programs[i].name) == 0) {
            programs[i].run();
            return 0;
        }
    }
    return 4;
}
