/* What is a port and what is none, and other answers that the kernel or the C
 * library would give otherwise: they cut a number off at 16 bits, and say
 * EMSGSIZE for too many vectors. */
#include "test.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

static const char *const no_ports[] = {
    "65536", "70000", "99999", "4294967376", "18446744073709551696",
    "99999999999999999999999", "-1", "+80", " 80", "80 ", "0x50", "0X50", "",
    "-", "8 0", "\t80", "!", "-http",
};

static const char *const hosts[] = {"127.0.0.1:", ":", "[::1]:", "localhost:"};

static int port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;

    CHECK_OK(getsockname(fd, (struct sockaddr *)&address, &size));
    return ntohs(address.sin_port);
}

static void refused(void *arg)
{
    char address[80];

    for (size_t i = 0; i < sizeof no_ports / sizeof *no_ports; i++)
        for (size_t k = 0; k < sizeof hosts / sizeof *hosts; k++) {
            snprintf(address, sizeof address, "%s%s", hosts[k], no_ports[i]);
            CHECK_EQ(gmp_listen("tcp", address), -EINVAL);
            CHECK_EQ(gmp_dial("tcp", address), -EINVAL);
            CHECK_EQ(gmp_dial_until("tcp", address, 0), -EINVAL);
        }
    CHECK_EQ(gmp_listen("unix", ""), -EINVAL);
    CHECK_EQ(gmp_dial("unix", ""), -EINVAL);
    CHECK_EQ(gmp_dial("tcp", "127.0.0.1:no-such-service"), -ENOENT);
}

static void taken(void *arg)
{
    int fd = gmp_listen("tcp4", "127.0.0.1:0"), other, port;
    char address[80];

    CHECK(fd >= 0);
    port = port_of(fd);
    snprintf(address, sizeof address, "127.0.0.1:%08d", port);
    other = gmp_dial("tcp", address);
    CHECK(other >= 0);
    CHECK_OK(gmp_close(other));
    /* One in the past tries once. */
    other = gmp_dial_until("tcp4", address, 0);
    CHECK(other >= 0);
    CHECK_OK(gmp_close(other));
    snprintf(address, sizeof address, ":%d", port);
    other = gmp_dial_until("tcp", address, 0);
    CHECK(other >= 0);
    CHECK_OK(gmp_close(other));
    CHECK_OK(gmp_close(fd));
}

static void too_many_vectors(void *arg)
{
    enum { MANY = 1025 };
    static struct iovec vectors[MANY];
    static char bytes[MANY];
    int pair[2], ends[2], *const both[] = {pair, ends};

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    CHECK_OK(pipe(ends));
    for (int i = 0; i < MANY; i++)
        vectors[i] = (struct iovec){bytes + i, 1};
    for (int i = 0; i < 2; i++) {
        int in = both[i][1], out = both[i][0];

        CHECK_EQ(gmp_writev(in, vectors, MANY), -EINVAL);
        CHECK_EQ(gmp_writev(in, vectors, MANY - 1), MANY - 1);
        CHECK_EQ(gmp_readv(out, vectors, MANY), -EINVAL);
        CHECK_EQ(gmp_readv(out, vectors, -1), -EINVAL);
        CHECK_EQ(gmp_readv(out, vectors, MANY - 1), MANY - 1);
        CHECK_OK(gmp_close(in));
        CHECK_OK(gmp_close(out));
    }
}

int test_main(int argc, char **argv)
{
    void (*const all[])(void *) = {refused, taken, too_many_vectors};

    for (int i = 0; i < 3; i++) {
        all[i](NULL);
        CHECK_OK(gmp_join(spawn(all[i], NULL)));
    }
    return 0;
}
