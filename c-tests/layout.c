/* gmp_debug_layout: each thing that a reader outside asks of a goroutine, an M
 * and a P is where the table says, with the value that it has. */
#include "test.h"

struct entry {
    char name[24];
    uint64_t value;
};

extern const struct layout {
    char magic[8];
    uint32_t version, count;
    struct entry entries[];
} gmp_debug_layout;

static uint64_t at(const char *name)
{
    for (uint32_t i = 0; i < gmp_debug_layout.count; i++)
        if (strcmp(gmp_debug_layout.entries[i].name, name) == 0)
            return gmp_debug_layout.entries[i].value;
    fprintf(stderr, "layout.c: the table has no %s\n", name);
    _exit(1);
}

/* A reader outside is seen by no tool, and reads while others write. */
#if defined __has_attribute
#if __has_attribute(no_sanitize)
#define OUTSIDE __attribute__((noinline, no_sanitize("address", "thread")))
#endif
#endif
#ifndef OUTSIDE
#define OUTSIDE __attribute__((noinline))
#endif

OUTSIDE static uint64_t read_outside(uint64_t address, size_t size)
{
    switch (size) {
    case 1:
        return *(volatile uint8_t *)address;
    case 2:
        return *(volatile uint16_t *)address;
    case 4:
        return *(volatile uint32_t *)address;
    default:
        return *(volatile uint64_t *)address;
    }
}

/* The field NAME of the object at BASE, SIZE bytes of it. */
static uint64_t field(uint64_t base, const char *name, size_t size)
{
    return read_outside(base + at(name), size);
}

static uint64_t word(uint64_t address)
{
    return read_outside(address, 8);
}

/* The address of the G of the goroutine ID, found as a debugger does. */
static uint64_t g_of(uint64_t id)
{
    uint32_t count = (uint32_t)word(at("allgs.count"));

    for (uint32_t i = 0; i < count; i++) {
        uint64_t slab = word(at("allgs.table") + i / at("allgs.slab") * 8);
        uint64_t g = slab + i % at("allgs.slab") * at("G.size");

        if (field(g, "G.goid", 8) == id
            && field(g, "G.status", 4) != at("status.dead"))
            return g;
    }
    CHECK(!"a live goroutine is in the table");
    return 0;
}

static gmp_chan *empty;
static _Atomic uint64_t waiter;
static uint64_t parent, code_begins, code_ends;

static void wait_here(void *arg)
{
    (void)arg;
    waiter = gmp_goid();
    gmp_set_name("waiter");
    CHECK_EQ(gmp_chan_recv(empty, NULL), -EPIPE);
}

static void start_waiter(void *arg)
{
    (void)arg;
    code_begins = (uint64_t)start_waiter;
    parent = gmp_goid();
    CHECK_OK(gmp_go(wait_here, &waiter));
}

static void the_one_that_waits(void)
{
    uint64_t g, wait, rip, sp, before, now;

    empty = gmp_chan_make(0, 0);
    before = (uint32_t)word(at("waitmark"));
    CHECK_OK(gmp_join(spawn(start_waiter, NULL)));
    AWAIT(waiter != 0);
    g = g_of(waiter);
    /* Off its stack, which a status of Waiting does not say yet. */
    AWAIT((field(g, "G.park", 8) & at("park.state")) == at("park.parked"));
    CHECK_EQ(field(g, "G.status", 4), at("status.waiting"));
    CHECK_EQ(field(g, "G.func", 8), (uint64_t)wait_here);
    CHECK_EQ(field(g, "G.parent", 8), parent);
    /* The call of gmp_go returns to within start_waiter. */
    code_ends = code_begins + 512;
    CHECK(field(g, "G.gopc", 8) > code_begins);
    CHECK(field(g, "G.gopc", 8) < code_ends);
    CHECK(strcmp((char *)field(g, "G.name", 8), "waiter") == 0);
    CHECK(field(g, "G.flags", 2) & at("flag.started"));
    CHECK(!(field(g, "G.flags", 2) & (at("flag.host") | at("flag.system"))));
    wait = field(g, "G.waiting", 8);
    CHECK(strcmp((char *)field(wait, "Wait.reason", 8), "chan receive") == 0);
    CHECK_EQ(field(wait, "Wait.object", 8), (uint64_t)empty);
    CHECK_EQ(field(wait, "Wait.deadline", 8), GMP_FOREVER);
    sp = field(g, "G.sched_sp", 8);
    CHECK(sp > field(g, "G.stack_lo", 8));
    CHECK(sp + at("frame.size") < field(g, "G.stack_hi", 8));
    CHECK(wait > sp);
    rip = word(sp + at("frame.rip"));
    CHECK(rip != 0);
    CHECK(field(g, "G.waitsince", 4) >= before);
    CHECK(field(g, "G.waitsince", 4) <= (uint32_t)word(at("waitmark")));
    /* The mark follows the clock, however late. */
    now = (uint32_t)(gmp_now() >> at("waitmark.shift"));
    AWAIT((uint32_t)word(at("waitmark")) >= now);
    CHECK_OK(gmp_chan_close(empty));
    AWAIT(field(g, "G.status", 4) == at("status.dead"));
    gmp_chan_unref(empty);
}

