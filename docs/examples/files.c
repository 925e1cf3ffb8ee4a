/* Files: other goroutines run while the disk works. */
#include <fcntl.h>
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Writes a record at its place, and makes sure that it is on the disk. */
static int save(int fd, int64_t place, const void *record, size_t n)
{
    ssize_t written = gmp_pwrite(fd, record, n, place);

    if (written < 0)
        return (int)written;
    return gmp_fsync(fd);
}

/* Starts none of that once the deadline has passed. */
static int save_until(int fd, int64_t place, const void *record, size_t n,
                      int64_t deadline)
{
    ssize_t written = gmp_pwrite_until(fd, record, n, place, deadline);

    return written < 0 ? (int)written : gmp_fsync_until(fd, deadline);
}

static int load(int fd, int64_t place, void *record, size_t n)
{
    return gmp_pread(fd, record, n, place) == (ssize_t)n ? 0 : -EIO;
}

static int load_until(int fd, int64_t place, void *record, size_t n,
                      int64_t deadline)
{
    return gmp_pread_until(fd, record, n, place, deadline) == (ssize_t)n ? 0
                                                                         : -EIO;
}

/* Sends a file by the kernel alone: no byte passes through the program. */
static int send_file(int socket, int file, size_t n)
{
    int64_t offset = 0;

    while ((size_t)offset < n) {
        ssize_t sent = gmp_sendfile(socket, file, &offset, n - (size_t)offset);

        if (sent <= 0)
            return sent < 0 ? (int)sent : -EPIPE;
    }
    return 0;
}

static int send_file_until(int socket, int file, size_t n, int64_t deadline)
{
    int64_t offset = 0;
    ssize_t sent = gmp_sendfile_until(socket, file, &offset, n, deadline);

    return sent < 0 ? (int)sent : 0;
}

/* Moves bytes from a file into a pipe, and from there into a file. */
static ssize_t through_pipe(int from, int to, int pipe[2], size_t n)
{
    int64_t start = 0;
    ssize_t moved = gmp_splice(from, &start, pipe[1], NULL, n, 0);

    if (moved <= 0)
        return moved;
    return gmp_splice_until(pipe[0], NULL, to, NULL, (size_t)moved, 0,
                            gmp_after_ns(1000000000));
}

int main(void)
{
    char path[] = "/tmp/gmprt-files-XXXXXX", record[8] = "record", got[8];
    int64_t soon = gmp_after_ns(10000000000);
    int made = mkstemp(path), fd, again, pipes[2];

    if (made < 0 || pipe(pipes) != 0)
        return 1;
    gmp_close(made);
    fd = gmp_open(path, O_RDWR | O_CLOEXEC, 0);
    again = gmp_open_until(path, O_WRONLY | O_APPEND | O_CLOEXEC, 0, soon);
    unlink(path);
    if (fd < 0 || again < 0 || save(fd, 0, record, 8) != 0 ||
        save_until(fd, 8, record, 8, soon) != 0 || load(fd, 8, got, 8) != 0 ||
        load_until(fd, 0, got, 8, soon) != 0)
        return 1;
    if (send_file(pipes[1], fd, 16) != 0 ||
        send_file_until(pipes[1], fd, 16, soon) != 0 ||
        gmp_read_full(pipes[0], (char[32]){0}, 32) != 32)
        return 1;
    gmp_close(again);
    again = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (through_pipe(fd, again, pipes, 16) != 16)
        return 1;
    printf("%s\n", got);
    gmp_close(again);
    return gmp_close(fd);
}
