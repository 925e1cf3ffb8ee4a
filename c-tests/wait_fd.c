/* gmp_wait_fd, for those who read and write on their own: what is ready is
 * told as long as it is, in both directions, and after the end. */
#include "io.h"

#include <sys/wait.h>

enum { READ = GMP_READABLE, WRITE = GMP_WRITABLE, BOTH = READ | WRITE };

/* One wait. */
struct waiter {
    struct party party;
    int fd, events, result;
    int64_t deadline;
};

static void wait_once(void *arg)
{
    struct waiter *w = arg;

    w->result = gmp_wait_fd(w->fd, w->events, w->deadline);
}

static void begin_wait(struct waiter *w, bool host, int fd, int events)
{
    w->fd = fd;
    w->events = events;
    w->deadline = gmp_after_ns(SEC(900));
    begin(&w->party, host, wait_once, w);
    CHECK_OK(gmp_sleep(US(200)));
}

static int end_wait(struct waiter *w)
{
    finish(&w->party);
    return w->result;
}

/* The level counts, and not the edge: looking takes nothing away. */
static void ready_as_long_as_it_is(void *arg)
{
    char byte;

    for (int i = 0; i < 2 * links(); i++) {
        struct ends e = make_ends((enum link)(i / 2), i % 2);
        int out = get_mode(e.out), in = get_mode(e.in);

        CHECK_EQ(gmp_wait_fd(e.out, READ, gmp_after_ns(US(100))), -ETIMEDOUT);
        CHECK_EQ(gmp_wait_fd(e.out, READ, 0), -ETIMEDOUT);
        CHECK_EQ(gmp_wait_fd(e.in, WRITE, GMP_FOREVER), WRITE);
        CHECK_EQ(gmp_wait_fd(e.in, WRITE, 0), WRITE);
        CHECK_EQ(write(e.in, "ab", 2), 2);
        for (int tries = 0; tries < 3; tries++)
            CHECK_EQ(gmp_wait_fd(e.out, READ, GMP_FOREVER), READ);
        CHECK_EQ(read(e.out, &byte, 1), 1);
        if (i / 2 != UNIX_PACKET) {
            CHECK_EQ(gmp_wait_fd(e.out, READ, GMP_FOREVER), READ);
            CHECK_EQ(read(e.out, &byte, 1), 1);
        }
        CHECK_EQ(gmp_wait_fd(e.out, READ, gmp_after_ns(US(100))), -ETIMEDOUT);
        CHECK_EQ(get_mode(e.out), out);
        CHECK_EQ(get_mode(e.in), in);
        close_ends(&e);
    }
}

/* Who waits is told when it comes, though others look too, or take it. */
static void waits_for_what_comes(void *arg)
{
    for (int i = 0; i < 2 * links(); i++) {
        struct ends e = make_ends((enum link)(i / 2), i % 2);
        struct waiter w[3];
        char byte;

        for (int k = 0; k < 3; k++)
            begin_wait(&w[k], k == 0, e.out, READ);
        CHECK_EQ(write(e.in, "a", 1), 1);
        for (int k = 0; k < 3; k++)
            CHECK_EQ(end_wait(&w[k]), READ);
        CHECK_EQ(gmp_read(e.out, &byte, 1), 1);
        begin_wait(&w[0], false, e.out, READ);
        CHECK_EQ(write(e.in, "b", 1), 1);
        CHECK_EQ(end_wait(&w[0]), READ);
        CHECK_EQ(gmp_read(e.out, &byte, 1), 1);
        CHECK_EQ(byte, 'b');
        close_ends(&e);
    }
}

/* Both directions of one socket, each of which may come first. Not TCP, whose
 * buffers move what is in them later on. */
