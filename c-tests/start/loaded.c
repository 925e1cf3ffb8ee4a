/* A program that loads the library and asks nothing of it but whether it is
 * up: it has two threads more, by their names. */
#include "../test.h"

enum { NAME_LENGTH = 17 };

static void read_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "r");

    CHECK(file != NULL);
    CHECK(fgets(line, size, file) != NULL);
    line[strcspn(line, "\n")] = '\0';
    fclose(file);
}

/* How many threads have this name. */
static int count_named(const char *name)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    int n = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        char path[300], comm[NAME_LENGTH];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        read_line(path, comm, sizeof comm);
        n += strcmp(comm, name) == 0;
    }
    closedir(dir);
    return n;
}

int test_main(int argc, char **argv)
{
    CHECK_OK(gmp_wait_init());
    block_ns(MS(50));
    CHECK_EQ(count_threads(), 3);
    /* A thread has its maker's name until it runs for the first time. */
    for (int i = 0; i < 500 && count_named("gmprt-sysmon") == 0; i++)
        block_ns(MS(10));
    CHECK_EQ(count_named("gmprt-m0"), 1);
    CHECK_EQ(count_named("gmprt-sysmon"), 1);
    return 0;
}
