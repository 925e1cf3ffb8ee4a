/* Traces: what they refuse, marks, saves and stops while everything churns, and
 * a file that takes nothing. What is in a file, tests/trace.rs looks at.
 */
#include "test.h"

#include <fcntl.h>

enum { CHURNERS = 8, ROUNDS = 12 };

static atomic_int over;
static atomic_long turns;

static void churn_child(void *arg)
{
    atomic_fetch_add(&turns, 1);
}

/* Everything that makes events, over and over. */
static void churn(void *arg)
{
    gmp_chan *own = gmp_chan_make(sizeof(long), 1);
    long x = 0;

    CHECK(own != NULL);
    while (!atomic_load(&over)) {
        gmp_g *child = spawn(churn_child, NULL);

        CHECK_OK(gmp_chan_send(own, &x));
        CHECK_OK(gmp_chan_recv(own, &x));
        gmp_yield();
        CHECK_OK(gmp_join(child));
        gmp_trace_mark("a turn");
        if (++x % 2 == 0)
            CHECK_OK(gmp_sleep(US(50)));
        if (x % 64 == 0)
            block_ns(US(300));
    }
    gmp_chan_unref(own);
}

static void *churn_host(void *arg)
{
    while (!atomic_load(&over)) {
        gmp_g *child = spawn(churn_child, NULL);

        gmp_trace_mark("from a host thread");
        CHECK_OK(gmp_join(child));
    }
    return NULL;
}

static int temporary(void)
{
    char path[] = "/tmp/gmprt-trace-XXXXXX";
    int fd = mkstemp(path);

    CHECK(fd >= 0);
    CHECK_OK(unlink(path));
    return fd;
}

static off_t size_of(int fd)
{
    return lseek(fd, 0, SEEK_END);
}

static void refusals(void)
{
    int fd = temporary();

    CHECK_EQ(gmp_trace_stop(), -EINVAL);
    CHECK_EQ(gmp_trace_save(fd), -EINVAL);
    CHECK_EQ(gmp_trace_start(""), -EINVAL);
    CHECK_EQ(gmp_trace_start("/no/such/folder/trace"), -ENOENT);
    gmp_trace_mark("nobody reads it");
    gmp_trace_mark(NULL);
    CHECK_EQ(size_of(fd), 0);

    CHECK_OK(gmp_trace_start(NULL));
    CHECK_EQ(gmp_trace_start(NULL), -EBUSY);
    CHECK_EQ(gmp_trace_start("/tmp/unused"), -EBUSY);
    CHECK_EQ(gmp_trace_save(-1), -EBADF);
    CHECK_OK(gmp_trace_save(fd));
    CHECK(size_of(fd) > 0);
    CHECK_OK(gmp_trace_stop());
    CHECK_EQ(gmp_trace_stop(), -EINVAL);

    CHECK_OK(gmp_trace_start("/dev/null"));
    CHECK_EQ(gmp_trace_save(fd), -EINVAL);
    CHECK_OK(gmp_trace_stop());
    close(fd);
}

/* A full disk: the first error is the result of the stop, at once or once the
 * writer has met it, and the process goes on. */
static void full_disk(void)
{
    int64_t nap[] = {0, MS(200)};

    for (int i = 0; i < 2; i++) {
        CHECK_OK(gmp_trace_start("/dev/full"));
        if (nap[i])
            CHECK_OK(gmp_sleep(nap[i]));
        CHECK_EQ(gmp_trace_stop(), -ENOSPC);
    }
}

/* A pipe whose reader is gone is an error and no signal. */
static void broken_pipe(void)
{
    int fds[2];

    CHECK_OK(pipe(fds));
    close(fds[0]);
    CHECK_OK(gmp_trace_start(NULL));
    CHECK_EQ(gmp_trace_save(fds[1]), -EPIPE);
    CHECK_OK(gmp_trace_stop());
    close(fds[1]);
}

