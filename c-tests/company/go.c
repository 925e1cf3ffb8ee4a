/* Beside Go. Usage: go LIBRARY GOLIBRARY ORDER HOW
 *
 * ORDER: which of the two is loaded first, "ours" or "go". Then both work at
 * the same time, goroutines of one call the other, and faults in Go's code are
 * Go's. HOW: "none", or how a goroutine of ours dies in the end. */
#include "company.h"

static struct gmp gmp;
static long long (*go_sum)(int);
static int (*go_recover)(void), (*go_spin)(int);
static int (*go_call)(int (*)(void *, int), void *, int);

static void load_go(const char *path)
{
    void *library = opened(path);

    *(void **)&go_sum = must(library, "GoSum");
    *(void **)&go_recover = must(library, "GoRecover");
    *(void **)&go_spin = must(library, "GoSpin");
    *(void **)&go_call = must(library, "GoCall");
}

/* Called by goroutines of Go's: they are host threads to us. */
static void reply(void *ch)
{
    int value;

    CHECK_OK(gmp.chan_recv(ch, &value));
    value *= 2;
    CHECK_OK(gmp.chan_send(ch, &value));
}

static int ask_ours(void *arg, int value)
{
    gmp_chan *ch = gmp.chan_make(sizeof value, 0);
    gmp_g *g = started(&gmp, reply, ch);

    CHECK(arg == &gmp);
    CHECK_OK(gmp.chan_send(ch, &value));
    CHECK_OK(gmp.chan_recv(ch, &value));
    CHECK_OK(gmp.join(g));
    gmp.chan_unref(ch);
    return value;
}

/* A goroutine of ours in Go. */
static void call_go(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        CHECK(go_sum(100) == 4950);
        CHECK(go_recover() == 1);
        CHECK_OK(gmp.sleep(100000));
        CHECK(go_spin(200000) != 0);
        gmp.yield();
    }
}

static void *call_on_thread(void *arg)
{
    call_go(arg);
    return NULL;
}

int main(int argc, char **argv)
{
    gmp_attr attr = GMP_ATTR_INIT;
    pthread_t thread;
    gmp_g *callers[8];
    struct work w;
    bool first;

    begin();
    CHECK(argc == 5);
    first = strcmp(argv[3], "ours") == 0;
    if (!first)
        load_go(argv[2]);
    gmp = load_gmp(argv[1]);
    if (first)
        load_go(argv[2]);
    CHECK(go_sum(1000) == 499500);
    begin_work(&w, &gmp);
    for (int i = 0; i < 8; i++)
        CHECK_OK(gmp.go_with(&attr, call_go, NULL, &callers[i]));
    CHECK_OK(pthread_create(&thread, NULL, call_on_thread, NULL));
    CHECK(go_call(ask_ours, &gmp, 50) == 2450);
    for (int i = 0; i < 8; i++)
        CHECK_OK(gmp.join(callers[i]));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK(go_recover() == 1);
    die(&gmp, argv[4]);
    end_work(&w);
    puts("both worked");
    return 0;
}
