/* Closing under those who wait: gmp_close wakes them all; after close(2) the
 * number is used again while they wait, and nobody hangs, or gets what is
 * meant for another. */
#include "io.h"

/* A high number is one that nobody else takes as soon as it is free. */
enum { CROWD = 12, NUMBER = 300 };

/* One of many who wait on the same descriptors. */
struct waiter {
    struct party party;
    int fd;
    enum { READS, WRITES, WAITS, ACCEPTS } how;
    long result;
};

static void wait_for_end(void *arg)
{
    static const char block[4096];
    struct waiter *w = arg;
    char byte;

    if (w->how == READS)
        w->result = gmp_read(w->fd, &byte, 1);
    else if (w->how == WRITES)
        while ((w->result = gmp_write(w->fd, block, sizeof block)) > 0)
            continue;
    else if (w->how == ACCEPTS)
        w->result = gmp_accept(w->fd, NULL, NULL);
    else
        w->result = gmp_wait_fd(w->fd, GMP_READABLE, gmp_after_ns(SEC(900)));
}

/* The same file, with the high number alone. */
static int renumber(int fd)
{
    CHECK_EQ(dup2(fd, NUMBER), NUMBER);
    CHECK_OK(close(fd));
    return NUMBER;
}

/* Lets a crowd wait on fd, half of it on each way, and closes it. */
static void close_under(int fd, int how, int other)
{
    struct waiter crowd[CROWD];

    fd = renumber(fd);
    for (int i = 0; i < CROWD; i++) {
        crowd[i].fd = fd;
        crowd[i].how = i % 2 ? how : other;
        begin(&crowd[i].party, i % 5 == 0, wait_for_end, &crowd[i]);
    }
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_close(fd));
    CHECK_EQ(gmp_close(fd), -EBADF);
    for (int i = 0; i < CROWD; i++) {
        finish(&crowd[i].party);
        CHECK_EQ(crowd[i].result, -EBADF);
    }
}

static void close_wakes_everybody(void *arg)
{
    struct sockaddr_in address;

    for (int i = 0; i < 2 * links(); i++) {
        struct ends e = make_ends((enum link)(i / 2), i % 2);

        if (i / 2 == UNIX_STREAM || i / 2 == TCP) {
            /* Both ways of one socket. */
            fill(&e);
            close_under(e.in, READS, WRITES);
            CHECK_OK(gmp_close(e.out));
        } else {
            close_under(e.out, READS, WAITS);
            CHECK_OK(gmp_close(e.in));
        }
    }
    close_under(listen_loopback(1, &address), ACCEPTS, WAITS);
}

static void connect_for_ever(void *arg)
{
    struct waiter *w = arg;
    struct sockaddr_in address;
    socklen_t len = sizeof address;

    /* Its own address, kept by a full door. */
    CHECK_OK(getpeername(w->how, (struct sockaddr *)&address, &len));
    w->result = gmp_connect(w->fd, (struct sockaddr *)&address, len);
}

/* A file behind this number that is in non-blocking mode. */
static void take_number(int fd)
{
    int next = open("/dev/null", O_RDWR | O_NONBLOCK);

    CHECK(next >= 0);
    CHECK_EQ(dup2(next, fd), fd);
    CHECK_OK(close(next));
}

/* Closes what a call wants in non-blocking mode, at once or a little later,
 * and gives its number to the next file, whose mode stays as it is. */
static void close_while_called(struct waiter *w, int round, gmp_fn call)
{
    begin(&w->party, round % 2, call, w);
    /* That it is so tells that the call is under way. */
    AWAIT(get_mode(w->fd) & O_NONBLOCK);
    if (round / 2 % 2)
        CHECK_OK(gmp_sleep(MS(1)));
    CHECK_OK(gmp_close(w->fd));
    take_number(w->fd);
    finish(&w->party);
    CHECK_EQ(get_mode(w->fd) & O_NONBLOCK, O_NONBLOCK);
    CHECK_OK(gmp_close(w->fd));
}

