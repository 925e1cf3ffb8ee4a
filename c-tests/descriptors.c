/* The library's own descriptors: never 0, 1 or 2; and where the host closes
 * them, and puts files of its own in their place, these are left alone and the
 * library goes on with new ones. The first argument says which case. */
#include "test.h"

#include <fcntl.h>
#include <sys/epoll.h>

/* The host's: everything else that is open is the library's. */
enum { FIRST = 30, MANY = 64 };
static int data[2], spare[2];

static int64_t cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return SEC(t.tv_sec) + t.tv_nsec;
}

/* A pipe with numbers from FIRST on. */
static void high_pipe(int ends[2])
{
    int low[2];

    CHECK_OK(pipe(low));
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD, FIRST);
        CHECK(ends[i] >= FIRST);
        close(low[i]);
    }
}

/* The library's descriptors, by the kernel's list of all. */
static int ours(int numbers[MANY])
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int n = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd > 2 && fd < FIRST
            && fd != dirfd(dir) && n < MANY)
            numbers[n++] = fd;
    }
    closedir(dir);
    return n;
}

static atomic_int got;
static atomic_long result;

static void read_all(void *arg)
{
    char c;
    long r;

    while ((r = gmp_read(data[0], &c, 1)) == 1)
        atomic_fetch_add(&got, 1);
    atomic_store(&result, r);
}

/* Writes a byte, which must come through. */
static void pass(int times)
{
    for (int i = 0; i < times; i++) {
        int before = atomic_load(&got);

        CHECK_EQ(write(data[1], "x", 1), 1);
        AWAIT(atomic_load(&got) > before);
        block_ns(US(500));
    }
}

/* The end: the reader has seen what was written, and nobody has spun. */
static void finish(gmp_g *reader, int want, int64_t began, int64_t used)
{
    close(data[1]);
    CHECK_OK(gmp_join_until(reader, gmp_after_ns(SEC(20))));
    CHECK_EQ(atomic_load(&result), 0);
    CHECK_EQ(atomic_load(&got), want);
    CHECK(cpu() - used < MS(200) + (gmp_now() - began) / 2);
}

/* Started without stdin, stdout and stderr. */
static void stdio(char **argv)
{
    gmp_g *reader;
    int null;

    if (!argv[2]) {
        CHECK(fcntl(2, F_DUPFD, 100) == 100);
        for (int fd = 0; fd < 3; fd++)
            close(fd);
        execl("/proc/self/exe", argv[0], "stdio", "again", (char *)NULL);
        _exit(2);
    }
    CHECK_OK(gmp_wait_init());
    high_pipe(data);
    reader = spawn(read_all, NULL);
    pass(3);
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) != -1) {
            dup2(100, 2);
            CHECK(!"a descriptor of ours is below 3");
        }
    null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        CHECK_EQ(dup2(null, fd), fd);
    dup2(100, 2);
    pass(50);
    finish(reader, 53, gmp_now(), cpu());
}

/* All are closed, as by a daemon's start, before the library has any or
 * afterwards. */
static void closed(bool early)
{
    int64_t began, used;
    gmp_g *reader;
    char c;

    CHECK_OK(gmp_wait_init());
    if (!early) {
        CHECK_OK(pipe(spare));
        CHECK_EQ(gmp_read_until(spare[0], &c, 1, gmp_after_ns(MS(1))),
                 -ETIMEDOUT);
    }
    for (int fd = 3; fd < 100; fd++)
        close(fd);
    CHECK_OK(pipe(data));
    began = gmp_now();
    used = cpu();
    reader = spawn(read_all, NULL);
    block_ns(MS(50));
    pass(50);
    finish(reader, 50, began, used);
}

/* A file of the host's under each number that was the library's. */
static int replace(const int *numbers, int n, char *path)
{
    int file;

    strcpy(path, "/tmp/gmprt-descriptors-XXXXXX");
    file = mkstemp(path);
    CHECK(file >= 0);
    unlink(path);
    for (int i = 0; i < n; i++)
        if (numbers[i] != file)
            CHECK_EQ(dup2(file, numbers[i]), numbers[i]);
    return file;
}

/* While somebody waits, with files in their place; then the sleeper in the
 * poller that is gone must not keep a timer from anybody. */
static void pending(void)
{
    int numbers[MANY], n, file;
    int64_t began, used, late;
    gmp_g *reader;
    char path[64];

    CHECK_OK(gmp_wait_init());
    high_pipe(data);
    reader = spawn(read_all, NULL);
    pass(5);
    for (int round = 0; round < 3; round++) {
        block_ns(MS(20));
        n = ours(numbers);
        CHECK(n >= 2);
        began = gmp_now();
        used = cpu();
        file = replace(numbers, n, path);
        late = gmp_after_ns(MS(10));
        CHECK_OK(gmp_sleep_until(late));
        CHECK(gmp_now() - late < SEC(2));
        pass(20);
        for (int i = 0; i < n; i++)
            CHECK(fcntl(numbers[i], F_GETFD) != -1);
        CHECK_EQ(lseek(file, 0, SEEK_END), 0);
        CHECK_EQ(lseek(file, 0, SEEK_CUR), 0);
    }
    finish(reader, 65, began, used);
}

