/* Two programs about trees: binary-trees of the Benchmarks Game, and GCBench by
 * Ellis, Kovac and Boehm. */
#include "heap.h"

static void report_times(int64_t wall, int64_t cpu)
{
    report("cpu_s", (double)(cpu_ns() - cpu) / 1e9);
    report("s", (double)(clock_ns() - wall) / 1e9);
    struct pauses p = pauses_so_far();
    if (p.n > 0) {
        report("pause_ms", p.total_ms / (double)p.n);
        report("longest_ms", p.longest_ms);
    }
}

struct node {
    struct node *left, *right;
};

static struct node *bottom_up(long depth)
{
    struct node *node = heap_alloc(sizeof *node);
    if (depth > 0) {
        node->left = bottom_up(depth - 1);
        node->right = bottom_up(depth - 1);
    }
    return node;
}

/* How many nodes the tree has, which is dropped. */
static long count(struct node *node)
{
    long n = 1;
    if (node->left != NULL)
        n += count(node->left) + count(node->right);
    drop(node);
    return n;
}

static void trees_of(long worker)
{
    (void)worker;
    for (long depth = 4; depth <= opt.n; depth += 2)
        for (long i = (1L << (opt.n - depth + 4)) / opt.workers; i > 0; i--)
            check(count(bottom_up(depth)) == (2L << depth) - 1, "nodes");
}

/* Each worker has its part of the trees of each depth. */
void trees(void)
{
    int64_t wall = clock_ns(), cpu = cpu_ns();
    check(count(bottom_up(opt.n + 1)) == (4L << opt.n) - 1, "nodes");
    struct node *volatile long_lived = bottom_up(opt.n);
    if (opt.workers == 1)
        trees_of(0);
    else
        in_parallel(opt.workers, trees_of);
    check(count(long_lived) == (2L << opt.n) - 1, "nodes that live long");
    report_times(wall, cpu);
}

struct gcnode {
    struct gcnode *left, *right;
    int i, j;
};

static struct gcnode *make(long depth)
{
    struct gcnode *left = NULL, *right = NULL;
    if (depth > 0) {
        left = make(depth - 1);
        right = make(depth - 1);
    }
    struct gcnode *node = heap_alloc(sizeof *node);
    node->left = left;
    node->right = right;
    return node;
}

static void populate(long depth, struct gcnode *node)
{
    if (depth <= 0)
        return;
    node->left = heap_alloc(sizeof *node);
    node->right = heap_alloc(sizeof *node);
    populate(depth - 1, node->left);
    populate(depth - 1, node->right);
}

static long drop_tree(struct gcnode *node)
{
    long n = 1;
    if (node->left != NULL)
        n += drop_tree(node->left) + drop_tree(node->right);
    drop(node);
    return n;
}

static long size_of_tree(long depth)
{
    return (2L << depth) - 1;
}

static void construct(long depth)
{
    long trees_of_depth = 2 * size_of_tree(opt.n + 2) / size_of_tree(depth);
    for (long i = 0; i < trees_of_depth; i++) {
        struct gcnode *node = heap_alloc(sizeof *node);
        populate(depth, node);
        if (!COLLECTS)
            drop_tree(node);
    }
    for (long i = 0; i < trees_of_depth; i++) {
        struct gcnode *volatile node = make(depth);
        if (!COLLECTS)
            drop_tree(node);
    }
}

/* In a frame of its own, so that no word in that of gcbench keeps the tree. */
static __attribute__((noinline)) void stretch(void)
{
    struct gcnode *volatile node = make(opt.n + 2);
    if (!COLLECTS)
        drop_tree(node);
    node = NULL;
}

/* With the deepest tree of 18, and one of 20 at first. */
void gcbench(void)
{
    enum { ARRAY = 500000 };
    int64_t wall = clock_ns(), cpu = cpu_ns();
    stretch();
    struct gcnode *volatile long_lived = heap_alloc(sizeof(struct gcnode));
    populate(opt.n, long_lived);
    double *volatile array = heap_noscan(ARRAY * sizeof(double));
    for (int i = 0; i < ARRAY; i++)
        array[i] = 1.0 / (i + 1);
    for (long depth = 4; depth <= opt.n; depth += 2)
        construct(depth);
    check(array[1000] == 1.0 / 1001, "array");
    check(drop_tree(long_lived) == size_of_tree(opt.n), "nodes");
    report_times(wall, cpu);
}
