/* Host threads on stacks that the library knows nothing of: collections stop
 * them, and keep what their own stacks have, and what the other stack has that
 * runs. The stacks lie below the threads' own, and above some of them. */
#include "shadow.h"

#include <sys/mman.h>
#include <ucontext.h>

enum { STACKS = 4, SIZE = 256 << 10, MAGIC = 0x5eed };

enum how { COLLECTS, ALLOCATES, WAITS, COMPUTES, WAYS };

/* In memory of malloc, as registers that are saved there keep nothing. */
struct switched {
    ucontext_t back, other;
    enum how how;
};

static gmp_chan *go_on;
static atomic_bool begun, stop;

static void *new_object(void)
{
    uint64_t *p = gmp_gc_alloc(64);

    CHECK(p != NULL);
    p[0] = MAGIC;
    return p;
}

/* Changes what is dead, if a collection has freed it. */
static void overwrite(int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t *p = gmp_gc_alloc(64);

        CHECK(p != NULL);
        memset(p, 0xee, 64);
    }
}

static void on_other_stack(unsigned low, unsigned high)
{
    struct switched *s =
        (struct switched *)((uintptr_t)high << 32 | (uintptr_t)low);
    uint64_t *volatile mine = new_object();
    long n;

    atomic_store(&begun, true);
    switch (s->how) {
    case COLLECTS:
        CHECK_OK(gmp_gc());
        overwrite(gc_stressed() ? 20 : 1000);
        break;
    case ALLOCATES:
        overwrite(gc_stressed() ? 20 : 200000);
        break;
    case WAITS:
        CHECK_OK(gmp_chan_recv(go_on, &n));
        break;
    case COMPUTES:
        while (!atomic_load(&stop))
            continue;
        break;
    default:
        break;
    }
    CHECK_EQ(mine[0], MAGIC);
    swapcontext(&s->other, &s->back);
}

static __attribute__((noinline)) void switch_to(char *stack, enum how how)
{
    uint64_t *volatile mine = new_object();
    struct switched *s = calloc(1, sizeof *s);

    CHECK(s != NULL);
    s->how = how;
    CHECK_OK(getcontext(&s->other));
    s->other.uc_stack.ss_sp = stack;
    s->other.uc_stack.ss_size = SIZE;
    makecontext(&s->other, (void (*)(void))on_other_stack, 2,
                (unsigned)(uintptr_t)s, (unsigned)((uintptr_t)s >> 32));
    CHECK_OK(swapcontext(&s->back, &s->other));
    CHECK_EQ(mine[0], MAGIC);
    free(s);
}

static void *collects(void *arg)
{
    enum how how = *(enum how *)arg;
    long n = 1;

    while (!atomic_load(&begun))
        usleep(100);
    if (how == WAITS || how == COMPUTES) {
        CHECK_OK(gmp_gc());
        overwrite(gc_stressed() ? 20 : 1000);
        CHECK_OK(gmp_gc());
    }
    if (how == WAITS)
        CHECK_OK(gmp_chan_send(go_on, &n));
    atomic_store(&stop, true);
    return NULL;
}

static void *each_way(void *stack)
{
    CHECK_OK(gmp_gc_attach());
    for (enum how how = 0; how < WAYS; how++) {
        pthread_t other;

        atomic_store(&begun, false);
        atomic_store(&stop, false);
        CHECK_OK(pthread_create(&other, NULL, collects, &how));
        switch_to(stack, how);
        CHECK_OK(pthread_join(other, NULL));
    }
    return NULL;
}

static char *new_stack(void)
{
    char *stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(stack != MAP_FAILED);
    return stack;
}

int test_main(int argc, char **argv)
{
    char *stacks[STACKS];

    (void)argc;
    (void)argv;
    go_on = gmp_chan_make(sizeof(long), 0);
    CHECK(go_on != NULL);
    for (int i = 0; i < STACKS; i += 2)
        stacks[i] = new_stack();
    each_way(stacks[0]);
    for (int i = 0; i < STACKS; i += 2) {
        pthread_t thread;

        CHECK_OK(pthread_create(&thread, NULL, each_way, stacks[i]));
        CHECK_OK(pthread_join(thread, NULL));
        stacks[i + 1] = new_stack();
        CHECK_OK(pthread_create(&thread, NULL, each_way, stacks[i + 1]));
        CHECK_OK(pthread_join(thread, NULL));
    }
    for (int i = 0; i < STACKS; i++)
        CHECK_OK(munmap(stacks[i], SIZE));
    gmp_chan_unref(go_on);
    return 0;
}
