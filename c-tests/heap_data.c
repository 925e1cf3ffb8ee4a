/* Data of a program as roots: a pointer anywhere in them keeps its object, and
 * collections make no page of what the program has not touched. */
#include "test.h"

#include <fcntl.h>

enum { PAGE = 4096, PAGES = 50000, KEPT = 300 };

static _Alignas(PAGE) uint64_t *data[PAGES][PAGE / sizeof(uint64_t *)];
enum { WORDS = PAGE / sizeof(uint64_t *) };

/* How many pages of `data` the process has; 0 where nothing tells. */
static long present(void)
{
    static uint64_t entries[PAGES];
    const off_t at = (off_t)((uintptr_t)data / PAGE * sizeof *entries);
    const int fd = open("/proc/self/pagemap", O_RDONLY);
    long all = 0;

    if (fd < 0) {
        test_skip("pages", "no /proc/self/pagemap");
        return 0;
    }
    CHECK_EQ(pread(fd, entries, sizeof entries, at), sizeof entries);
    CHECK_OK(close(fd));
    for (int i = 0; i < PAGES; i++)
        all += entries[i] >> 62 != 0;
    return all;
}

/* The place of pointer `i`: the ends of the data, and further and further
 * apart. */
static uint64_t **place(long i)
{
    if (i == 0)
        return &data[0][0];
    if (i == 1)
        return &data[PAGES - 1][WORDS - 1];
    return &data[i * i / 2][(size_t)i * 37 % WORDS];
}

/* Has each object that was freed come back with other contents. */
static void overwrite(void)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t *it = gmp_gc_alloc(64);

        CHECK(it != NULL);
        *it = UINT64_MAX;
    }
}

int test_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    CHECK_OK(gmp_gc());
    CHECK_OK(gmp_gc());
    CHECK_EQ(present(), 0);

    for (uint64_t i = 0; i < KEPT; i++) {
        *place((long)i) = gmp_gc_alloc(64);
        CHECK(*place((long)i) != NULL);
        **place((long)i) = i;
    }
    overwrite();
    CHECK_OK(gmp_gc());
    overwrite();
    for (uint64_t i = 0; i < KEPT; i++)
        CHECK_EQ(**place((long)i), i);
    /* What lies between two that are near is read with them. */
    CHECK(present() < PAGES / 20);
    return 0;
}