static void either_direction(void *arg)
{
    static char zeros[4096];

    for (int i = 0; i < 4; i++) {
        struct ends e = make_ends(UNIX_STREAM, i % 2);
        struct waiter w;

        CHECK_EQ(gmp_wait_fd(e.in, BOTH, GMP_FOREVER), WRITE);
        make_narrow(UNIX_STREAM, &e);
        fill(&e);
        CHECK_EQ(gmp_wait_fd(e.in, BOTH, gmp_after_ns(US(100))), -ETIMEDOUT);
        begin_wait(&w, i & 2, e.in, BOTH);
        CHECK_EQ(write(e.out, "a", 1), 1);
        CHECK_EQ(end_wait(&w) & READ, READ);
        CHECK_EQ(read(e.in, zeros, 1), 1);
        begin_wait(&w, i & 2, e.in, BOTH);
        while (recv(e.out, zeros, sizeof zeros, MSG_DONTWAIT) > 0)
            continue;
        CHECK_EQ(end_wait(&w), WRITE);
        /* Only what was asked for is told. */
        CHECK_EQ(write(e.out, "a", 1), 1);
        CHECK_EQ(gmp_wait_fd(e.in, WRITE, GMP_FOREVER), WRITE);
        AWAIT(gmp_wait_fd(e.in, BOTH, GMP_FOREVER) == BOTH);
        CHECK_EQ(gmp_wait_fd(e.in, READ, GMP_FOREVER), READ);
        close_ends(&e);
    }
}

/* After the end, or an error, both are ready to tell. */
static void ends_are_ready(void *arg)
{
    for (int i = 0; i < 8; i++) {
        bool host = i & 1;
        struct ends e = make_ends(PIPE, i & 2);
        struct waiter w;

        begin_wait(&w, host, e.out, READ);
        CHECK_OK(close(e.in));
        CHECK_EQ(end_wait(&w), READ);
        CHECK_EQ(gmp_wait_fd(e.out, BOTH, 0), BOTH);
        CHECK_OK(gmp_close(e.out));

        e = make_ends(PIPE, i & 2);
        fill(&e);
        begin_wait(&w, host, e.in, WRITE);
        CHECK_OK(close(e.out));
        CHECK_EQ(end_wait(&w), WRITE);
        CHECK_OK(gmp_close(e.in));

        e = make_ends(UNIX_STREAM, i & 2);
        begin_wait(&w, host, e.out, READ);
        CHECK_OK(shutdown(e.in, SHUT_WR));
        CHECK_EQ(end_wait(&w), READ);
        CHECK_OK(close(e.in));
        AWAIT(gmp_wait_fd(e.out, BOTH, 0) == BOTH);
        CHECK_OK(gmp_close(e.out));
    }
}

/* Files that never wait are ready, for all that is asked. */
static void disks_are_ready(void *arg)
{
    char path[] = "/tmp/gmprt-wait-XXXXXX";
    int fds[] = {mkstemp(path), open("/dev/null", O_RDWR),
                 open("/dev/zero", O_RDWR), open("/", O_RDONLY)};

    CHECK_OK(unlink(path));
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        CHECK_EQ(gmp_wait_fd(fds[i], BOTH, 0), BOTH);
        CHECK_EQ(gmp_wait_fd(fds[i], READ, GMP_FOREVER), READ);
        CHECK_EQ(gmp_wait_fd(fds[i], WRITE, gmp_after_ns(SEC(900))), WRITE);
        CHECK_OK(gmp_close(fds[i]));
    }
}

/* A process that has ended is readable. */
static void children_end(void *arg)
{
    int hold[2], fd;
    struct waiter w;
    pid_t child;

    CHECK_OK(pipe(hold));
    child = fork();
    if (child == 0) {
        char byte;

        close(hold[1]);
        _exit(read(hold[0], &byte, 1) != 0);
    }
    CHECK(child > 0);
    CHECK_OK(close(hold[0]));
    fd = (int)syscall(SYS_pidfd_open, child, 0);
    if (fd >= 0) {
        CHECK_EQ(gmp_wait_fd(fd, READ, gmp_after_ns(US(100))), -ETIMEDOUT);
        begin_wait(&w, false, fd, READ);
        CHECK_OK(close(hold[1]));
        CHECK_EQ(end_wait(&w), READ);
        CHECK_EQ(gmp_read(fd, &hold, 1), -EINVAL);
        CHECK_OK(gmp_close(fd));
    } else {
        CHECK_OK(close(hold[1]));
    }
    CHECK_EQ(waitpid(child, NULL, 0), child);
}

