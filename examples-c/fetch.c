/* Measures a web server: starts it on a free port over a directory, fetches all
 * its files again and again with a goroutine for each connection, stops it, and
 * reports its speed.
 *
 *     fetch [-c CONNECTIONS] [-s SECONDS] HTTPD DIRECTORY
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <fts.h>
#include <gmp.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TICK_US = 10, TICKS = 100000 }; /* what latencies are counted by */
static const int64_t SECOND = 1000000000;

struct file {
    char *target; /* its path below the directory, percent-encoded */
    int64_t size;
};

static struct file *files;
static size_t file_count;
static char address[64]; /* the server's */
static int64_t end;      /* when to stop */
static pid_t server;     /* its process, while there is one */
static gmp_waitgroup clients = GMP_WAITGROUP_INIT;
static atomic_long answers, errors, bytes, latencies[TICKS];

static void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("fetch: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    if (server > 0)
        kill(server, SIGKILL);
    exit(1);
}

/* --- What to fetch ------------------------------------------------------- */

static char *encode(const char *path)
{
    char *text = malloc(3 * strlen(path) + 1), *to = text;
    if (text == NULL)
        give_up("out of memory");
    for (; *path != '\0'; path++)
        if (isalnum((unsigned char)*path) || strchr("/.-_~", *path) != NULL)
            *to++ = *path;
        else
            to += sprintf(to, "%%%02X", (unsigned char)*path);
    *to = '\0';
    return text;
}

static void list(char *directory)
{
    char *roots[] = {directory, NULL};
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *e; walk != NULL && (e = fts_read(walk)) != NULL;) {
        if (e->fts_info != FTS_F || access(e->fts_path, R_OK) != 0)
            continue;
        files = realloc(files, (file_count + 1) * sizeof *files);
        if (files == NULL)
            give_up("out of memory");
        files[file_count++] = (struct file){
            encode(e->fts_path + strlen(directory)), e->fts_statp->st_size};
    }
    if (file_count == 0)
        give_up("no files in %s", directory);
    fts_close(walk);
}

/* --- The server ---------------------------------------------------------- */

/* Starts the server; returns its output. */
static FILE *start(const char *program, const char *directory)
{
    int ends[2];
    const char *argv[] = {program, "127.0.0.1:0", directory, NULL};
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0)
        give_up("no pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    int rc = posix_spawn(&server, program, &actions, NULL, (char **)argv,
                         environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (rc != 0)
        give_up("%s: %s", program, strerror(rc));
    FILE *says = fdopen(ends[0], "r");
    if (fscanf(says, "httpd: listening on %63s", address) != 1)
        give_up("%s did not start", program);
    return says;
}

/* Stops the server. It last prints how many requests it answered, and how many
 * goroutines it had at most. */
static void stop(FILE *says, long *requests, long *goroutines)
{
    int status = 0;
    kill(server, SIGTERM);
    int said = fscanf(says, " httpd: %ld requests, %ld goroutines", requests,
                      goroutines);
    fclose(says);
    int rc = gmp_waitpid(server, &status, 0);
    if (rc < 0 || status != 0 || said != 2)
        give_up("the server did not end well: %d, %#x", rc, status);
    server = 0;
}

/* --- Clients ------------------------------------------------------------- */