/* A socket that is closed while it connects leaves its mode to nobody. */
static void closed_connections_change_nothing(void)
{
    struct sockaddr_in address;
    int door = listen_loopback(0, &address), clients[8];
    struct sockaddr *to = (struct sockaddr *)&address;

    for (int i = 0; i < 8; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | (i ? SOCK_NONBLOCK : 0), 0);
        connect(clients[i], to, sizeof address);
    }
    for (int i = 0; i < 10; i++) {
        struct waiter w = {.how = clients[0]};

        w.fd = renumber(socket(AF_INET, SOCK_STREAM, 0));
        close_while_called(&w, i, connect_for_ever);
        CHECK_EQ(w.result, -EBADF);
    }
    for (int i = 0; i < 8; i++)
        CHECK_OK(gmp_close(clients[i]));
    CHECK_OK(gmp_close(door));
}

static void send_for_ever(void *arg)
{
    struct waiter *w = arg;

    w->result = gmp_sendfile(w->fd, w->how, &(off_t){0}, 100);
}

/* Nor does one that a file is sent to. */
static void closed_receivers_change_nothing(void)
{
    int file = open("/proc/self/exe", O_RDONLY);

    for (int i = 0; i < 10; i++) {
        struct ends e = make_ends(UNIX_STREAM, false);
        struct waiter w = {.how = file};

        fill(&e);
        w.fd = renumber(e.in);
        close_while_called(&w, i, send_for_ever);
        /* Or it was just about to try, and found the next file. */
        if (w.result != 100)
            CHECK_EQ(w.result, -EBADF);
        CHECK_OK(gmp_close(e.out));
    }
    CHECK_OK(gmp_close(file));
}

/* Nor does a call whose other descriptor is bad. */
static void bad_partners_change_nothing(void *arg)
{
    struct ends e = make_ends(PIPE, false), s = make_ends(UNIX_STREAM, false);

    CHECK_EQ(gmp_splice(e.out, NULL, -1, NULL, 1, 0), -EBADF);
    CHECK_EQ(gmp_splice(-1, NULL, e.in, NULL, 1, 0), -EBADF);
    CHECK_EQ(gmp_sendfile(s.in, -1, NULL, 1), -EBADF);
    CHECK_EQ(get_mode(e.out) & O_NONBLOCK, 0);
    CHECK_EQ(get_mode(e.in) & O_NONBLOCK, 0);
    CHECK_EQ(get_mode(s.in) & O_NONBLOCK, 0);
    close_ends(&e);
    close_ends(&s);
}

struct splicer {
    struct party party;
    struct ends from;
    int to;
    ssize_t result;
};

static void splice_for_ever(void *arg)
{
    struct splicer *s = arg;

    s->result = gmp_splice(s->from.out, NULL, s->to, NULL, 100, 0);
}

/* What waits for its source does not go on into the next file that has the
 * number of its target. */
static void the_next_target_gets_nothing(void)
{
    for (int i = 0; i < 6; i++) {
        struct splicer s = {.from = make_ends(PIPE, i % 2)};
        struct ends old = make_ends(PIPE, false), next = make_ends(PIPE, false);
        char byte;

        s.to = renumber(old.in);
        begin(&s.party, i % 2, splice_for_ever, &s);
        AWAIT(is_watched(s.from.out));
        if (i / 2 % 2)
            CHECK_OK(gmp_sleep(MS(1)));
        CHECK_OK(gmp_close(s.to));
        CHECK_EQ(dup2(next.in, NUMBER), NUMBER);
        CHECK_EQ(gmp_write(s.from.in, "abc", 3), 3);
        finish(&s.party);
        CHECK_EQ(s.result, -EBADF);
        CHECK_EQ(gmp_read_until(next.out, &byte, 1, 0), -ETIMEDOUT);
        CHECK_OK(gmp_close(NUMBER));
        CHECK_OK(gmp_close(old.out));
        close_ends(&s.from);
        close_ends(&next);
    }
}

static int close_from(gmp_g *g, void *fd)
{
    CHECK_OK(gmp_close(*(int *)fd));
    return 0;
}

