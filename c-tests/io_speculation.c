/* A goroutine that has just drained a TCP stream waits for more without a try:
 * it misses nothing of what comes, or is there after all, and is told when the
 * number is no more that of its file. */
#include "io.h"

#include <netinet/tcp.h>

/* A high number is one that nobody else takes as soon as it is free. */
enum { NUMBER = 320, WARM = 12 };

/* TCP that sends at once. With a high number alone for what is read from. */
static struct ends make_pair(bool renumber)
{
    struct ends e = make_ends(TCP, false);
    int on = 1;

    CHECK_OK(setsockopt(e.in, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    CHECK_OK(setsockopt(e.out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    if (renumber) {
        CHECK_EQ(dup2(e.out, NUMBER), NUMBER);
        CHECK_OK(close(e.out));
        e.out = NUMBER;
    }
    return e;
}

static void write_soon(void *arg)
{
    CHECK_OK(gmp_sleep(US(30)));
    CHECK_EQ(gmp_write((int)(intptr_t)arg, "abc", 3), 3);
}

/* Lets the caller wait for a few bytes, and drain the stream by short reads,
 * so often that reads speculate, and that the code is warm: what follows takes
 * little time. */
static void drain(const struct ends *e)
{
    for (int i = 0; i < WARM; i++) {
        char text[16];

        CHECK_OK(gmp_go(write_soon, (void *)(intptr_t)e->in));
        CHECK_EQ(gmp_read(e->out, text, sizeof text), 3);
    }
}

/* Away from the file for nothing, for longer than a system call takes, and
 * for too long to know anything. */
static void stay_away(int how)
{
    if (how % 3)
        spin_ns(how % 3 == 1 ? US(2) : US(300));
}

/* An echo with messages of all sizes, in bits that come at any time. */
enum { PAIRS = 5, MESSAGES = 60, LONGEST = 3000 };

static void echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    uint64_t random = (uint64_t)fd;
    char text[LONGEST];
    ssize_t n;

    while ((n = gmp_read(fd, text, 1 + next_random(&random) % LONGEST)) > 0) {
        if (next_random(&random) % 4 == 0)
            gmp_yield();
        CHECK_EQ(gmp_write_all(fd, text, (size_t)n), n);
    }
    CHECK_EQ(n, 0);
    CHECK_OK(gmp_close(fd));
}

/* Sends what comes next of the stream, in two parts now and then. */
static size_t send_some(int fd, size_t place, uint64_t *random)
{
    size_t n = 1 + next_random(random) % LONGEST, part = n;
    unsigned char text[LONGEST];

    for (size_t i = 0; i < n; i++)
        text[i] = byte_at(place + i);
    if (next_random(random) % 3 == 0)
        part = 1 + next_random(random) % n;
    CHECK_EQ(gmp_write_all(fd, text, part), (ssize_t)part);
    if (next_random(random) % 2)
        gmp_yield();
    CHECK_EQ(gmp_write_all(fd, text + part, n - part), (ssize_t)(n - part));
    return n;
}

static void talk(void *arg)
{
    struct ends e = make_pair(false);
    uint64_t random = (uint64_t)(intptr_t)arg;
    gmp_g *other = spawn(echo, (void *)(intptr_t)e.in);
    size_t sent = 0, got = 0;

    for (int i = 0; i < MESSAGES; i++) {
        sent += send_some(e.out, sent, &random);
        while (got < sent) {
            unsigned char text[LONGEST];
            ssize_t n = gmp_read(e.out, text, 1 + next_random(&random) % 4000
                                                      * LONGEST / 4000);

            CHECK(n > 0);
            for (ssize_t k = 0; k < n; k++)
                CHECK_EQ(text[k], byte_at(got++));
            if (next_random(&random) % 8 == 0)
                stay_away(1);
        }
    }
    CHECK_EQ(got, sent);
    CHECK_OK(gmp_close(e.out));
    CHECK_OK(gmp_join(other));
}

static void echoes_are_whole(void)
{
    gmp_g *clients[PAIRS];

    for (intptr_t i = 0; i < PAIRS; i++)
        clients[i] = spawn(talk, (void *)i);
    for (int i = 0; i < PAIRS; i++)
        CHECK_OK(gmp_join(clients[i]));
}

/* What ends a stream, and when, as a bit each. */
enum { RESETS = 1, SAYS_MORE = 2, LATER = 4, ENDINGS = 8 };

struct end {
    struct ends e;
    int how;
};

static void end_stream(void *arg)
{
    struct end *x = arg;
    struct linger hard = {.l_onoff = 1};

    if (x->how & LATER)
        CHECK_OK(gmp_sleep(US(200)));
    if (x->how & SAYS_MORE)
        CHECK_EQ(write(x->e.in, "de", 2), 2);
    if (x->how & RESETS)
        CHECK_OK(setsockopt(x->e.in, SOL_SOCKET, SO_LINGER, &hard,
                            sizeof hard));
    CHECK_OK(close(x->e.in));
}

/* The end is told, and the data before it; a reset may take them along. */
static void the_end_comes_behind_data(void *arg)
{
    for (int i = 0; i < 3 * ENDINGS; i++) {
        struct end x = {make_pair(false), i / 3};
        gmp_g *other = NULL;
        char text[16];
        ssize_t n;

        drain(&x.e);
        stay_away(i);
        if (x.how & LATER)
            other = spawn(end_stream, &x);
        else
            end_stream(&x);
        n = gmp_read(x.e.out, text, sizeof text);
        if (n == 2) {
            CHECK(x.how & SAYS_MORE);
            CHECK_OK(memcmp(text, "de", 2));
            n = gmp_read(x.e.out, text, sizeof text);
        } else {
            CHECK(x.how & RESETS || !(x.how & SAYS_MORE));
        }
        CHECK_EQ(n, x.how & RESETS ? -ECONNRESET : 0);
        CHECK_EQ(gmp_read(x.e.out, text, sizeof text), 0);
        if (other)
            CHECK_OK(gmp_join(other));
        CHECK_OK(gmp_close(x.e.out));
    }
}

/* Half of it is closed by the reader's own side. */
static void a_half_is_closed(void *arg)
{
    for (int i = 0; i < 3; i++) {
        struct ends e = make_pair(false);
        char text[16];

        drain(&e);
        stay_away(i);
        CHECK_OK(shutdown(e.out, SHUT_RD));
        CHECK_EQ(gmp_read(e.out, text, sizeof text), 0);
        close_ends(&e);
    }
}

static void *take_urgent(void *arg)
{
    const struct ends *e = arg;
    char byte;

    CHECK_EQ(write(e->in, "ab", 2), 2);
    CHECK_EQ(send(e->in, "!", 1, MSG_OOB), 1);
    /* Unless the reader has been there, which drops it. */
    if (recv(e->out, &byte, 1, MSG_OOB | MSG_DONTWAIT) == 1)
        CHECK_EQ(byte, '!');
    CHECK_EQ(write(e->in, "cd", 2), 2);
    return NULL;
}

/* A read stops at the urgent mark, which stays when the urgent byte is gone:
 * no event tells of it, and more lies behind. */
static void marks_hide_nothing(void *arg)
{
    for (int i = 0; i < 8; i++) {
        struct ends e = make_pair(false);
        char text[16];
        ssize_t n = 0;
        pthread_t thread;

        drain(&e);
        stay_away(i);
        CHECK_OK(pthread_create(&thread, NULL, take_urgent, &e));
        if (i / 4) {
            /* All is there at once. */
            CHECK_OK(pthread_join(thread, NULL));
        }
        while (n < 4) {
            ssize_t more = gmp_read(e.out, text + n, sizeof text - (size_t)n);

            CHECK(more > 0);
            n += more;
        }
        CHECK_EQ(n, 4);
        CHECK_OK(memcmp(text, "abcd", 4));
        if (i / 4 == 0)
            CHECK_OK(pthread_join(thread, NULL));
        close_ends(&e);
    }
}

/* The next file of the number, from dup2, which gives a file away that others
 * may still have, or from close. */
static struct ends replace(int i)
{
    static const enum link links[] = {UNIX_STREAM, TCP, PIPE, UNIX_PACKET};
    struct ends next;

    if (i / 8 % 2)
        CHECK_OK(close(NUMBER));
    next = make_ends(links[i / 2 % 4], false);
    CHECK_EQ(dup2(next.out, NUMBER), NUMBER);
    CHECK_OK(close(next.out));
    next.out = NUMBER;
    return next;
}

/* The goroutine itself gives the number to the next file. What is there
 * already is read, and what comes. */
static void own_numbers_are_used_again(void *arg)
{
    for (int i = 0; i < 32; i++) {
        struct ends old = make_pair(true), next;
        int kept = i / 16 ? dup(NUMBER) : -1;
        char text[16];

        drain(&old);
        next = replace(i);
        CHECK_EQ(write(old.in, "old", 3), 3);
        if (i % 2)
            CHECK_EQ(write(next.in, "next", 4), 4);
        else
            CHECK_OK(gmp_go(write_soon, (void *)(intptr_t)next.in));
        CHECK_EQ(gmp_read(NUMBER, text, sizeof text), i % 2 ? 4 : 3);
        CHECK_OK(memcmp(text, i % 2 ? "next" : "abc", 3));
        CHECK_EQ(write(next.in, "end", 3), 3);
        CHECK_EQ(gmp_read(NUMBER, text, sizeof text), 3);
        CHECK_OK(memcmp(text, "end", 3));
        CHECK_OK(kept >= 0 ? close(kept) : 0);
        CHECK_OK(close(old.in));
        close_ends(&next);
    }
}

/* One who waits on speculation. */
struct waiter {
    struct ends e;
    int away;
    int64_t span;
    atomic_bool begins;
    char byte;
    ssize_t result;
};

static void wait_speculating(void *arg)
{
    struct waiter *w = arg;
    int64_t deadline = w->span < 0 ? GMP_FOREVER : 0;

    drain(&w->e);
    stay_away(w->away);
    if (w->span > 0)
        deadline = gmp_after_ns(w->span);
    atomic_store(&w->begins, true);
    w->result = gmp_read_until(w->e.out, &w->byte, 1, deadline);
}

static gmp_g *start_waiter(struct waiter *w)
{
    gmp_g *g = spawn(wait_speculating, w);

    AWAIT(atomic_load(&w->begins));
    CHECK_OK(gmp_sleep(US(500)));
    return g;
}

/* Waits for NUMBER, in which there is nothing, for long enough that the library
 * has looked which file it is. */
static void read_in_vain(void)
{
    char byte;

    do
        CHECK_EQ(gmp_read_until(NUMBER, &byte, 1, gmp_after_ns(US(500))),
                 -ETIMEDOUT);
    while (!is_watched(NUMBER));
}

/* Others give the number to the next file, and read it. Who waited is told,
 * and leaves alone what is sent to the next file. One that was slower than we
 * and did not wait yet is a reader of the next file as well. */
static void others_use_the_number(void *arg)
{
    const int rounds = 24;
    int told = 0;

    for (int i = 0; i < rounds; i++) {
        struct waiter w = {.e = make_pair(true), .away = i, .span = -1};
        int kept = i / 4 % 2 ? dup(NUMBER) : -1;
        gmp_g *g = start_waiter(&w);
        struct ends next = replace(i);
        char byte = 0;

        if (i % 2) {
            CHECK_EQ(write(next.in, "n", 1), 1);
            if (gmp_read_until(NUMBER, &byte, 1, gmp_after_ns(SEC(1))) == 1)
                CHECK_EQ(byte, 'n');
        }
        read_in_vain();
        if (gmp_join_until(g, gmp_after_ns(MS(200))) != 0) {
            CHECK_EQ(write(next.in, "n", 1), 1);
            CHECK_OK(gmp_join(g));
        }
        CHECK(w.result == -EBADF || (w.result == 1 && w.byte == 'n'));
        told += w.result == -EBADF;
        CHECK_OK(kept >= 0 ? close(kept) : 0);
        CHECK_OK(close(w.e.in));
        close_ends(&next);
    }
    CHECK(told >= rounds / 2);
}

/* Nobody reads the next file. A waiter on speculation is told all the same,
 * before long; one that was too slow to speculate is when somebody reads. */
static void who_waits_is_told(void *arg)
{
    int alone = 0;

    for (int i = 0; i < 8; i++) {
        struct waiter w = {.e = make_pair(true), .away = i % 2, .span = -1};
        gmp_g *g = start_waiter(&w);
        struct ends next = replace(i / 2 * 2);

        if (gmp_join_until(g, gmp_after_ns(MS(500))) == 0) {
            CHECK_EQ(w.result, -EBADF);
            alone++;
        } else {
            read_in_vain();
            CHECK_EQ(write(next.in, "n", 1), 1);
            CHECK_OK(gmp_join(g));
        }
        CHECK_OK(close(w.e.in));
        close_ends(&next);
    }
    CHECK(alone > 0);
}

/* gmp_close, a cancel, and a deadline end the wait. */
static void waits_end(void)
{
    for (int i = 0; i < 9; i++) {
        struct waiter w = {.e = make_pair(true), .away = i, .span = -1};
        int how = i / 3;
        gmp_g *g;

        w.span = how == 2 ? MS(2) : -1;
        g = start_waiter(&w);
        if (how == 0)
            CHECK_OK(gmp_close(NUMBER));
        else if (how == 1)
            CHECK_OK(gmp_cancel(g));
        CHECK_OK(gmp_join(g));
        CHECK_EQ(w.result, how == 0   ? -EBADF
                           : how == 1 ? -ECANCELED
                                      : -ETIMEDOUT);
        if (how)
            CHECK_OK(gmp_close(NUMBER));
        CHECK_OK(close(w.e.in));
    }
}

/* One in the past tries all the same, and short ones in a row miss nothing. */
static void deadlines_let_try(void *arg)
{
    for (int i = 0; i < 6; i++) {
        struct ends e = make_pair(false);
        int64_t span = i / 3 ? US(20) : 0;
        char text[16];
        ssize_t n;

        drain(&e);
        stay_away(i);
        CHECK_EQ(write(e.in, "de", 2), 2);
        CHECK_EQ(gmp_read_until(e.out, text, sizeof text, 0), 2);
        drain(&e);
        CHECK_OK(gmp_go(write_soon, (void *)(intptr_t)e.in));
        do {
            gmp_yield();
            n = gmp_read_until(e.out, text, sizeof text,
                               span ? gmp_after_ns(span) : 0);
        } while (n == -ETIMEDOUT);
        CHECK_EQ(n, 3);
        close_ends(&e);
    }
}

/* Each byte comes to one of two readers, which take turns in draining it. */
static void two_readers_miss_nothing(void *arg)
{
    struct crowd c = {.e = make_pair(false)};
    uint64_t random = 7;
    gmp_g *readers[2];
    int sent = 0;

    for (int k = 0; k < 2; k++)
        readers[k] = spawn(read_to_the_end, &c);
    for (int k = 0; k < 400; k++) {
        ssize_t n = 1 + (ssize_t)(next_random(&random) % 12);

        CHECK_EQ(gmp_write(c.e.in, "abcdefghijkl", (size_t)n), n);
        sent += (int)n;
        if (k % 3)
            gmp_yield();
        if (k % 20 == 0)
            AWAIT(atomic_load(&c.bytes) == sent);
    }
    AWAIT(atomic_load(&c.bytes) == sent);
    CHECK_OK(gmp_close(c.e.in));
    for (int k = 0; k < 2; k++)
        CHECK_OK(gmp_join(readers[k]));
    CHECK_EQ(atomic_load(&c.ended), 2);
    CHECK_OK(gmp_close(c.e.out));
}

static void *close_number(void *arg)
{
    CHECK_OK(gmp_close(NUMBER));
    return NULL;
}

static void let_go(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

/* Blocks until another goroutine has run, which takes somebody who notices. */
static void block_until_let_go(void *arg)
{
    atomic_bool gone = false;
    gmp_g *other = spawn(let_go, &gone);

    while (!atomic_load(&gone))
        block_ns(MS(1));
    CHECK_OK(gmp_join(other));
}

/* A close that takes long holds up nobody but its caller, although somebody
 * has waited on speculation just now. */
static void a_close_lingers(void)
{
    static char block[1 << 16];
    struct linger linger = {1, 100};
    struct waiter w = {.e = make_pair(true), .span = -1};
    int procs = gmp_set_maxprocs(1);
    pthread_t thread;
    gmp_g *g;

    CHECK_OK(setsockopt(NUMBER, SOL_SOCKET, SO_LINGER, &linger,
                        sizeof linger));
    while (send(NUMBER, block, sizeof block, MSG_DONTWAIT) > 0)
        continue;
    g = start_waiter(&w);
    CHECK_OK(pthread_create(&thread, NULL, close_number, NULL));
    block_ns(MS(30));
    CHECK_OK(gmp_join(spawn(block_until_let_go, NULL)));
    while (recv(w.e.in, block, sizeof block, 0) > 0)
        continue;
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(w.result, -EBADF);
    CHECK_OK(close(w.e.in));
    gmp_set_maxprocs(procs);
}

int test_main(int argc, char **argv)
{
    echoes_are_whole();
    gmp_join(spawn(the_end_comes_behind_data, NULL));
    gmp_join(spawn(a_half_is_closed, NULL));
    gmp_join(spawn(marks_hide_nothing, NULL));
    gmp_join(spawn(own_numbers_are_used_again, NULL));
    others_use_the_number(NULL);
    who_waits_is_told(NULL);
    waits_end();
    gmp_join(spawn(deadlines_let_try, NULL));
    two_readers_miss_nothing(NULL);
    a_close_lingers();
    return 0;
}
