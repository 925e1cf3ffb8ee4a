/* A prefork server: the parent warms up with goroutines, then forks; each child
 * serves on the one listening socket, with goroutines of its own, and ends when
 * the parent closes its end of a pipe.
 *
 *     prefork [CHILDREN [REQUESTS]]
 */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <sys/un.h>

enum { WORDS = 64, WORD = 16 };

static char table[WORDS][WORD]; /* what the warm-up makes */
static int listener, ends[2], answers, wrong;

static void fill(void *arg)
{
    char(*slot)[WORD] = arg;
    snprintf(*slot, WORD, "word %d", (int)(slot - table));
}

static void warm_up(void)
{
    gmp_g *made[WORDS];
    for (int i = 0; i < WORDS; i++)
        if (gmp_go_with(NULL, fill, &table[i], &made[i]) != 0)
            exit(1);
    for (int i = 0; i < WORDS; i++)
        gmp_join(made[i]);
}

/* One request is one byte, the answer a word of the table. */
static void serve(void *arg)
{
    int fd = (int)(long)arg;
    unsigned char which;
    if (gmp_read(fd, &which, 1) == 1)
        gmp_write_all(fd, table[which % WORDS], WORD);
    gmp_close(fd);
}

static void accepts(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = gmp_accept(listener, NULL, NULL);
        if (fd < 0)
            return;
        if (gmp_go(serve, (void *)(long)fd) != 0)
            gmp_close(fd);
    }
}

static void child(void)
{
    char none;
    close(ends[1]);
    if (gmp_go(accepts, NULL) != 0)
        exit(1);
    while (gmp_read(ends[0], &none, 1) > 0)
        ;
    exit(0);
}

static void ask(void *arg)
{
    unsigned char which = (unsigned char)(long)arg;
    char answer[WORD];
    const char *path = getenv("PREFORK_SOCKET");
    int fd = gmp_dial("unix", path);
    int right = fd >= 0 && gmp_write(fd, &which, 1) == 1 &&
                gmp_read_full(fd, answer, WORD) == WORD &&
                strcmp(answer, table[which % WORDS]) == 0;
    __atomic_fetch_add(right ? &answers : &wrong, 1, __ATOMIC_RELAXED);
    if (fd >= 0)
        gmp_close(fd);
}

int main(int argc, char **argv)
{
    int children = argc > 1 ? atoi(argv[1]) : 8;
    int requests = argc > 2 ? atoi(argv[2]) : 400;
    char path[] = "/tmp/prefork-XXXXXX", socket[64];
    gmp_g *asking[16];
    int well = 0;

    if (mkdtemp(path) == NULL || pipe(ends) != 0)
        return 1;
    snprintf(socket, sizeof socket, "%s/socket", path);
    setenv("PREFORK_SOCKET", socket, 1);
    warm_up();
    listener = gmp_listen("unix", socket);
    if (listener < 0)
        return 1;
    for (int i = 0; i < children; i++)
        if (fork() == 0)
            child();
    close(ends[0]);
    for (long i = 0; i < requests; i += 16) {
        for (long j = 0; j < 16; j++)
            if (gmp_go_with(NULL, ask, (void *)(i + j), &asking[j]) != 0)
                return 1;
        for (long j = 0; j < 16; j++)
            gmp_join(asking[j]);
    }
    close(ends[1]);
    for (int i = 0; i < children; i++) {
        int status;
        well += gmp_waitpid(-1, &status, 0) > 0 && status == 0;
    }
    unlink(socket);
    rmdir(path);
    printf("%d children, %d right answers, %d wrong\n", well, answers, wrong);
    return 0;
}