/* The host's descriptor keeps its flags, and a save waits for room. */
static void slow_pipe(void)
{
    int fds[2];
    pid_t reader;

    CHECK_OK(pipe(fds));
    reader = fork();
    CHECK(reader >= 0);
    if (reader == 0) {
        char text[4096];

        close(fds[1]);
        while (read(fds[0], text, sizeof text) > 0)
            continue;
        _exit(0);
    }
    close(fds[0]);
    CHECK_OK(fcntl(fds[1], F_SETFL, O_NONBLOCK));
    CHECK_OK(gmp_trace_start(NULL));
    for (int i = 0; i < 5000; i++)
        gmp_trace_mark("a mark that fills the pipe");
    CHECK_OK(gmp_trace_save(fds[1]));
    CHECK_OK(gmp_trace_stop());
    close(fds[1]);
    CHECK_EQ(gmp_waitpid(reader, NULL, 0), reader);
}

static void saver(void *arg)
{
    int fd = temporary();

    while (!atomic_load(&over)) {
        int rc = gmp_trace_save(fd);

        CHECK(rc == 0 || rc == -EINVAL);
        CHECK_OK(ftruncate(fd, 0));
        CHECK_OK(gmp_sleep(MS(20)));
    }
    close(fd);
}

/* Starts, saves and stops, while goroutines and host threads go on. */
static void while_all_churns(void)
{
    gmp_g *gs[CHURNERS + 1];
    pthread_t host;
    long before;

    for (int i = 0; i < CHURNERS; i++)
        gs[i] = spawn(churn, NULL);
    gs[CHURNERS] = spawn(saver, NULL);
    CHECK_OK(pthread_create(&host, NULL, churn_host, NULL));
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(gmp_trace_start(i % 2 ? NULL : "/dev/null"));
        before = atomic_load(&turns);
        gmp_sleep(MS(i % 4 * 5));
        AWAIT(atomic_load(&turns) > before);
        CHECK_OK(gmp_trace_stop());
    }
    atomic_store(&over, 1);
    for (int i = 0; i < CHURNERS + 1; i++)
        CHECK_OK(gmp_join(gs[i]));
    CHECK_OK(pthread_join(host, NULL));
}

/* Whether the file has this text. */
static bool has(int fd, const char *text)
{
    off_t size = size_of(fd);
    char *all = malloc((size_t)size + 1);
    bool found;

    CHECK(all != NULL);
    CHECK_EQ(pread(fd, all, (size_t)size, 0), size);
    found = memmem(all, (size_t)size, text, strlen(text)) != NULL;
    free(all);
    return found;
}

static void mark(void *text)
{
    gmp_trace_mark(text);
}

/* In the child: no trace is on, and one of its own has its own marks only. */
static void trace_child(void)
{
    int fd = temporary();

    gmp_trace_mark("nowhere");
    CHECK_EQ(gmp_trace_stop(), -EINVAL);
    CHECK_EQ(gmp_trace_save(fd), -EINVAL);
    CHECK_OK(gmp_trace_start(NULL));
    CHECK_OK(gmp_join(spawn(mark, "in the child")));
    CHECK_OK(gmp_trace_save(fd));
    CHECK_OK(gmp_trace_stop());
    CHECK(has(fd, "in the child"));
    CHECK(!has(fd, "before the fork") && !has(fd, "nowhere"));
    CHECK_OK(gmp_trace_start("/dev/null"));
    exit(0); /* ends that one */
}

/* A child does not continue its parent's trace, and begins one of its own. The
 * parent's goes on: neither the child nor its exit writes to the file. */
static void in_a_child(void)
{
    char path[] = "/tmp/gmprt-trace-XXXXXX";
    int fd = mkstemp(path);
    pid_t child;
    int status;

    CHECK(fd >= 0);
    CHECK_OK(gmp_trace_start(path));
    CHECK_OK(unlink(path));
    gmp_trace_mark("before the fork");
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        trace_child();
    CHECK_EQ(gmp_waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    gmp_trace_mark("after the fork");
    CHECK_OK(gmp_trace_stop());
    CHECK(has(fd, "before the fork") && has(fd, "after the fork"));
    CHECK(!has(fd, "in the child") && !has(fd, "nowhere"));
    close(fd);
}

int test_main(int argc, char **argv)
{
    refusals();
    full_disk();
    broken_pipe();
    slow_pipe();
    in_a_child();
    while_all_churns();
    return 0;
}
