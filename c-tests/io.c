/* Reading and writing: every sort of file, in blocking and in non-blocking
 * mode, which stays as it is; streams, vectors, and how they end. */
#include "io.h"

#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* One who reads what another writes, each with a mode of its own. */
struct talk {
    enum link link;
    bool nonblocking;
    struct ends ends;
    size_t total;
    bool vectors;
};

static void read_one(void *arg)
{
    struct talk *t = arg;
    char byte = 0;

    CHECK_EQ(gmp_read(t->ends.out, &byte, 1), 1);
    CHECK_EQ(byte, 'x');
}

/* The reader waits for the byte; then the byte waits for the reader. */
static void passes_a_byte(struct talk *t, bool host)
{
    struct party reader;

    begin(&reader, host, read_one, t);
    CHECK_OK(gmp_sleep(US(300)));
    CHECK_EQ(gmp_write(t->ends.in, "x", 1), 1);
    finish(&reader);
    CHECK_EQ(gmp_write(t->ends.in, "x", 1), 1);
    read_one(t);
}

/* The mode is the file's, so a dup shows whether anybody changed it, and
 * while one waits it is as before. */
static void keeps_its_mode(struct talk *t)
{
    int before = get_mode(t->ends.out), also = dup(t->ends.out);
    struct party reader;

    CHECK(also >= 0);
    begin(&reader, false, read_one, t);
    CHECK_EQ(get_mode(also), before);
    CHECK_OK(gmp_sleep(US(300)));
    CHECK_EQ(get_mode(also), before);
    CHECK_EQ(gmp_write(t->ends.in, "x", 1), 1);
    finish(&reader);
    CHECK_EQ(get_mode(also), before);
    CHECK_EQ(get_mode(t->ends.out), before);
    /* A dup reads from the same file. */
    CHECK_EQ(gmp_write(t->ends.in, "y", 1), 1);
    CHECK_EQ(gmp_read(also, &(char){0}, 1), 1);
    CHECK_OK(gmp_close(also));
    CHECK_EQ(get_mode(t->ends.in) & O_NONBLOCK,
             t->nonblocking ? O_NONBLOCK : 0);
}

static void every_link_in_either_mode(void *arg)
{
    for (int i = 0; i < 2 * links(); i++) {
        struct talk t = {.link = (enum link)(i / 2), .nonblocking = i % 2};

        t.ends = make_ends(t.link, t.nonblocking);
        passes_a_byte(&t, false);
        passes_a_byte(&t, true);
        keeps_its_mode(&t);
        close_ends(&t.ends);
    }
}

/* Writes it all in pieces of a few sizes. */
static void write_stream(void *arg)
{
    struct talk *t = arg;
    unsigned char *all = malloc(t->total);
    size_t at = 0;

    CHECK(all != NULL);
    for (size_t i = 0; i < t->total; i++)
        all[i] = byte_at(i);
    while (at < t->total) {
        size_t piece = t->total / 3 + 1;

        if (piece > t->total - at)
            piece = t->total - at;
        CHECK_EQ(gmp_write_all(t->ends.in, all + at, piece), (ssize_t)piece);
        at += piece;
    }
    free(all);
}

static ssize_t read_piece(struct talk *t, unsigned char *into, size_t size)
{
    struct iovec parts[3] = {{into, 1}, {into + 1, 0}, {into + 1, size - 1}};

    return t->vectors ? gmp_readv(t->ends.out, parts, 3)
                      : gmp_read(t->ends.out, into, size);
}

static void check_stream(struct talk *t)
{
    static unsigned char piece[9973];
    uint64_t random = t->total;
    size_t at = 0;

    while (at < t->total) {
        size_t size = 1 + next_random(&random) % sizeof piece;
        ssize_t n = read_piece(t, piece, size);

        CHECK(n > 0 && (size_t)n <= size);
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(piece[i], byte_at(at + (size_t)i));
        at += (size_t)n;
    }
    CHECK_EQ(at, t->total);
}