static void park_and_close(void *arg)
{
    CHECK_OK(gmp_park(close_from, arg, NULL));
}

/* Closing waits for nobody, so it may be done anywhere. */
static void close_in_unlockf(void)
{
    struct ends e = make_ends(PIPE, false);
    struct waiter w = {.how = READS};

    w.fd = e.out = renumber(e.out);
    begin(&w.party, false, wait_for_end, &w);
    CHECK_OK(gmp_sleep(US(300)));
    CHECK_OK(gmp_join(spawn(park_and_close, &e.out)));
    finish(&w.party);
    CHECK_EQ(w.result, -EBADF);
    CHECK_OK(gmp_close(e.in));
}

/* Who was woken, but has not run yet, when its file is closed and the number
 * used again, does not read from the new file. */
static void read_old_file(void *arg)
{
    char byte = 0;
    ssize_t n = gmp_read(*(int *)arg, &byte, 1);

    CHECK(n == -EBADF || (n == 1 && byte == 'o'));
}

static void replace_file(void *arg)
{
    struct ends *old = arg, new = make_ends(PIPE, false);

    CHECK_EQ(write(new.in, "n", 1), 1);
    CHECK_EQ(write(old->in, "o", 1), 1);
    /* Others may learn of it now, but this goroutine keeps the P. */
    spin_ns(US(300));
    CHECK_OK(gmp_close(old->out));
    CHECK_EQ(dup2(new.out, old->out), old->out);
    CHECK_OK(close(new.out));
    CHECK_OK(close(old->in));
    old->in = new.in;
}

static void the_woken_do_not_read_the_next_file(void)
{
    int procs = gmp_set_maxprocs(1);

    for (int i = 0; i < 40; i++) {
        struct ends e = make_ends(PIPE, false);
        gmp_g *reader = spawn(read_old_file, &e.out);

        CHECK_OK(gmp_sleep(US(300)));
        CHECK_OK(gmp_join(spawn(replace_file, &e)));
        CHECK_OK(gmp_join(reader));
        close_ends(&e);
    }
    gmp_set_maxprocs(procs);
}

enum { ROUNDS = 1200, VICTIMS = 4 };

/* A number behind which the file changes all the time. Each file gets at most
 * one byte, which tells which it is. */
static struct {
    atomic_int round;
    atomic_long got;
    atomic_bool over;
} turn;

/* Which of the rounds from first to last a byte is from. */
static bool within(int first, int last, unsigned char byte)
{
    for (int round = first; round <= last; round++)
        if ((unsigned char)round == byte)
            return true;
    return false;
}

static void wait_on_number(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    while (!atomic_load(&turn.over)) {
        int first = atomic_load(&turn.round);
        int64_t span = (int64_t)(next_random(&random) % US(400));
        unsigned char byte;
        ssize_t n = gmp_read_until(NUMBER, &byte, 1, gmp_after_ns(span));

        if (n == 1) {
            CHECK(within(first, atomic_load(&turn.round), byte));
            atomic_fetch_add(&turn.got, 1);
        } else {
            CHECK(n == -ETIMEDOUT || n == -EBADF || n == 0);
        }
    }
}

/* A new file behind the number, of another sort now and then. */
static struct ends next_file(int round)
{
    struct ends e = make_ends(round % 3 ? PIPE : UNIX_STREAM, round % 2);

    atomic_store(&turn.round, round);
    e.out = renumber(e.out);
    return e;
}