/* Events of an epoll instance. */
static int registered(int ep)
{
    char path[64], line[256];
    int n = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", ep);
    file = fopen(path, "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file))
        n += strncmp(line, "tfd:", 4) == 0;
    fclose(file);
    return n;
}

/* What takes their numbers is an epoll instance of the host's, which neither
 * loses an event nor gets one of the library's. */
static void epoll(void)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 7};
    int numbers[MANY], n, ep;
    gmp_g *reader;

    CHECK_OK(gmp_wait_init());
    high_pipe(data);
    high_pipe(spare);
    reader = spawn(read_all, NULL);
    pass(5);
    block_ns(MS(20));
    n = ours(numbers);
    CHECK(n >= 2);
    ep = epoll_create1(0);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, spare[0], &event));
    for (int i = 0; i < n; i++)
        CHECK_EQ(dup2(ep, numbers[i]), numbers[i]);
    CHECK_EQ(write(spare[1], "x", 1), 1);
    pass(20);
    CHECK_EQ(registered(ep), 1);
    memset(&event, 0, sizeof event);
    CHECK_EQ(epoll_wait(ep, &event, 1, 0), 1);
    CHECK_EQ(event.data.u64, 7);
    CHECK_EQ(epoll_wait(ep, &event, 1, 0), 0);
    finish(reader, 25, gmp_now(), cpu());
}

/* Their numbers are an instance of the host's, which has a file that waits know
 * by then: a wait does not change what the host has asked for. */
static void known(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7};
    static char full[1 << 20];
    int numbers[MANY], n, ep;

    CHECK_OK(gmp_wait_init());
    high_pipe(data);
    CHECK(gmp_write_until(data[1], full, sizeof full, gmp_after_ns(MS(5))) > 0);
    CHECK_EQ(gmp_write_until(data[1], full, 1, gmp_after_ns(MS(5))),
             -ETIMEDOUT);
    n = ours(numbers);
    CHECK(n >= 2);
    ep = epoll_create1(0);
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, data[1], &event));
    for (int i = 0; i < n; i++)
        CHECK_EQ(dup2(ep, numbers[i]), numbers[i]);
    block_ns(MS(50));
    CHECK_EQ(gmp_write_until(data[1], full, 1, gmp_after_ns(MS(20))),
             -ETIMEDOUT);
    close(data[0]);
    memset(&event, 0, sizeof event);
    CHECK_EQ(epoll_wait(ep, &event, 1, 1000), 1);
    CHECK_EQ(event.data.u64, 7);
}

/* With all the rest goes the file that somebody waits for, and its number is
 * another file's: the wait ends, and that file is not read from. */
static void gone(void)
{
    int number, file, other[2];
    char path[] = "/tmp/gmprt-descriptors-XXXXXX", c;
    gmp_g *reader;

    CHECK_OK(gmp_wait_init());
    high_pipe(data);
    number = data[0];
    reader = spawn(read_all, NULL);
    pass(5);
    block_ns(MS(20));
    for (int fd = 3; fd < 100; fd++)
        close(fd);
    file = mkstemp(path);
    CHECK(file >= 0);
    unlink(path);
    CHECK_EQ(write(file, "content", 7), 7);
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    CHECK_EQ(dup2(file, number), number);
    CHECK_OK(pipe(other));
    CHECK_EQ(gmp_read_until(other[0], &c, 1, gmp_after_ns(MS(20))),
             -ETIMEDOUT);
    CHECK_OK(gmp_join_until(reader, gmp_after_ns(SEC(20))));
    CHECK_EQ(atomic_load(&result), -EBADF);
    CHECK_EQ(atomic_load(&got), 5);
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 0);
}

/* There is no number for a new one: the waits end with that, and work again
 * once there is. */
static void full(void)
{
    struct rlimit limit, none;
    int numbers[MANY], n;
    gmp_g *reader;
    char c;

    CHECK_OK(gmp_wait_init());
    high_pipe(data);
    high_pipe(spare);
    reader = spawn(read_all, NULL);
    pass(5);
    block_ns(MS(20));
    n = ours(numbers);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    none = limit;
    none.rlim_cur = 0;
    for (int i = 0; i < n; i++)
        close(numbers[i]);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
    CHECK_EQ(gmp_read_until(spare[0], &c, 1, gmp_after_ns(SEC(20))), -EMFILE);
    CHECK_OK(gmp_join_until(reader, gmp_after_ns(SEC(20))));
    CHECK_EQ(atomic_load(&result), -EMFILE);
    CHECK_OK(gmp_sleep(MS(5)));
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    reader = spawn(read_all, NULL);
    pass(20);
    finish(reader, 25, gmp_now(), cpu());
}