/* The goroutine that runs, its M and its P point at each other. */
static void the_one_that_runs(void *arg)
{
    uint64_t g = g_of(gmp_goid()), m = field(g, "G.m", 8), found = 0;

    (void)arg;
    CHECK_EQ(field(g, "G.status", 4), at("status.running"));
    CHECK_EQ(field(m, "M.curg", 8), g);
    CHECK_EQ(field(m, "M.procid", 4), syscall(SYS_gettid));
    /* A joiner's thread may run it in place. */
    CHECK(field(m, "M.kind", 1) == at("kind.worker")
          || field(m, "M.kind", 1) == at("kind.host"));
    CHECK(field(g, "G.stack_lo", 8) < (uint64_t)&g);
    CHECK(field(g, "G.stack_hi", 8) > (uint64_t)&g);
    for (uint64_t it = word(at("allm")); it != 0;
         it = field(it, "M.alllink", 8))
        found += it == m;
    /* The Ms of host threads are not in that list. */
    CHECK_EQ(found, field(m, "M.kind", 1) == at("kind.worker"));
    found = 0;
    for (uint64_t i = 0; i < word(at("nallp")); i++) {
        uint64_t p = word(at("allp") + 8 * i);

        CHECK_EQ(field(p, "P.id", 4), i);
        found += p == field(m, "M.p", 8);
    }
    CHECK_EQ(found, 1);
    CHECK_EQ(word(at("gomaxprocs")), gmp_set_maxprocs(0));
}

struct shared {
    _Atomic uint64_t id;
    gmp_sema sema;
};

/* A host thread that waits is in the table, as one of the host's. */
static void *sleep_on(void *arg)
{
    struct shared *shared = arg;

    gmp_sleep(0);
    atomic_store(&shared->id, gmp_goid());
    gmp_sema_acquire(&shared->sema);
    return NULL;
}

static void a_host_thread(void)
{
    struct shared shared = { 0, GMP_SEMA_INIT(0) };
    pthread_t thread;
    uint64_t g;

    CHECK_OK(pthread_create(&thread, NULL, sleep_on, &shared));
    AWAIT(atomic_load(&shared.id) != 0);
    g = g_of(shared.id);
    AWAIT(field(g, "G.status", 4) == at("status.waiting"));
    CHECK(field(g, "G.flags", 2) & at("flag.host"));
    CHECK_EQ(field(field(g, "G.m", 8), "M.kind", 1), at("kind.host"));
    CHECK_EQ(field(field(g, "G.waiting", 8), "Wait.object", 8),
             (uint64_t)&shared.sema);
    gmp_sema_release(&shared.sema);
    CHECK_OK(pthread_join(thread, NULL));
}

int test_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    CHECK(memcmp(gmp_debug_layout.magic, "gmprtlay", 8) == 0);
    CHECK_EQ(gmp_debug_layout.version, 1);
    the_one_that_waits();
    for (int i = 0; i < 20; i++)
        CHECK_OK(gmp_join(spawn(the_one_that_runs, NULL)));
    a_host_thread();
    return 0;
}
