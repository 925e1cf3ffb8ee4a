/* A collection of a heap in which everything lives. */
#include "heap.h"

static void *volatile root;

/* CPU ms of a collection: the least of four. */
static void measure_mark(void)
{
    collect_by_itself(true);
    int64_t least = INT64_MAX;
    for (int i = 0; i < 4; i++) {
        int64_t start = cpu_ns();
        collect();
        int64_t took = cpu_ns() - start;
        least = took < least ? took : least;
    }
    report("cpu_ms", (double)least / 1e6);
    check(root != NULL, "root");
}

static void **tree(long depth)
{
    void **node = heap_alloc(2 * sizeof *node);
    if (depth > 0) {
        node[0] = tree(depth - 1);
        node[1] = tree(depth - 1);
    }
    return node;
}

/* Nodes of 16 bytes: a tree of depth opt.n. */
void mark_nodes(void)
{
    collect_by_itself(false);
    root = tree(opt.n);
    measure_mark();
}

/* opt.n objects of opt.g bytes, with so many random edges each, and an array
 * of all. */
static void graph(int edges)
{
    collect_by_itself(false);
    void ***all = heap_alloc((size_t)opt.n * sizeof *all);
    root = all;
    for (long i = 0; i < opt.n; i++)
        all[i] = heap_alloc((size_t)opt.g);
    uint64_t random = 1;
    for (long i = 0; i < opt.n; i++)
        for (int e = 0; e < edges; e++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            all[i][e] = all[(random >> 33) % (uint64_t)opt.n];
        }
    measure_mark();
}

void mark_random(void)
{
    graph(5);
}

void mark_records(void)
{
    graph(2);
}
