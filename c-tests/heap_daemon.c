/* A process that has not used the heap forks: the child begins a heap of its
 * own, with all that belongs to it, whoever has forked. A daemon and a prefork
 * worker are such children. Their own children have none once they use it. */
#include "test.h"

#include <sys/wait.h>

enum { NODES = 2000, WORKERS = 4, ROUNDS = 10 };

struct node {
    struct node *next;
    uint64_t number;
};

static _Atomic int cleaned;

static void cleans(void *arg)
{
    (void)arg;
    atomic_fetch_add(&cleaned, 1);
}

/* A list that nothing but the caller's stack leads to. */
static struct node *make_list(void)
{
    struct node *list = NULL;

    for (uint64_t i = 0; i < NODES; i++) {
        struct node *it = gmp_gc_alloc(sizeof *it);

        CHECK(it != NULL);
        CHECK(it->next == NULL && it->number == 0);
        it->next = list;
        it->number = i;
        list = it;
        CHECK(gmp_gc_alloc_noscan(100) != NULL);
    }
    return list;
}

static void check_list(const struct node *list)
{
    uint64_t number = NODES;

    for (; list != NULL; list = list->next)
        CHECK_EQ(list->number, --number);
    CHECK_EQ(number, 0);
}

static void works(void *collects)
{
    for (int i = 0; i < test_times(ROUNDS); i++) {
        struct node *volatile list = make_list();

        if (collects != NULL && i % 4 == 0)
            CHECK_OK(gmp_gc());
        check_list(list);
    }
}

static void *works_as_thread(void *unused)
{
    works(unused);
    return NULL;
}

/* The child of a process that uses the heap has none, and says so once. */
static void check_left(void)
{
    char said[1000];
    int status, ends[2];
    ssize_t n;
    pid_t child;

    CHECK_OK(pipe(ends));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test_alarm(20);
        CHECK_EQ(dup2(ends[1], 2), 2);
        CHECK(gmp_gc_alloc(16) == NULL);
        CHECK(gmp_gc_alloc(16) == NULL);
        CHECK_EQ(gmp_gc(), -ENOTSUP);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    n = read(ends[0], said, sizeof said - 1);
    CHECK(n > 0);
    said[n] = '\0';
    CHECK(strncmp(said, "gmprt: no heap in this process: ", 32) == 0);
    CHECK_EQ(strchr(said, '\n') - said, n - 1);
    CHECK_EQ(status, 0);
    close(ends[0]);
    close(ends[1]);
}

/* What this thread or goroutine has on its stack stays, while others collect
 * and it does something else. */
static void use_heap(void)
{
    struct node *volatile list;
    pthread_t thread;
    gmp_g *workers[WORKERS];
    gmp_gc_stats stats;

    list = make_list();
    CHECK_OK(pthread_create(&thread, NULL, works_as_thread, NULL));
    for (int i = 0; i < WORKERS; i++)
        workers[i] = spawn(works, i == 0 ? &thread : NULL);
    for (int i = 0; i < 20; i++) {
        block_ns(MS(1));
        check_list(list);
    }
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(workers[i]));
    CHECK_OK(pthread_join(thread, NULL));
    check_list(list);
    for (int i = 0; i < 10; i++)
        CHECK_OK(gmp_gc_cleanup(gmp_gc_alloc(16), cleans, NULL));
    while (atomic_load(&cleaned) < 5) {
        make_list();
        CHECK_OK(gmp_gc());
        gmp_sleep(MS(1));
    }
    CHECK_OK(gmp_gc_get_stats(&stats, sizeof stats));
    CHECK(stats.collections > 0);
    check_list(list);
    check_left();
    check_list(list);
}

static void in_child(void (*f)(void))
{
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        test_alarm(60);
        f();
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

static void forks_again(void)
{
    in_child(use_heap);
    /* The heap was its child's, not its own. */
    use_heap();
}

static void uses_the_runtime_first(void)
{
    CHECK_OK(gmp_sleep(US(10)));
    in_child(use_heap);
    use_heap();
}

static void ends_and_begins(void)
{
    if (gmp_shutdown(gmp_after_ns(SEC(20))) == 0)
        CHECK_OK(gmp_sleep(US(10)));
    use_heap();
    if (gmp_shutdown(gmp_after_ns(SEC(20))) == 0)
        use_heap();
}

static void forks(void *unused)
{
    (void)unused;
    in_child(use_heap);
    if (test_under(NULL))
        return;
    in_child(forks_again);
    in_child(uses_the_runtime_first);
    in_child(ends_and_begins);
}

static void *forks_as_stranger(void *unused)
{
    in_child(use_heap);
    return unused;
}

/* There is no run, and the next one has the Ms of the last. */
static void forks_after_an_end(void)
{
    pthread_t thread;

    CHECK_OK(gmp_sleep(US(10)));
    CHECK_OK(gmp_shutdown(gmp_after_ns(SEC(20))));
    forks(NULL);
    CHECK_OK(pthread_create(&thread, NULL, forks_as_stranger, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(gmp_sleep(US(10)));
    in_child(use_heap);
    use_heap();
}

static void *forks_as_thread(void *known)
{
    if (known != NULL)
        CHECK_OK(gmp_sleep(US(10)));
    forks(NULL);
    return NULL;
}

static void waits(void *ch)
{
    CHECK_EQ(gmp_chan_recv(ch, NULL), -EPIPE);
}

static void fork_in_each_way(void)
{
    pthread_t thread;
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    forks(NULL);
    in_child(forks_after_an_end);
    for (int known = 0; known < 2; known++) {
        CHECK_OK(pthread_create(&thread, NULL, forks_as_thread,
                                known ? &thread : NULL));
        CHECK_OK(pthread_join(thread, NULL));
    }
    CHECK_OK(gmp_join(spawn(forks, NULL)));
    attr.flags = GMP_LOCKED_THREAD;
    CHECK_OK(gmp_go_with(&attr, forks, NULL, &g));
    CHECK_OK(gmp_join(g));
}

int test_main(int argc, char **argv)
{
    gmp_chan *ch;
    gmp_g *waiters[20];

    (void)argc;
    (void)argv;
    if (test_child_may_hang()) {
        test_skip("a child's heap", "the tool's allocator may hang there");
        return 0;
    }
    /* Before the first call, and beside goroutines that wait. */
    fork_in_each_way();
    ch = gmp_chan_make(0, 0);
    CHECK(ch != NULL);
    for (int i = 0; i < 20; i++)
        waiters[i] = spawn(waits, ch);
    fork_in_each_way();
    CHECK_OK(gmp_chan_close(ch));
    for (int i = 0; i < 20; i++)
        CHECK_OK(gmp_join(waiters[i]));
    gmp_chan_unref(ch);
    use_heap();
    return 0;
}
