/* gmp_dial of a name with several addresses: who is tried when, who wins, and
 * that nothing is left of the others.
 *
 * The resolver is the program's own: a name is the list of its addresses. On
 * one port, some of them answer, some refuse, and some say nothing: there a
 * socket listens whose queue is full. */
#include "io.h"

#include <netdb.h>
#include <poll.h>

enum { CLOSE_CALLS = 500 };

#define DELAY MS(250) /* after which the next one is tried */

/* What listens, by the last byte of an IPv4 address; and on [::1]. */
enum { ANSWERS = 2, ANSWERS_TOO, SILENT, SILENT_TOO, IPV6, DOORS };

#define TWO_SILENT "127.0.0.4,127.0.0.5"

static int doors[DOORS]; /* negative: no IPv6 here */
static int fillers[DOORS];
static int port;

/* --- The resolver --- */

static atomic_int asked, answered, lists;
static atomic_bool slow;

static struct addrinfo *entry(const char *text, const char *service)
{
    struct addrinfo *info = calloc(1, sizeof *info);
    struct sockaddr_in6 *v6 = calloc(1, sizeof *v6);
    struct sockaddr_in *v4 = (struct sockaddr_in *)v6;
    in_port_t number = htons((in_port_t)atoi(service));

    CHECK(info != NULL && v6 != NULL);
    info->ai_socktype = SOCK_STREAM;
    info->ai_addr = (struct sockaddr *)v6;
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = number;
        info->ai_addrlen = sizeof *v6;
    } else {
        CHECK_EQ(inet_pton(AF_INET, text, &v4->sin_addr), 1);
        v4->sin_family = AF_INET;
        v4->sin_port = number;
        info->ai_addrlen = sizeof *v4;
    }
    info->ai_family = info->ai_addr->sa_family;
    return info;
}

/* A name that is a number is the error that it gives. */
int getaddrinfo(const char *node, const char *service,
                const struct addrinfo *hints, struct addrinfo **list)
{
    char *names = strdup(node), *rest;
    int error = strpbrk(names, ".:") ? 0 : atoi(names);

    atomic_fetch_add(&asked, 1);
    while (atomic_load(&slow))
        block_ns(US(200));
    for (char *name = strtok_r(names, ",", &rest); name && error == 0;
         name = strtok_r(NULL, ",", &rest)) {
        *list = entry(name, service);
        list = &(*list)->ai_next;
    }
    free(names);
    atomic_fetch_add(&lists, error == 0);
    atomic_fetch_add(&answered, 1);
    errno = EMFILE; /* for EAI_SYSTEM */
    return error;
}

void freeaddrinfo(struct addrinfo *list)
{
    struct addrinfo *next;

    atomic_fetch_sub(&lists, 1);
    for (; list; list = next) {
        next = list->ai_next;
        free(list->ai_addr);
        free(list);
    }
}

/* --- The network --- */

static atomic_bool tied;
static atomic_int through;

/* Of two that are tied, nobody hears that it is through before both are. */
int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    struct pollfd done = {.fd = fd, .events = POLLOUT};
    int result = (int)syscall(SYS_connect, fd, to, len);

    if (!atomic_load(&tied))
        return result;
    CHECK_EQ(poll(&done, 1, -1), 1);
    atomic_fetch_add(&through, 1);
    while (atomic_load(&through) < 2)
        block_ns(US(200));
    return 0;
}

/* --- Who is dialled --- */

/* Listens at an address and the port (0: any), or says why not. */
static int open_door(const char *host, int at_port, int backlog)
{
    char number[16];
    struct addrinfo *info;
    int fd, on = 1, result;

    snprintf(number, sizeof number, "%d", at_port);
    CHECK_OK(getaddrinfo(host, number, NULL, &info));
    result = fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd >= 0 && info->ai_family == AF_INET6)
        CHECK_OK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    if (fd < 0 || bind(fd, info->ai_addr, info->ai_addrlen) != 0 ||
        listen(fd, backlog) != 0) {
        result = -errno;
        close(fd);
    }
    freeaddrinfo(info);
    return result;
}

static int port_of(int fd)
{
    struct sockaddr_in6 address;
    socklen_t len = sizeof address;

    CHECK_OK(getsockname(fd, (struct sockaddr *)&address, &len));
    return ntohs(address.sin6_port); /* IPv4 has it in the same place */
}