static void bad_arguments_are_refused(void *arg)
{
    static const int events[] = {0, 4, -1, BOTH | 8, INT32_MIN, INT32_MAX};
    struct ends e = make_ends(PIPE, false);
    int closed = dup(e.out);

    CHECK_OK(gmp_close(closed));
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        CHECK_EQ(gmp_wait_fd(e.out, events[i], GMP_FOREVER), -EINVAL);
        CHECK_EQ(gmp_wait_fd(e.in, events[i], 0), -EINVAL);
    }
    for (int i = 0; i < 2; i++) {
        int64_t deadline = i ? GMP_FOREVER : 0;

        CHECK_EQ(gmp_wait_fd(closed, READ, deadline), -EBADF);
        CHECK_EQ(gmp_wait_fd(-1, BOTH, deadline), -EBADF);
        CHECK_EQ(gmp_wait_fd(INT32_MIN, WRITE, deadline), -EBADF);
        CHECK_EQ(gmp_wait_fd(INT32_MAX, READ, deadline), -EBADF);
    }
    close_ends(&e);
}

/* The first thing that anybody waits for is no file; what others wait for is
 * heeded all the same, though somebody has slept until a timer since before. */
static void sleep_long(void *arg)
{
    CHECK_EQ(gmp_sleep(SEC(900)), -ECANCELED);
}

static void a_bad_start_spoils_nothing(void)
{
    gmp_g *sleeper = spawn(sleep_long, NULL);
    struct ends e = make_ends(PIPE, false);
    struct waiter w;

    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_EQ(gmp_wait_fd(-1, READ, GMP_FOREVER), -EBADF);
    begin_wait(&w, true, e.out, READ);
    CHECK_EQ(write(e.in, "a", 1), 1);
    CHECK_EQ(end_wait(&w), READ);
    begin_wait(&w, false, e.out, READ);
    CHECK_EQ(end_wait(&w), READ);
    CHECK_OK(gmp_cancel(sleeper));
    CHECK_OK(gmp_join(sleeper));
    close_ends(&e);
}

enum { TOKENS = 3000, TAKERS = 4 };

/* Those who take what is there by read(2), each when told that there is. */
static struct {
    struct ends ends;
    atomic_int left;
} pot;

static void take_tokens(void *arg)
{
    char byte;

    while (atomic_load(&pot.left) > 0) {
        ssize_t n;

        CHECK(gmp_wait_fd(pot.ends.out, READ, GMP_FOREVER) == READ);
        n = read(pot.ends.out, &byte, 1);
        if (n == 0)
            break;
        CHECK(n == 1 || errno == EAGAIN);
        if (n == 1)
            atomic_fetch_sub(&pot.left, 1);
    }
}

static void all_is_taken(void)
{
    struct party takers[TAKERS];

    for (int i = 0; i < 2; i++) {
        pot.ends = make_ends(i ? UNIX_PACKET : PIPE, true);
        atomic_store(&pot.left, TOKENS);
        for (int k = 0; k < TAKERS; k++)
            begin(&takers[k], k == 0, take_tokens, NULL);
        for (int k = 0; k < TOKENS; k++) {
            CHECK_EQ(gmp_write(pot.ends.in, "t", 1), 1);
            if (k % 64 == 0)
                CHECK_OK(gmp_sleep(US(20)));
        }
        AWAIT(atomic_load(&pot.left) == 0);
        CHECK_OK(gmp_close(pot.ends.in));
        for (int k = 0; k < TAKERS; k++)
            finish(&takers[k]);
        CHECK_OK(gmp_close(pot.ends.out));
    }
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        ready_as_long_as_it_is, waits_for_what_comes, either_direction,
        ends_are_ready,         disks_are_ready,      children_end,
        bad_arguments_are_refused,
    };

    a_bad_start_spoils_nothing();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        on_both(cases[i], NULL);
    all_is_taken();
    return 0;
}