/* Megabytes go through a buffer of kilobytes in order. */
static void long_streams_arrive(void *arg)
{
    for (int i = 0; i < 4 * links(); i++) {
        struct talk t = {.link = (enum link)(i / 4), .nonblocking = i % 2};
        struct party writer;

        if (t.link == UNIX_PACKET)
            continue;
        t.total = t.link == PTY ? 20000 : 1 << 20;
        t.vectors = i & 2;
        t.ends = make_ends(t.link, t.nonblocking);
        make_narrow(t.link, &t.ends);
        begin(&writer, i & 2, write_stream, &t);
        check_stream(&t);
        finish(&writer);
        close_ends(&t.ends);
    }
}

/* A single write takes what fits, and says how much that was. */
static void writes_are_partial(void *arg)
{
    static char megabyte[1 << 20];

    for (int i = 0; i < 2 * PTY; i++) {
        enum link link = (enum link)(i / 2);
        struct ends e = make_ends(link, i % 2);
        ssize_t n;

        make_narrow(link, &e);
        if (link != UNIX_PACKET) {
            n = gmp_write_until(e.in, megabyte, sizeof megabyte, 0);
            CHECK(n > 0 && n < (ssize_t)sizeof megabyte);
            fill(&e);
            CHECK_EQ(gmp_write_until(e.in, "x", 1, 0), -ETIMEDOUT);
            CHECK(gmp_read(e.out, megabyte, sizeof megabyte) > 0);
        }
        close_ends(&e);
    }
}

static void write_in_pieces(void *arg)
{
    struct talk *t = arg;
    struct iovec parts[4] = {{"de", 2}, {NULL, 0}, {"f", 1}, {"gh", 2}};

    CHECK_EQ(gmp_write(t->ends.in, "abc", 3), 3);
    gmp_yield();
    CHECK_EQ(gmp_writev(t->ends.in, parts, 4), 5);
    CHECK_OK(gmp_close(t->ends.in));
}

/* Full reads put pieces together; the end makes them short, and stays. */
static void reads_up_to_the_end(void *arg)
{
    for (int i = 0; i < 2 * PTY; i++) {
        struct talk t = {.link = (enum link)(i / 2), .nonblocking = i % 2};
        struct party writer;
        char text[16] = "";
        size_t done = 99;

        t.ends = make_ends(t.link, t.nonblocking);
        begin(&writer, i % 3 == 0, write_in_pieces, &t);
        CHECK_EQ(gmp_read_full(t.ends.out, text, 5), 5);
        CHECK(t.link == UNIX_PACKET || memcmp(text, "abcde", 5) == 0);
        CHECK_OK(gmp_read_full_until(t.ends.out, text + 5, 9, &done,
                                     GMP_FOREVER));
        finish(&writer);
        if (t.link != UNIX_PACKET) {
            CHECK_EQ(done, 3);
            CHECK_OK(strcmp(text, "abcdefgh"));
        }
        CHECK_EQ(gmp_read(t.ends.out, text, 1), 0);
        CHECK_EQ(gmp_read_full(t.ends.out, text, 1), 0);
        CHECK_OK(gmp_read_full_until(t.ends.out, text, 1, &done, 0));
        CHECK_EQ(done, 0);
        CHECK_OK(gmp_close(t.ends.out));
    }
}

/* As read(2) and write(2): nothing to do is done at once, on any file. */
static void zero_bytes_do_not_wait(void *arg)
{
    char byte;

    for (int i = 0; i < 2 * links(); i++) {
        struct ends e = make_ends((enum link)(i / 2), i % 2);
        struct iovec none = {&byte, 0};

        CHECK_EQ(gmp_read(e.out, &byte, 0), 0);
        CHECK_EQ(gmp_read(e.out, NULL, 0), 0);
        CHECK_EQ(gmp_readv(e.out, &none, 1), 0);
        CHECK_EQ(gmp_readv(e.out, NULL, 0), 0);
        CHECK_EQ(gmp_read_full(e.out, NULL, 0), 0);
        CHECK_EQ(gmp_write_all(e.in, NULL, 0), 0);
        if (i / 2 != UNIX_PACKET) {
            CHECK_EQ(gmp_write(e.in, &byte, 0), 0);
            CHECK_EQ(gmp_writev(e.in, &none, 1), 0);
        }
        close_ends(&e);
    }
}