/* Reads the answer to one request; true if it is the whole file `f`. */
static bool read_answer(int fd, const struct file *f, char *buf, size_t size)
{
    size_t len = 0;
    char *head_end = NULL;
    while (head_end == NULL) {
        ssize_t n = gmp_read(fd, buf + len, size - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        buf[len] = '\0';
        head_end = strstr(buf, "\r\n\r\n");
    }
    const char *length = strcasestr(buf, "\r\nContent-Length:");
    if (strncmp(buf, "HTTP/1.1 200 ", 13) != 0 || length == NULL ||
        length > head_end || strtoll(length + 17, NULL, 10) != f->size)
        return false;
    int64_t rest = f->size - (int64_t)(buf + len - (head_end + 4));
    while (rest > 0) {
        ssize_t n = gmp_read(fd, buf, rest < (int64_t)size ? (size_t)rest
                                                           : size);
        if (n <= 0)
            return false;
        rest -= n;
    }
    bytes += f->size;
    return rest == 0;
}

static bool fetch(int fd, const struct file *f)
{
    char buf[8192];
    int64_t begin = gmp_now();
    int n = snprintf(buf, sizeof buf, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                     f->target, address);
    if (n >= (int)sizeof buf || gmp_write_all(fd, buf, (size_t)n) != n ||
        !read_answer(fd, f, buf, sizeof buf))
        return false;
    int64_t tick = (gmp_now() - begin) / 1000 / TICK_US;
    latencies[tick < TICKS ? tick : TICKS - 1]++;
    answers++;
    return true;
}

static void client(void *arg)
{
    size_t next = (size_t)(uintptr_t)arg; /* they begin with different files */
    int fd = gmp_dial("tcp", address);
    bool fine = fd >= 0;
    while (fine && gmp_now() < end)
        fine = fetch(fd, &files[next++ % file_count]);
    if (!fine)
        errors++;
    if (fd >= 0)
        gmp_close(fd);
    gmp_waitgroup_done(&clients);
}

/* --- The report ---------------------------------------------------------- */

/* The latency, in milliseconds, that `share` of all requests do not exceed. */
static double within(double share)
{
    long sum = 0;
    for (int i = 0; i < TICKS; i++)
        if ((sum += latencies[i]) > 0 && (double)sum >= share * (double)answers)
            return (i + 1) * TICK_US / 1e3;
    return 0;
}

/* A number from /proc/PID/status. */
static long status_of(pid_t pid, const char *key)
{
    char path[64], line[256];
    long n = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            n = strtol(line + strlen(key), NULL, 10);
    if (f != NULL)
        fclose(f);
    return n;
}

/* A process at work. */
struct load {
    long goroutines, threads, memory; /* in KiB */
};

static struct load load_of(pid_t pid, long goroutines)
{
    return (struct load){goroutines, status_of(pid, "Threads:"),
                         status_of(pid, "VmRSS:")};
}

static void print_load(const char *who, struct load l)
{
    printf("%s: %ld goroutines on %ld threads in %.1f MB\n", who,
           l.goroutines, l.threads, (double)l.memory / 1024);
}

static void print_requests(double seconds)
{
    printf("%ld requests for %zu files in %.1f s, %ld errors\n"
           "%.0f requests and %.0f MB a second\n"
           "half take up to %.2f ms, 99 %% up to %.2f, 99.9 %% up to %.2f\n",
           (long)answers, file_count, seconds, (long)errors,
           (double)answers / seconds, (double)bytes / seconds / 1e6,
           within(0.5), within(0.99), within(0.999));
}

/* --- The program --------------------------------------------------------- */

static void run(const char *program, const char *directory, int connections,
                int seconds)
{
    FILE *says = start(program, directory);
    int64_t begin = gmp_now();
    end = begin + seconds * SECOND;
    gmp_waitgroup_add(&clients, connections);
    for (int i = 0; i < connections; i++)
        if (gmp_go(client, (void *)(uintptr_t)i) != 0)
            give_up("out of memory");
    gmp_sleep_until(end - SECOND / 10); /* now all of them are at work */
    struct load mine = load_of(getpid(), (long)gmp_num_goroutines());
    struct load its = load_of(server, 0);
    gmp_waitgroup_wait(&clients);
    double took = (double)(gmp_now() - begin) / 1e9;

    long requests;
    stop(says, &requests, &its.goroutines);
    print_requests(took);
    print_load("client", mine);
    print_load("server", its);
    if (requests != answers)
        give_up("the server counted %ld requests", requests);
}

static int fetch_all(int argc, char **argv)
{
    int connections = 500, seconds = 3;
    bool usage = false;
    for (int opt; (opt = getopt(argc, argv, "c:s:")) != -1;) {
        usage |= opt == '?';
        if (opt == 'c')
            connections = atoi(optarg);
        else if (opt == 's')
            seconds = atoi(optarg);
    }
    if (usage || optind + 2 != argc || connections < 1 || seconds < 1) {
        fprintf(stderr, "usage: %s [-c CONNECTIONS] [-s SECONDS] HTTPD "
                        "DIRECTORY\n", argv[0]);
        return 2;
    }
    list(argv[optind + 1]);
    run(argv[optind], argv[optind + 1], connections, seconds);
    for (size_t i = 0; i < file_count; i++)
        free(files[i].target);
    free(files);
    return errors == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, fetch_all);
}
