/* The child of a fork has no heap, however often its runtime starts: a thread
 * of the parent's may have been in the middle of a span. */
#include "test.h"

#include <sys/wait.h>

enum { BYTES = 48 };

static void nothing(void *arg)
{
    (void)arg;
}

static void refused(void *p)
{
    for (size_t size = 1; size < 2000; size += 100) {
        CHECK(gmp_gc_alloc(size) == NULL);
        CHECK(gmp_gc_alloc_noscan(size) == NULL);
    }
    CHECK_EQ(gmp_gc_free(p), -ENOTSUP);
}

static void be_child(void *p)
{
    test_alarm(20);
    refused(p);
    CHECK_OK(gmp_join(spawn(nothing, NULL)));
    refused(p);
    /* Where it is to be had. */
    if (gmp_shutdown(gmp_after_ns(SEC(20))) == 0) {
        refused(p);
        CHECK_OK(gmp_join(spawn(nothing, NULL)));
        refused(p);
    }
    _exit(0);
}

/* This thread, or goroutine, has allocated what the calls would find first. */
static void forks(void *unused)
{
    void *p = gmp_gc_alloc(BYTES), *q = gmp_gc_alloc(BYTES);
    int status;
    pid_t child;

    (void)unused;
    CHECK(p != NULL && q != NULL);
    CHECK_OK(gmp_gc_free(q));
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        be_child(p);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_OK(gmp_gc_free(p));
}

int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    if (test_child_may_hang()) {
        test_skip("a child's heap", "the tool's allocator may hang there");
        return 0;
    }
    forks(NULL);
    CHECK_OK(gmp_join(spawn(forks, NULL)));
    return 0;
}