static void await_one(int door)
{
    struct pollfd waiting = {.fd = door, .events = POLLIN};

    CHECK_EQ(poll(&waiting, 1, -1), 1);
}

/* Fills the queue of a door whose backlog is 0: it has room for one. */
static int fill_door(int door)
{
    struct sockaddr_in6 address;
    socklen_t len = sizeof address;
    int fd;

    CHECK_OK(getsockname(door, (struct sockaddr *)&address, &len));
    fd = socket(address.sin6_family, SOCK_STREAM, 0);
    CHECK_OK(connect(fd, (struct sockaddr *)&address, len));
    await_one(door);
    return fd;
}

/* All doors on one port; false where it is not free everywhere. */
static bool open_doors(void)
{
    bool all = true;
    char host[32];

    port = 0;
    for (int i = ANSWERS; i < DOORS; i++) {
        snprintf(host, sizeof host, "127.0.0.%d", i);
        doors[i] = open_door(i == IPV6 ? "::1" : host, port,
                             i == SILENT || i == SILENT_TOO ? 0 : 16);
        all &= doors[i] >= 0 || (i == IPV6 && doors[i] != -EADDRINUSE);
        if (i == ANSWERS)
            port = port_of(doors[i]);
    }
    for (int i = SILENT; all && i <= SILENT_TOO; i++)
        fillers[i] = fill_door(doors[i]);
    for (int i = ANSWERS; !all && i < DOORS; i++)
        close(doors[i]);
    return all;
}

static void close_doors(void)
{
    for (int i = ANSWERS; i < DOORS; i++)
        close(doors[i]);
    for (int i = SILENT; i <= SILENT_TOO; i++)
        CHECK_OK(close(fillers[i]));
}

/* --- Dialling --- */

static int count_sockets(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    char path[300], target[16];
    int n = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        n += readlink(path, target, sizeof target) > 7 &&
             strncmp(target, "socket:", 7) == 0;
    }
    closedir(dir);
    return n;
}

static int dial(const char *names, int64_t deadline)
{
    char address[1024];

    snprintf(address, sizeof address, *names ? "[%s]:%d" : "%s:%d", names,
             port);
    return gmp_dial_until("tcp", address, deadline);
}

/* Whose door a socket is connected to. */
static int peer_of(int fd)
{
    struct sockaddr_in6 v6;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&v6;
    socklen_t len = sizeof v6;

    CHECK_OK(getpeername(fd, (struct sockaddr *)&v6, &len));
    return v6.sin6_family == AF_INET6
               ? IPV6
               : (int)(ntohl(v4->sin_addr.s_addr) & 0xff);
}

/* Dials, and checks that nothing is left of the losers. Returns the winner. */
static int winner(const char *names, int64_t *took)
{
    int before = count_sockets(), fd, who;
    int64_t begin = gmp_now();

    fd = dial(names, GMP_FOREVER);
    *took = gmp_now() - begin;
    CHECK(fd >= 0);
    CHECK_EQ(count_sockets(), before + 1);
    who = peer_of(fd);
    CHECK_OK(gmp_close(fd));
    return who;
}

/* How many have come. */
static int empty(int door)
{
    int fd, n = 0;

    while ((fd = accept(door, NULL, NULL)) >= 0) {
        CHECK_OK(close(fd));
        n++;
    }
    CHECK_EQ(errno, EAGAIN);
    return n;
}

/* The winner among those who do not wait for the clock: on a machine that
 * stood still meanwhile, once more. */
static int quick_winner(const char *names)
{
    int64_t took;

    for (;;) {
        int who = winner(names, &took);

        if (took < DELAY)
            return who;
        for (int i = ANSWERS; i < DOORS; i++)
            if (i != SILENT && i != SILENT_TOO && doors[i] >= 0)
                empty(doors[i]);
    }
}

/* Dials in vain. */
static void lose(const char *names, int64_t deadline, int why)
{
    int before = count_sockets();

    CHECK_EQ(dial(names, deadline), why);
    CHECK(why != -ETIMEDOUT || gmp_now() >= deadline);
    CHECK_EQ(count_sockets(), before);
}

/* --- The cases --- */