/* None of these touches what it is given. */
static void bad_arguments_are_refused(void *arg)
{
    const struct iovec parts[1] = {{NULL, 0}};
    struct ends e = make_ends(PIPE, false);
    int closed = dup(e.out), directory = open("/", O_RDONLY);
    const int bad[] = {-1, INT32_MIN, closed, 1 << 19, INT32_MAX};
    char byte = 5;

    CHECK_OK(gmp_close(closed));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(gmp_read(bad[i], &byte, 1), -EBADF);
        CHECK_EQ(gmp_write(bad[i], &byte, 1), -EBADF);
        CHECK_EQ(gmp_readv(bad[i], parts, 1), -EBADF);
        CHECK_EQ(gmp_writev(bad[i], parts, 1), -EBADF);
        CHECK_EQ(gmp_read_full(bad[i], &byte, 1), -EBADF);
        CHECK_EQ(gmp_write_all(bad[i], &byte, 1), -EBADF);
        CHECK_EQ(gmp_close(bad[i]), -EBADF);
    }
    CHECK_EQ(gmp_read(e.out, NULL, 1), -EINVAL);
    CHECK_EQ(gmp_write(e.in, NULL, 1), -EINVAL);
    CHECK_EQ(gmp_read_full(e.out, NULL, 1), -EINVAL);
    CHECK_EQ(gmp_write_all(e.in, NULL, 1), -EINVAL);
    CHECK_EQ(gmp_readv(e.out, NULL, 1), -EINVAL);
    CHECK_EQ(gmp_readv(e.out, parts, -1), -EINVAL);
    CHECK_EQ(gmp_writev(e.in, NULL, 1), -EINVAL);
    CHECK_EQ(gmp_writev(e.in, parts, INT32_MIN), -EINVAL);
    CHECK_EQ(gmp_read(e.in, &byte, 1), -EBADF);
    CHECK_EQ(gmp_write(e.out, &byte, 1), -EBADF);
    CHECK_EQ(gmp_read(directory, &byte, 1), -EISDIR);
    CHECK_EQ(gmp_read(e.out, (char *)8, 0), 0);
    CHECK_EQ(byte, 5);
    CHECK_OK(gmp_close(directory));
    close_ends(&e);
}

static atomic_int pipes_broken;

static void count_sigpipe(int signo)
{
    atomic_fetch_add(&pipes_broken, signo == SIGPIPE);
}

/* A socket may tell at first that what was not read is lost. */
static bool is_broken(enum link link, ssize_t n)
{
    return n == -EPIPE || (link > FIFO && n == -ECONNRESET);
}

static void write_until_broken(void *arg)
{
    struct talk *t = arg;
    struct iovec part = {"x", 1};
    ssize_t n;

    while ((n = t->vectors ? gmp_writev(t->ends.in, &part, 1)
                           : gmp_write(t->ends.in, "x", 1)) > 0)
        continue;
    CHECK(is_broken(t->link, n));
}

/* A write after the reader has gone, or during whose wait it goes, fails and
 * raises no signal. */
static void broken_pipes_are_silent(void *arg)
{
    for (int i = 0; i < 4 * PTY; i++) {
        struct talk t = {.link = (enum link)(i / 4), .nonblocking = i % 2};
        struct party writer;

        t.vectors = i & 2;
        t.ends = make_ends(t.link, t.nonblocking);
        make_narrow(t.link, &t.ends);
        begin(&writer, i & 2, write_until_broken, &t);
        CHECK_OK(gmp_sleep(US(200)));
        CHECK_OK(gmp_close(t.ends.out));
        finish(&writer);
        CHECK(is_broken(t.link, gmp_write(t.ends.in, "x", 1)));
        CHECK(is_broken(t.link, gmp_write_all(t.ends.in, "x", 1)));
        CHECK_OK(gmp_close(t.ends.in));
    }
    CHECK_EQ(atomic_load(&pipes_broken), 0);
}

