/* What the machine allows: an operation without any scheduler around it.
 *
 *     raw OPERATION 1 [n=ROUNDS]
 */
#include "raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MISSING = 77 };

static const struct {
    const char *name;
    void (*run)(long n);
    long n;
} operations[] = {
#ifdef __x86_64__
    {"yield2", yield2, 50000000},
    {"pingpong", pingpong, 20000000},
#endif
    {"echo_server", echo_server, 0},
    {"fork", fork_parked, 300},
};

int main(int argc, char **argv)
{
    const char *name = argc < 3 ? "" : argv[1];
    if (argc < 3 || strcmp(argv[2], "1") != 0)
        return MISSING;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(operations[i].name, name) != 0)
            continue;
        long n = operations[i].n;
        for (int k = 3; k < argc; k++)
            if (strncmp(argv[k], "n=", 2) == 0)
                n = atol(argv[k] + 2);
        operations[i].run(n);
        return 0;
    }
    return MISSING;
}
