/* Reads after one that took all that a stream had: what they wait for, and
 * that they miss nothing of what came meanwhile or was there after all. */
#include "io.h"

static const enum link streams[] = {UNIX_STREAM, TCP};

/* Has the descriptor registered, and then drained by a short read. */
static void drain(const struct ends *e)
{
    char text[16];

    CHECK_EQ(gmp_read_until(e->out, text, sizeof text, gmp_after_ns(US(50))),
             -ETIMEDOUT);
    CHECK_EQ(gmp_write(e->in, "abc", 3), 3);
    CHECK_EQ(gmp_wait_fd(e->out, GMP_READABLE, GMP_FOREVER), GMP_READABLE);
    CHECK_EQ(gmp_read(e->out, text, sizeof text), 3);
}

/* What came between the read and the next. */
static void more_is_there_already(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct ends e = make_ends(streams[i / 2], i % 2);
        struct iovec part[2];
        char text[16];

        drain(&e);
        CHECK_EQ(gmp_write(e.in, "de", 2), 2);
        CHECK_EQ(gmp_read(e.out, text, sizeof text), 2);
        CHECK_EQ(gmp_write(e.in, "fgh", 3), 3);
        part[0] = (struct iovec){text, 1};
        part[1] = (struct iovec){text + 1, 15};
        CHECK_EQ(gmp_readv(e.out, part, 2), 3);
        CHECK_OK(memcmp(text, "fgh", 3));
        CHECK_EQ(gmp_write(e.in, "i", 1), 1);
        AWAIT(gmp_read_until(e.out, text, sizeof text, 0) == 1);
        CHECK_EQ(gmp_read_until(e.out, text, sizeof text, 0), -ETIMEDOUT);
        close_ends(&e);
    }
}

/* The end, and the end of a connection that was broken. */
static void the_end_is_told(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct ends e = make_ends(streams[i / 2], i % 2);
        struct linger hard = {.l_onoff = 1};
        bool resets = i / 2;
        char byte;

        drain(&e);
        if (resets)
            CHECK_OK(setsockopt(e.in, SOL_SOCKET, SO_LINGER, &hard,
                                sizeof hard));
        CHECK_OK(gmp_close(e.in));
        CHECK_EQ(gmp_read(e.out, &byte, 1), resets ? -ECONNRESET : 0);
        CHECK_OK(gmp_close(e.out));
    }
}

/* A read stops short of the urgent mark, and more lies behind it. */
static void urgent_data_hides_nothing(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct ends e = make_ends(TCP, i % 2);
        char text[16], urgent;
        ssize_t n = 0;

        drain(&e);
        CHECK_EQ(gmp_write(e.in, "ab", 2), 2);
        CHECK_EQ(gmp_sendto(e.in, "!", 1, MSG_OOB, NULL, 0), 1);
        if (i / 2)
            AWAIT(gmp_recvfrom(e.out, &urgent, 1, MSG_OOB, NULL, NULL) == 1);
        CHECK_EQ(gmp_write(e.in, "cd", 2), 2);
        while (n < 4) {
            ssize_t more = gmp_read(e.out, text + n, sizeof text - (size_t)n);

            CHECK(more > 0);
            n += more;
        }
        CHECK_OK(memcmp(text, "abcd", 4));
        close_ends(&e);
    }
}

/* Urgent data that nobody fetches keeps no read from waiting. */
static void urgent_data_lets_wait(void *arg)
{
    struct ends e = make_ends(TCP, false);
    char byte;

    drain(&e);
    CHECK_EQ(gmp_sendto(e.in, "!", 1, MSG_OOB, NULL, 0), 1);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(gmp_read_until(e.out, &byte, 1, gmp_after_ns(MS(2))),
                 -ETIMEDOUT);
    close_ends(&e);
}

struct duplex {
    struct ends e;
    size_t total;
};

static void write_much(void *arg)
{
    static const char zeros[1 << 16];
    struct duplex *d = arg;

    for (size_t done = 0; done < d->total; done += sizeof zeros)
        CHECK_EQ(gmp_write_all(d->e.out, zeros, sizeof zeros), sizeof zeros);
}

/* A writer waits on the other way of a socket while that is drained: it is
 * still told when there is room. */
static void a_writer_waits_besides(void *arg)
{
    static char sink[1 << 14];

    for (int i = 0; i < 8; i++) {
        struct duplex d = {make_ends(streams[i / 4], i % 2), 1 << 20};
        size_t got = 0;
        gmp_g *writer;
        char text[16];

        drain(&d.e);
        writer = spawn(write_much, &d);
        while (got < d.total) {
            ssize_t n;

            CHECK_EQ(gmp_write(d.e.in, "x", 1), 1);
            CHECK_EQ(gmp_read(d.e.out, text, sizeof text), 1);
            n = gmp_read(d.e.in, sink, sizeof sink);
            CHECK(n > 0);
            got += (size_t)n;
        }
        CHECK_EQ(got, d.total);
        CHECK_OK(gmp_join(writer));
        close_ends(&d.e);
    }
}

/* Many read what a few bytes at a time come through. */
static void a_crowd_reads_each_byte_once(void *arg)
{
    for (int i = 0; i < 4; i++) {
        struct crowd c = {.e = make_ends(streams[i / 2], i % 2)};
        gmp_g *readers[5];

        for (int k = 0; k < 5; k++)
            readers[k] = spawn(read_to_the_end, &c);
        for (int k = 0; k < 500; k++) {
            CHECK_EQ(gmp_write(c.e.in, "abc", 3), 3);
            if (k % 3)
                gmp_yield();
        }
        AWAIT(atomic_load(&c.bytes) == 1500);
        CHECK_OK(gmp_close(c.e.in));
        for (int k = 0; k < 5; k++)
            CHECK_OK(gmp_join(readers[k]));
        CHECK_EQ(atomic_load(&c.ended), 5);
        CHECK_OK(gmp_close(c.e.out));
    }
}

static void read_until_cancelled(void *arg)
{
    const struct ends *e = arg;
    char byte;

    CHECK_EQ(gmp_read(e->out, &byte, 1), -ECANCELED);
}

static void waits_end(void)
{
    for (int i = 0; i < 4; i++) {
        struct ends e = make_ends(streams[i / 2], i % 2);
        gmp_g *reader;

        drain(&e);
        reader = spawn(read_until_cancelled, &e);
        if (i % 2)
            CHECK_OK(gmp_sleep(MS(1)));
        else
            gmp_yield();
        CHECK_OK(gmp_cancel(reader));
        CHECK_OK(gmp_join(reader));
        close_ends(&e);
    }
}

int test_main(int argc, char **argv)
{
    on_both(more_is_there_already, NULL);
    on_both(the_end_is_told, NULL);
    on_both(urgent_data_hides_nothing, NULL);
    on_both(urgent_data_lets_wait, NULL);
    on_both(a_writer_waits_besides, NULL);
    on_both(a_crowd_reads_each_byte_once, NULL);
    waits_end();
    return 0;
}