/* A signal of the host's own, which it has blocked, is still there after. */
static void own_sigpipe_stays(void)
{
    struct ends e = make_ends(FIFO, false);
    sigset_t blocked, before, pending;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGPIPE);
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &blocked, &before));
    CHECK_OK(raise(SIGPIPE));
    CHECK_OK(gmp_close(e.out));
    CHECK_EQ(gmp_write(e.in, "x", 1), -EPIPE);
    CHECK_OK(sigpending(&pending));
    CHECK_EQ(sigismember(&pending, SIGPIPE), 1);
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &before, NULL));
    CHECK_EQ(atomic_exchange(&pipes_broken, 0), 1);
    CHECK_OK(gmp_close(e.in));
}

static void read_a_number(void *arg)
{
    uint64_t number = 0;

    CHECK_EQ(gmp_read(*(int *)arg, &number, sizeof number), 8);
    CHECK_EQ(number, 3);
}

static void eventfds_count(bool nonblocking)
{
    int fd = eventfd(0, nonblocking ? EFD_NONBLOCK : 0);
    uint64_t number = 3, most = UINT64_MAX - 1;
    struct party reader;

    for (int i = 0; i < 2; i++) {
        begin(&reader, i, read_a_number, &fd);
        CHECK_OK(gmp_sleep(US(300)));
        CHECK_EQ(gmp_write(fd, &number, 8), 8);
        finish(&reader);
    }
    /* A full one makes writers wait. */
    CHECK_EQ(gmp_write(fd, &most, 8), 8);
    CHECK_EQ(gmp_write_until(fd, &number, 8, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_EQ(gmp_read(fd, &number, 4), -EINVAL);
    CHECK_EQ(gmp_read(fd, &number, 8), 8);
    CHECK(number == most);
    CHECK_EQ(get_mode(fd) & O_NONBLOCK, nonblocking ? O_NONBLOCK : 0);
    CHECK_OK(gmp_close(fd));
}

static void timerfds_tick(bool nonblocking)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, nonblocking ? TFD_NONBLOCK : 0);
    struct itimerspec once = {.it_value = {0, MS(3)}};
    int64_t start = gmp_now();
    uint64_t ticks = 0;

    CHECK(fd >= 0);
    CHECK_OK(timerfd_settime(fd, 0, &once, NULL));
    CHECK_EQ(gmp_read(fd, &ticks, 8), 8);
    CHECK_EQ(ticks, 1);
    CHECK(gmp_now() - start >= MS(3));
    CHECK_EQ(gmp_read_until(fd, &ticks, 8, gmp_after_ns(MS(1))), -ETIMEDOUT);
    CHECK_EQ(get_mode(fd) & O_NONBLOCK, nonblocking ? O_NONBLOCK : 0);
    CHECK_OK(gmp_close(fd));
}

/* On this host thread, whose signals it takes. */
static void signalfds_tell(bool nonblocking)
{
    struct signalfd_siginfo info;
    sigset_t mask, before;
    int fd;

    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    CHECK_OK(pthread_sigmask(SIG_BLOCK, &mask, &before));
    fd = signalfd(-1, &mask, nonblocking ? SFD_NONBLOCK : 0);
    CHECK(fd >= 0);
    CHECK_EQ(gmp_read_until(fd, &info, sizeof info, gmp_after_ns(MS(1))),
             -ETIMEDOUT);
    CHECK_OK(pthread_kill(pthread_self(), SIGUSR2));
    CHECK_EQ(gmp_read(fd, &info, sizeof info), sizeof info);
    CHECK_EQ(info.ssi_signo, SIGUSR2);
    CHECK_OK(gmp_close(fd));
    CHECK_OK(pthread_sigmask(SIG_SETMASK, &before, NULL));
}

