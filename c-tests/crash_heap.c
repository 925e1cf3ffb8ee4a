/* Dies inside malloc, with the lock that malloc holds: what reports the death
 * must not allocate in this process. Or has broken the collected heap. Usage:
 * crash_heap CASE. */
#include "test.h"

void *__libc_malloc(size_t size);

static pthread_mutex_t heap = PTHREAD_MUTEX_INITIALIZER;
static atomic_int deadly;
static char *volatile nowhere;

__attribute__((noinline)) static void write_null(void)
{
    /* dies here: write_null */
    *nowhere = 1;
}

/* Stands in for the C library's, also for what the library calls. */
void *malloc(size_t size)
{
    void *block;

    pthread_mutex_lock(&heap);
    if (atomic_load(&deadly) && size == 12345)
        write_null();
    block = __libc_malloc(size);
    pthread_mutex_unlock(&heap);
    return block;
}

static void mortal(void *arg)
{
    void *volatile block;

    (void)arg;
    atomic_store(&deadly, 1);
    block = malloc(12345);
    free(block);
}

/* The list of free blocks and the end of the heap are overwritten. */
static void corrupt(void *arg)
{
    char *block = __libc_malloc(3000);

    (void)arg;
    memset(block - 64, 0xff, 64 + 3000 + 4096);
    write_null();
}

/* An object of the collected heap is written to once it was freed: the first
 * word, the second, or both. */
static void written(const char *which)
{
    long *old = gmp_gc_alloc_noscan(64), *volatile p = old;

    /* The span in use keeps no list of its objects. */
    for (int i = 0; i < 1000; i++)
        CHECK(gmp_gc_alloc_noscan(64) != NULL);
    CHECK_OK(gmp_gc_free(old));
    if (strcmp(which, "second") != 0)
        p[0] = 4711;
    if (strcmp(which, "first") != 0)
        p[1] = 4711;
    gmp_gc();
    for (int i = 0; i < 1000; i++)
        CHECK(gmp_gc_alloc_noscan(64) != NULL);
}

/* The program keeps an object by a pointer that collections do not see. */
static void hidden(void)
{
    uintptr_t at[100];

    for (int i = 0; i < 100; i++)
        at[i] = ~(uintptr_t)gmp_gc_alloc(64);
    gmp_gc();
    for (int i = 0; i < 100; i++)
        ((long *)~at[i])[i % 8] = 4711;
    for (int i = 0; i < 1000; i++)
        CHECK(gmp_gc_alloc(64) != NULL);
}

int test_main(int argc, char **argv)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    if (argc > 1 && strncmp(argv[1], "written_", 8) == 0) {
        written(argv[1] + 8);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "hidden") == 0) {
        hidden();
        return 0;
    }
    attr.name = "mortal";
    if (argc > 1 && strcmp(argv[1], "corrupt") == 0)
        CHECK_OK(gmp_go_with(&attr, corrupt, NULL, &g));
    else
        CHECK_OK(gmp_go_with(&attr, mortal, NULL, &g));
    CHECK_OK(gmp_join(g));
    return 0;
}