static atomic_int hunts;

/* Has a file under each number for a moment, again and again. */
static void *hunt(void *file)
{
    while (atomic_load(&hunts))
        for (int fd = 3; fd < FIRST; fd++) {
            dup2(*(int *)file, fd);
            close(fd);
        }
    return NULL;
}

/* The host takes the library's numbers away as fast as it makes them. No
 * SIGPIPE comes of it. Waits may end with it, but the error does not blame the
 * file that they wait for. */
static void hunted(void)
{
    pthread_t hunter;
    char path[64], c;
    gmp_g *reader;
    int64_t end;
    int file;

    CHECK_OK(gmp_wait_init());
    high_pipe(data);
    high_pipe(spare);
    file = fcntl(replace(NULL, 0, path), F_DUPFD, FIRST);
    CHECK(file >= FIRST);
    atomic_store(&hunts, 1);
    CHECK_OK(pthread_create(&hunter, NULL, hunt, &file));
    end = gmp_after_ns(MS(300));
    while (gmp_now() < end) {
        long r = gmp_read_until(spare[0], &c, 1, gmp_after_ns(MS(1)));

        if (r != -EMFILE)
            CHECK_EQ(r, -ETIMEDOUT);
    }
    atomic_store(&hunts, 0);
    CHECK_OK(pthread_join(hunter, NULL));
    reader = spawn(read_all, NULL);
    pass(20);
    finish(reader, 20, gmp_now(), cpu());
}

enum { READERS = 8 };
static atomic_int read_by[READERS];

/* Reads until the end of its pipe. */
static void read_one(void *arg)
{
    int *end = arg;
    unsigned char c;
    long r;

    while ((r = gmp_read(*end, &c, 1)) == 1)
        atomic_fetch_add(&read_by[c], 1);
    CHECK_EQ(r, 0);
}

/* Many wait in the poller that is gone, and come to the new one at the same
 * time: none of them hears of an error. */
static void many(void)
{
    int ends[READERS][2], numbers[MANY];
    gmp_g *readers[READERS];

    CHECK_OK(gmp_wait_init());
    for (int i = 0; i < READERS; i++) {
        high_pipe(ends[i]);
        readers[i] = spawn(read_one, ends[i]);
    }
    for (int round = 0; round < 200; round++) {
        int n = ours(numbers);

        for (int i = 0; i < n; i++)
            close(numbers[i]);
        for (unsigned char c = 0; c < READERS; c++)
            CHECK_EQ(write(ends[c][1], &c, 1), 1);
        for (int i = 0; i < READERS; i++)
            AWAIT(atomic_load(&read_by[i]) > round);
    }
    for (int i = 0; i < READERS; i++) {
        close(ends[i][1]);
        CHECK_OK(gmp_join_until(readers[i], gmp_after_ns(SEC(20))));
    }
}

static void block(void *arg)
{
    char c;

    CHECK_EQ(read(data[0], &c, 1), 1);
}

static void nothing(void *arg)
{
}

/* sysmon looks at a thread that blocks through a file of /proc, which it
 * keeps: not once the number is the host's. */
static void sysmon(void)
{
    int numbers[MANY], n = 0, file = -1;
    char path[64];

    CHECK_OK(gmp_wait_init());
    CHECK(gmp_set_maxprocs(1) >= 0);
    high_pipe(data);
    for (int round = 0; round < 20; round++) {
        gmp_g *blocker = spawn(block, NULL);

        block_ns(MS(2));
        CHECK_OK(gmp_join_until(spawn(nothing, NULL), gmp_after_ns(SEC(20))));
        if (round == 5) {
            n = ours(numbers);
            CHECK(n >= 1);
            file = replace(numbers, n, path);
        }
        CHECK_EQ(write(data[1], "x", 1), 1);
        CHECK_OK(gmp_join_until(blocker, gmp_after_ns(SEC(20))));
    }
    for (int i = 0; i < n; i++)
        CHECK(fcntl(numbers[i], F_GETFD) != -1);
    CHECK_EQ(lseek(file, 0, SEEK_END), 0);
}

int test_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "stdio") == 0)
        stdio(argv);
    else if (strcmp(name, "closed") == 0)
        closed(false);
    else if (strcmp(name, "early") == 0)
        closed(true);
    else if (strcmp(name, "pending") == 0)
        pending();
    else if (strcmp(name, "epoll") == 0)
        epoll();
    else if (strcmp(name, "known") == 0)
        known();
    else if (strcmp(name, "gone") == 0)
        gone();
    else if (strcmp(name, "full") == 0)
        full();
    else if (strcmp(name, "hunted") == 0)
        hunted();
    else if (strcmp(name, "many") == 0)
        many();
    else if (strcmp(name, "sysmon") == 0)
        sysmon();
    else
        return 2;
    return 0;
}