/* Files that are always ready: at once, also with a deadline far away. */
static void disks_and_devices(void *arg)
{
    char path[] = "/tmp/gmprt-io-XXXXXX", text[8] = "";
    static char big[1 << 20];
    int fd = mkstemp(path), zero = open("/dev/zero", O_RDWR),
        null = open("/dev/null", O_RDWR | O_NONBLOCK);
    struct iovec parts[2] = {{text, 3}, {text + 3, 4}};

    CHECK(fd >= 0 && zero >= 0 && null >= 0);
    CHECK_OK(unlink(path));
    CHECK_EQ(gmp_write(fd, "hello", 5), 5);
    CHECK_EQ(gmp_read(fd, text, 5), 0);
    CHECK_EQ(lseek(fd, 1, SEEK_SET), 1);
    CHECK_EQ(gmp_read_until(fd, text, 2, gmp_after_ns(SEC(900))), 2);
    CHECK_OK(strcmp(text, "el"));
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(gmp_readv(fd, parts, 2), 5);
    CHECK_OK(strcmp(text, "hello"));
    CHECK_EQ(gmp_read_full(fd, text, 3), 0);
    CHECK_EQ(gmp_write_all(fd, big, sizeof big), sizeof big);
    CHECK_EQ(lseek(fd, 0, SEEK_END), (off_t)sizeof big + 5);
    memset(big, 1, sizeof big);
    CHECK_EQ(gmp_read_full(zero, big, sizeof big), sizeof big);
    CHECK(big[0] == 0 && memcmp(big, big + 1, sizeof big - 1) == 0);
    CHECK_EQ(gmp_write_all(zero, big, sizeof big), sizeof big);
    CHECK_EQ(gmp_read(null, big, sizeof big), 0);
    CHECK_EQ(gmp_write_all(null, big, sizeof big), sizeof big);
    CHECK_EQ(get_mode(zero) & O_NONBLOCK, 0);
    CHECK_EQ(get_mode(null) & O_NONBLOCK, O_NONBLOCK);
    CHECK_OK(gmp_close(fd));
    CHECK_OK(gmp_close(zero));
    CHECK_OK(gmp_close(null));
}

enum { RECORDS = 2000, READERS = 6 };

/* Several read records from one file; each record is read once. */
struct share {
    struct ends ends;
    atomic_int seen[RECORDS];
};

static void read_records(void *arg)
{
    struct share *s = arg;
    int64_t record;
    ssize_t n;

    while ((n = gmp_read(s->ends.out, &record, sizeof record)) > 0) {
        CHECK_EQ(n, sizeof record);
        CHECK(record >= 0 && record < RECORDS);
        atomic_fetch_add(&s->seen[record], 1);
        if (record % 16 == 0)
            gmp_yield();
    }
    CHECK_EQ(n, 0);
}

static void write_records(void *arg)
{
    struct share *s = arg;

    for (int64_t i = 0; i < RECORDS; i++) {
        CHECK_EQ(gmp_write(s->ends.in, &i, sizeof i), sizeof i);
        if (i % 100 == 0)
            CHECK_OK(gmp_sleep(US(50)));
    }
    CHECK_OK(gmp_close(s->ends.in));
}

static void each_record_once(enum link link, bool nonblocking)
{
    struct share *s = calloc(1, sizeof *s);
    struct party readers[READERS], writer;

    CHECK(s != NULL);
    s->ends = make_ends(link, nonblocking);
    for (int i = 0; i < READERS; i++)
        begin(&readers[i], i == 0, read_records, s);
    begin(&writer, nonblocking, write_records, s);
    finish(&writer);
    for (int i = 0; i < READERS; i++)
        finish(&readers[i]);
    for (int i = 0; i < RECORDS; i++)
        CHECK_EQ(atomic_load(&s->seen[i]), 1);
    CHECK_OK(gmp_close(s->ends.out));
    free(s);
}

int test_main(int argc, char **argv)
{
    static const gmp_fn cases[] = {
        every_link_in_either_mode, writes_are_partial,
        reads_up_to_the_end,       zero_bytes_do_not_wait,
        bad_arguments_are_refused, broken_pipes_are_silent,
        disks_and_devices,         long_streams_arrive,
    };

    CHECK(signal(SIGPIPE, count_sigpipe) != SIG_ERR);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        on_both(cases[i], NULL);
    own_sigpipe_stays();
    for (int i = 0; i < 2; i++) {
        eventfds_count(i);
        timerfds_tick(i);
        signalfds_tell(i);
        each_record_once(PIPE, i);
        each_record_once(UNIX_PACKET, i);
    }
    return 0;
}
