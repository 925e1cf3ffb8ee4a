/* Shared by the tests of reading and writing: connected ends, in either mode,
 * and addresses on the loopback.
 */
#ifndef GMPRT_IO_H
#define GMPRT_IO_H

#include "cases.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>

/* The kinds of connection between two ends. */
enum link { PIPE, FIFO, UNIX_STREAM, UNIX_PACKET, TCP, PTY, LINKS };

/* Two ends: bytes written to `in` are read from `out`. */
struct ends {
    int out, in;
};

static inline int get_mode(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    CHECK(flags >= 0);
    return flags;
}

static inline void set_nonblocking(int fd, bool on)
{
    int flags = get_mode(fd);

    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    CHECK_OK(fcntl(fd, F_SETFL, flags));
}

/* Whether an epoll instance of the process watches the file fd: somebody waits
 * for it, or has waited. */
static inline bool is_watched(int fd)
{
    DIR *dir = opendir("/proc/self/fdinfo");
    struct dirent *entry;
    struct stat stat;
    bool found = false;

    CHECK(dir != NULL);
    CHECK_OK(fstat(fd, &stat));
    while (!found && (entry = readdir(dir)) != NULL) {
        char path[300], line[200];
        unsigned long inode;
        FILE *file;
        int target;

        snprintf(path, sizeof path, "/proc/self/fdinfo/%s", entry->d_name);
        file = fopen(path, "r"); /* NULL: "..", or closed meanwhile */
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "tfd: %d events: %*x data: %*x pos:%*d ino:%lx",
                       &target, &inode) == 2
                && target == fd && inode == stat.st_ino)
                found = true;
        if (file)
            fclose(file);
    }
    closedir(dir);
    return found;
}

static inline struct sockaddr_in loopback(void)
{
    struct sockaddr_in address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* A socket of a type on a free port of the loopback, and its address. */
static inline int bind_loopback(int type, struct sockaddr_in *address)
{
    int fd = socket(AF_INET, type, 0);
    socklen_t len = sizeof *address;

    CHECK(fd >= 0);
    *address = loopback();
    CHECK_OK(bind(fd, (struct sockaddr *)address, len));
    CHECK_OK(getsockname(fd, (struct sockaddr *)address, &len));
    return fd;
}

static inline int listen_loopback(int backlog, struct sockaddr_in *address)
{
    int fd = bind_loopback(SOCK_STREAM, address);

    CHECK_OK(listen(fd, backlog));
    return fd;
}

/* A TCP connection made without the library, for comparison. */
static inline struct ends tcp_ends(void)
{
    struct sockaddr_in address;
    int listener = listen_loopback(1, &address);
    struct ends e;

    e.in = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(connect(e.in, (struct sockaddr *)&address, sizeof address));
    e.out = accept(listener, NULL, NULL);
    CHECK(e.out >= 0);
    CHECK_OK(close(listener));
    return e;
}

/* A terminal in raw mode: bytes written to the master are its input. */
static inline struct ends pty_ends(void)
{
    struct termios mode;
    struct ends e;

    e.in = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(e.in >= 0);
    CHECK_OK(grantpt(e.in));
    CHECK_OK(unlockpt(e.in));
    e.out = open(ptsname(e.in), O_RDWR | O_NOCTTY);
    CHECK(e.out >= 0);
    CHECK_OK(tcgetattr(e.out, &mode));
    cfmakeraw(&mode);
    CHECK_OK(tcsetattr(e.out, TCSANOW, &mode));
    return e;
}

/* The number of links: all, or without the last one if the machine has no
 * terminals (/dev/pts). */
static inline int links(void)
{
    static atomic_int known;
    int n = atomic_load(&known), terminal;

    if (n != 0)
        return n;
    terminal = posix_openpt(O_RDWR | O_NOCTTY);
    n = terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0 &&
                access(ptsname(terminal), R_OK | W_OK) == 0
            ? LINKS : PTY;
    if (terminal >= 0)
        CHECK_OK(close(terminal));
    if (n == PTY)
        test_skip("terminals", "this machine has no /dev/pts");
    atomic_store(&known, n);
    return n;
}

static inline struct ends fifo_ends(void)
{
    static atomic_int number;
    struct ends e;
    char path[64];

    snprintf(path, sizeof path, "/tmp/gmprt-io-%d-%d", (int)getpid(),
             atomic_fetch_add(&number, 1));
    CHECK_OK(mkfifo(path, 0600));
    e.out = open(path, O_RDONLY | O_NONBLOCK);
    e.in = open(path, O_WRONLY | O_NONBLOCK);
    CHECK(e.out >= 0 && e.in >= 0);
    CHECK_OK(unlink(path));
    return e;
}

static inline struct ends make_ends(enum link link, bool nonblocking)
{
    struct ends e = {-1, -1};
    int fds[2] = {-1, -1};

    if (link == PIPE)
        CHECK_OK(pipe(fds));
    else if (link == UNIX_STREAM)
        CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    else if (link == UNIX_PACKET)
        CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
    else
        e = link == TCP ? tcp_ends() : link == PTY ? pty_ends() : fifo_ends();
    if (fds[0] >= 0)
        e = (struct ends){fds[0], fds[1]};
    set_nonblocking(e.out, nonblocking);
    set_nonblocking(e.in, nonblocking);
    return e;
}

static inline void close_ends(struct ends *e)
{
    CHECK_OK(gmp_close(e->out));
    CHECK_OK(gmp_close(e->in));
}

/* Makes the buffers between two ends small, but not so small that TCP waits for
 * its timers. */
static inline void make_narrow(enum link link, const struct ends *e)
{
    int small = link == TCP ? 65536 : 4096;

    if (link == PIPE || link == FIFO)
        CHECK(fcntl(e->in, F_SETPIPE_SZ, small) >= 0);
    if (link == PIPE || link == FIFO || link == PTY)
        return;
    CHECK_OK(setsockopt(e->in, SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
}

/* Fills the buffers between two ends until a write would wait. Returns the
 * number of bytes. */
static inline size_t fill(const struct ends *e)
{
    static const char zeros[1024];
    size_t total = 0;
    ssize_t n;

    while ((n = gmp_write_until(e->in, zeros, sizeof zeros, 0)) > 0)
        total += (size_t)n;
    CHECK_EQ(n, -ETIMEDOUT);
    return total;
}

/* The byte at a position of a long stream. */
static inline unsigned char byte_at(size_t place)
{
    return (unsigned char)((place * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

/* Runs fn(arg) on a host thread and on a goroutine. */
static inline void on_both(gmp_fn fn, void *arg)
{
    fn(arg);
    CHECK_OK(gmp_join(spawn(fn, arg)));
}

/* Goroutines that read from the same end. */
struct crowd {
    struct ends e;
    atomic_int bytes, ended;
};

static inline void read_to_the_end(void *arg)
{
    struct crowd *c = arg;
    char text[8];
    ssize_t n;

    while ((n = gmp_read(c->e.out, text, sizeof text)) > 0)
        atomic_fetch_add(&c->bytes, (int)n);
    CHECK_EQ(n, 0);
    atomic_fetch_add(&c->ended, 1);
}

#endif