static void silence_is_overtaken(void *arg)
{
    int64_t took;

    CHECK_EQ(winner(TWO_SILENT ",127.0.0.2", &took), ANSWERS);
    CHECK(took >= 2 * DELAY && took < 20 * DELAY);
    await_one(doors[ANSWERS]);
    CHECK_EQ(empty(doors[ANSWERS]), 1);
}

static void ties_have_one_winner(void *arg)
{
    int64_t took;
    int who;

    atomic_store(&through, 0);
    atomic_store(&tied, true);
    who = winner("127.0.0.2,127.0.0.3", &took);
    atomic_store(&tied, false);
    CHECK(who == ANSWERS || who == ANSWERS_TOO);
    CHECK_EQ(atomic_load(&through), 2);
    CHECK_EQ(empty(doors[ANSWERS]), 1);
    CHECK_EQ(empty(doors[ANSWERS_TOO]), 1);
}

/* So many that with a delay for each it takes ten seconds. */
static void refusals_take_no_time(void *arg)
{
    char names[800];
    size_t len = 0;
    int64_t took;

    for (int i = 1; i <= 40; i++)
        len += (size_t)snprintf(names + len, sizeof names - len,
                                "127.0.1.%d,", i);
    snprintf(names + len, sizeof names - len, "127.0.0.2");
    CHECK_EQ(winner(names, &took), ANSWERS);
    CHECK(took < 20 * DELAY);
    await_one(doors[ANSWERS]);
    CHECK_EQ(empty(doors[ANSWERS]), 1);
    names[len - 1] = '\0'; /* all but the last */
    lose(names, GMP_FOREVER, -ECONNREFUSED);
}

/* Nobody else hears of it where the first one answers at once. */
static void one_is_enough(void *arg)
{
    CHECK_EQ(quick_winner("127.0.0.3,127.0.0.2,::1"), ANSWERS_TOO);
    await_one(doors[ANSWERS_TOO]);
    CHECK_EQ(empty(doors[ANSWERS_TOO]), 1);
    CHECK_EQ(empty(doors[ANSWERS]), 0);
    if (doors[IPV6] >= 0)
        CHECK_EQ(empty(doors[IPV6]), 0);
}

static void families_take_turns(void *arg)
{
    if (doors[IPV6] < 0) {
        test_skip("turns of IPv6 and IPv4", "this machine has no IPv6");
        return;
    }
    CHECK_EQ(quick_winner("127.0.1.1,127.0.0.2,::1"), IPV6);
    CHECK_EQ(quick_winner("127.0.0.2,127.0.0.3,::1"), ANSWERS);
    CHECK_EQ(quick_winner("::1,127.0.0.2"), IPV6);
    for (int i = ANSWERS; i < SILENT; i++)
        empty(doors[i]);
    empty(doors[IPV6]);
}

static void deadlines_end_it(void *arg)
{
    int64_t begin = gmp_now();

    lose(TWO_SILENT, 0, -ETIMEDOUT);
    for (int i = 0; i < 20; i++)
        lose("127.0.1.1," TWO_SILENT, gmp_after_ns(MS(2)), -ETIMEDOUT);
    CHECK(gmp_now() - begin < 20 * DELAY);
    lose(TWO_SILENT, gmp_after_ns(DELAY + MS(50)), -ETIMEDOUT);
}

/* Whether the deadline comes a little sooner or a little later than the
 * winner: nothing is left. */
static void deadlines_come_close(void *arg)
{
    int before = count_sockets();
    uint64_t seed = 1;

    for (int i = 0; i < CLOSE_CALLS; i++) {
        int64_t ns = US(next_random(&seed) % 200);
        int fd = dial("127.0.1.1,127.0.0.2", gmp_after_ns(ns));

        if (fd >= 0)
            CHECK_OK(gmp_close(fd));
        else
            CHECK_EQ(fd, -ETIMEDOUT);
        empty(doors[ANSWERS]);
    }
    CHECK_EQ(count_sockets(), before);
}

static void be_cancelled(void *arg)
{
    CHECK_EQ(dial(TWO_SILENT, GMP_FOREVER), -ECANCELED);
    CHECK_EQ(dial("127.0.0.2,127.0.0.3", GMP_FOREVER), -ECANCELED);
}

static int be_cancelled_with_all(void *arg)
{
    be_cancelled(arg);
    return 0;
}

