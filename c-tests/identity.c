/* Who am I: ids, handles and names. */
#include "test.h"

enum { MANY = 10000 };

static uint64_t ids[MANY];
static gmp_g *handles[MANY];

static void *fresh_thread(void *arg)
{
    CHECK_EQ(gmp_goid(), 0);
    CHECK(gmp_self() == NULL);
    return NULL;
}

static void note_id(void *arg)
{
    uint64_t *id = arg;
    uint64_t mine = gmp_goid();
    gmp_g *self = gmp_self();

    CHECK(mine > 0);
    CHECK(self != NULL);
    gmp_yield();
    CHECK_EQ(gmp_goid(), mine);
    CHECK(gmp_self() == self);
    *id = mine;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void ids_are_unique(void)
{
    for (int i = 0; i < MANY; i++)
        handles[i] = spawn(note_id, &ids[i]);
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_join(handles[i]));
    qsort(ids, MANY, sizeof *ids, by_value);
    for (int i = 1; i < MANY; i++)
        CHECK(ids[i] != ids[i - 1]);
}

static _Atomic(gmp_g *) seen;

static void show_self(void *arg)
{
    atomic_store(&seen, gmp_self());
}

static void self_is_the_handle(void)
{
    for (int i = 0; i < 100; i++) {
        gmp_g *g = spawn(show_self, NULL);

        AWAIT(atomic_load(&seen) != NULL);
        CHECK(atomic_load(&seen) == g);
        CHECK_OK(gmp_join(g));
        atomic_store(&seen, NULL);
    }
}

static void rename_self(void *arg)
{
    char name[1001];

    CHECK_OK(gmp_set_name("short"));
    CHECK_OK(gmp_set_name(""));
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    CHECK_OK(gmp_set_name(name));
    CHECK_EQ(gmp_set_name(NULL), -EINVAL);
}

static void *blocked_thread(void *arg)
{
    uint64_t id;

    /* A sleep waits whatever the machine's load. */
    CHECK_OK(gmp_sleep(MS(5)));
    id = gmp_goid();
    CHECK(id > 0);
    CHECK(gmp_self() != NULL);
    CHECK_EQ(gmp_goid(), id);
    *(uint64_t *)arg = id;
    return NULL;
}

static void host_threads_have_ids_once_they_blocked(void)
{
    pthread_t a, b;
    uint64_t id_a = 0, id_b = 0;

    CHECK_OK(pthread_create(&a, NULL, blocked_thread, &id_a));
    CHECK_OK(pthread_create(&b, NULL, blocked_thread, &id_b));
    CHECK_OK(pthread_join(a, NULL));
    CHECK_OK(pthread_join(b, NULL));
    CHECK(id_a != id_b);
}

int test_main(int argc, char **argv)
{
    pthread_t thread;

    CHECK_EQ(gmp_goid(), 0);
    CHECK_OK(gmp_wait_init());
    CHECK_OK(pthread_create(&thread, NULL, fresh_thread, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    ids_are_unique();
    self_is_the_handle();
    CHECK_OK(gmp_join(spawn(rename_self, NULL)));
    host_threads_have_ids_once_they_blocked();
    return 0;
}