static void numbers_are_used_again(bool hosts)
{
    struct party victims[VICTIMS];
    uint64_t random = 1;
    long sent = 0, got = 0;

    atomic_store(&turn.over, false);
    atomic_store(&turn.got, 0);
    atomic_store(&turn.round, 0);
    for (intptr_t i = 0; i < VICTIMS; i++)
        begin(&victims[i], hosts && i % 2, wait_on_number, (void *)i);
    for (int round = 0; round < ROUNDS; round++) {
        struct ends e = next_file(round);
        unsigned char byte = (unsigned char)round;
        ssize_t n = 0;

        if (next_random(&random) % 2)
            gmp_yield();
        if (round % 4 != 3) {
            CHECK_EQ(write(e.in, &byte, 1), 1);
            sent++;
            /* The new file's own reader, who may have to wait. */
            n = gmp_read_until(e.out, &byte, 1, gmp_after_ns(US(20)));
        } else if (round % 8 == 3) {
            n = gmp_read_until(e.out, &byte, 1, gmp_after_ns(US(200)));
        }
        CHECK(n == -ETIMEDOUT || n == 0 || n == 1);
        CHECK(n < 1 || byte == (unsigned char)round);
        got += n == 1;
        CHECK_OK(close(e.in));
        CHECK_OK(close(e.out));
    }
    atomic_store(&turn.over, true);
    for (int i = 0; i < VICTIMS; i++)
        finish(&victims[i]);
    CHECK(got + atomic_load(&turn.got) <= sent);
    CHECK(got > 0);
}

/* Old waiters are told when somebody waits for the new file. */
static void the_next_waiter_wakes_the_old(void)
{
    for (int i = 0; i < 200; i++) {
        struct ends e = make_ends(i % 2 ? PIPE : UNIX_STREAM, false), next;
        struct waiter old = {.fd = e.out, .how = READS};
        char byte = 0;

        begin(&old.party, i % 8 == 0, wait_for_end, &old);
        CHECK_OK(gmp_sleep(US(100)));
        next = make_ends(PIPE, false);
        CHECK_OK(close(e.out));
        CHECK_EQ(dup2(next.out, e.out), e.out);
        CHECK_OK(close(next.out));
        CHECK_EQ(gmp_read_until(e.out, &byte, 1, gmp_after_ns(US(100))),
                 -ETIMEDOUT);
        CHECK_OK(close(e.in));
        CHECK_OK(gmp_close(e.out));
        finish(&old.party);
        CHECK_EQ(old.result, -EBADF);
        CHECK_OK(close(next.in));
    }
}

/* What was known of a file says nothing of the next one with its number. */
static void numbers_forget_their_files(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct ends old = make_ends(TCP, i % 2), next = make_ends(PIPE, false);
        int disk = open("/proc/self/exe", O_RDONLY);
        char text[64];

        old.out = renumber(old.out);
        CHECK_EQ(gmp_read_until(NUMBER, text, sizeof text, 0), -ETIMEDOUT);
        CHECK_EQ(gmp_read_until(NUMBER, text, sizeof text,
                                gmp_after_ns(US(200))), -ETIMEDOUT);
        CHECK_EQ(write(old.in, "abc", 3), 3);
        CHECK_EQ(gmp_read(NUMBER, text, sizeof text), 3);
        CHECK_OK(i < 2 ? gmp_close(NUMBER) : close(NUMBER));

        CHECK_EQ(write(next.in, "x", 1), 1);
        CHECK_EQ(dup2(next.out, NUMBER), NUMBER);
        CHECK_EQ(gmp_read_until(NUMBER, text, sizeof text, 0), 1);
        CHECK_EQ(dup2(disk, NUMBER), NUMBER);
        CHECK_EQ(gmp_read(NUMBER, text, sizeof text), sizeof text);
        CHECK_OK(gmp_close(NUMBER));
        CHECK_OK(gmp_close(disk));
        CHECK_OK(gmp_close(old.in));
        close_ends(&next);
    }
}

int test_main(int argc, char **argv)
{
    close_wakes_everybody(NULL);
    CHECK_OK(gmp_join(spawn(close_wakes_everybody, NULL)));
    close_in_unlockf();
    numbers_forget_their_files(NULL);
    CHECK_OK(gmp_join(spawn(numbers_forget_their_files, NULL)));
    the_next_waiter_wakes_the_old();
    numbers_are_used_again(false);
    numbers_are_used_again(true);
    closed_connections_change_nothing();
    closed_receivers_change_nothing();
    on_both(bad_partners_change_nothing, NULL);
    the_next_target_gets_nothing();
    the_woken_do_not_read_the_next_file();
    return 0;
}