/* While the first one is tried, and while both are. */
static void cancels_end_it(void *arg)
{
    gmp_group *group = gmp_group_make();
    int before = count_sockets();
    gmp_g *g;

    CHECK_OK(gmp_group_go(group, be_cancelled_with_all, NULL));
    AWAIT(count_sockets() >= before + 1);
    CHECK_OK(gmp_group_cancel(group));
    CHECK_OK(gmp_group_wait(group));
    CHECK_EQ(count_sockets(), before);
    gmp_group_free(group);

    g = spawn(be_cancelled, NULL);
    AWAIT(count_sockets() >= before + 2);
    CHECK_OK(gmp_cancel(g));
    CHECK_OK(gmp_join(g));
    CHECK_EQ(count_sockets(), before);
}

static int dial_behind_shield(void *group)
{
    int64_t took;

    CHECK_OK(gmp_shield_enter());
    CHECK_OK(gmp_group_cancel(group));
    CHECK(gmp_cancelled());
    CHECK_EQ(winner("127.0.1.1,127.0.0.2", &took), ANSWERS);
    CHECK_OK(gmp_shield_leave());
    be_cancelled(NULL);
    return 0;
}

static void shields_hold(void *arg)
{
    gmp_group *group = gmp_group_make();

    CHECK_OK(gmp_group_go(group, dial_behind_shield, group));
    CHECK_OK(gmp_group_wait(group));
    gmp_group_free(group);
    await_one(doors[ANSWERS]);
    CHECK_EQ(empty(doors[ANSWERS]), 1);
}

/* Who waits for a name goes when its time has come or it is cancelled; the
 * answer is for nobody then. */
static void names_take_their_time(void *arg)
{
    int before = atomic_load(&asked);
    gmp_g *g;

    atomic_store(&slow, true);
    lose("127.0.0.2,127.0.0.3", gmp_after_ns(MS(5)), -ETIMEDOUT);
    g = spawn(be_cancelled, NULL);
    AWAIT(atomic_load(&asked) == before + 2);
    CHECK_OK(gmp_cancel(g));
    CHECK_OK(gmp_join(g));
    atomic_store(&slow, false);
    AWAIT(atomic_load(&answered) == before + 2);
    AWAIT(atomic_load(&lists) == 0);
}

static void names_are_not_known(void *arg)
{
    static const int errors[][2] = {
        {EAI_NONAME, -ENOENT}, {EAI_SERVICE, -ENOENT}, {EAI_AGAIN, -EAGAIN},
        {EAI_FAIL, -EIO},      {EAI_MEMORY, -ENOMEM},  {EAI_SYSTEM, -EMFILE},
        {EAI_FAMILY, -EAFNOSUPPORT},
    };
    char name[16];

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        snprintf(name, sizeof name, "%d", errors[i][0]);
        lose(name, GMP_FOREVER, errors[i][1]);
    }
}

/* The machine itself has an address of each family; IPv6 is silent. */
static void this_machine(void)
{
    int silent, answers, filler;
    int64_t took;

    for (;;) {
        silent = open_door("::1", 0, 0);
        if (silent < 0) {
            test_skip("this machine by IPv6", "it has no IPv6");
            return;
        }
        port = port_of(silent);
        answers = open_door("127.0.0.1", port, 16);
        if (answers >= 0)
            break;
        CHECK_OK(close(silent));
    }
    filler = fill_door(silent);
    CHECK_EQ(winner("", &took), 1);
    CHECK(took >= DELAY);
    CHECK_OK(close(filler));
    CHECK_OK(close(silent));
    CHECK_OK(close(answers));
}

int test_main(int argc, char **argv)
{
    static const gmp_fn quick[] = {
        refusals_take_no_time, one_is_enough,         families_take_turns,
        shields_hold,          names_take_their_time, names_are_not_known,
    };

    while (!open_doors())
        continue;
    for (size_t i = 0; i < sizeof quick / sizeof *quick; i++)
        on_both(quick[i], NULL);
    CHECK_OK(gmp_join(spawn(silence_is_overtaken, NULL)));
    CHECK_OK(gmp_join(spawn(ties_have_one_winner, NULL)));
    CHECK_OK(gmp_join(spawn(deadlines_end_it, NULL)));
    cancels_end_it(NULL);
    on_both(deadlines_come_close, NULL);
    close_doors();
    this_machine();
    CHECK_EQ(atomic_load(&lists), 0);
    return 0;
}
