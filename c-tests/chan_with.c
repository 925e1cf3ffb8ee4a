/* Channels of objects that know where they are: each that is sent is received
 * once or destroyed once, whichever way it takes, and a failed send takes
 * nothing. */
#include "test.h"

enum { SENDERS = 6, RECEIVERS = 4, THREADS = 2, EACH = 300 };

/* An object that is whole only at its own address. */
struct object {
    struct object *self;
    uint64_t value;
    uint64_t pad;
};

static atomic_long moved, destroyed, alive;

static void make(struct object *o, uint64_t value)
{
    o->self = o;
    o->value = value;
    atomic_fetch_add(&alive, 1);
}

static void move(void *to, void *from)
{
    struct object *t = to, *f = from;

    CHECK(f->self == f);
    CHECK(t != f);
    t->self = t;
    t->value = f->value;
    memset(f, 0xA5, sizeof *f);
    atomic_fetch_add(&moved, 1);
}

static void destroy(void *elem)
{
    struct object *o = elem;

    CHECK(o->self == o);
    memset(o, 0xA5, sizeof *o);
    atomic_fetch_add(&destroyed, 1);
    atomic_fetch_sub(&alive, 1);
}

static gmp_chan *made(size_t capacity)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    gmp_chan *ch;

    attr.elem_size = sizeof(struct object);
    attr.capacity = capacity;
    attr.name = "objects";
    attr.destroy = destroy;
    attr.move = move;
    CHECK((ch = gmp_chan_make_with(&attr)) != NULL);
    CHECK_EQ(gmp_chan_cap(ch), capacity);
    return ch;
}

static void send_one(gmp_chan *ch, uint64_t value)
{
    struct object o;

    make(&o, value);
    CHECK_OK(gmp_chan_send(ch, &o));
    CHECK(o.self != &o);
}

static uint64_t receive_one(gmp_chan *ch)
{
    struct object o;
    uint64_t value;

    memset(&o, 0x77, sizeof o);
    CHECK_OK(gmp_chan_recv(ch, &o));
    CHECK(o.self == &o);
    value = o.value;
    destroy(&o);
    return value;
}

static void arguments(void *arg)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT, wrong;
    gmp_chan *ch;

    CHECK(gmp_chan_make_with(NULL) == NULL);
    wrong = attr;
    wrong.struct_size = 0;
    CHECK(gmp_chan_make_with(&wrong) == NULL);
    wrong.struct_size = sizeof attr + 8;
    CHECK(gmp_chan_make_with(&wrong) == NULL);
    wrong = attr;
    wrong.destroy = destroy; /* of elements without size */
    CHECK(gmp_chan_make_with(&wrong) == NULL);
    wrong.elem_size = SIZE_MAX;
    CHECK(gmp_chan_make_with(&wrong) == NULL);
    wrong.capacity = SIZE_MAX;
    CHECK(gmp_chan_make_with(&wrong) == NULL);
    CHECK((ch = gmp_chan_make_with(&attr)) != NULL);
    CHECK_EQ(gmp_chan_try_send(ch, NULL), -EAGAIN);
    gmp_chan_unref(ch);
}

/* What a freed channel holds, and what is received without a place. */
static void left_and_dropped(void *arg)
{
    gmp_chan *ch = made(4);
    long before = atomic_load(&destroyed);

    for (uint64_t i = 0; i < 3; i++) /* the ring is not at its begin */
        send_one(ch, i);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(receive_one(ch), i);
    for (uint64_t i = 0; i < 4; i++)
        send_one(ch, i);
    before = atomic_load(&destroyed);
    CHECK_OK(gmp_chan_recv(ch, NULL));
    CHECK_EQ(atomic_load(&destroyed), before + 1);
    CHECK_EQ(receive_one(ch), 1);
    before = atomic_load(&destroyed);
    CHECK_OK(gmp_chan_close(ch));
    gmp_chan_unref(ch);
    CHECK_EQ(atomic_load(&destroyed), before + 2);
}

/* A send that fails has taken nothing. */
static void failed_sends(void *arg)
{
    gmp_chan *ch = made(0);
    struct object o;
    gmp_case send = {ch, &o, GMP_SEND, 0};
    long before = atomic_load(&moved);

    make(&o, 1);
    CHECK_EQ(gmp_chan_try_send(ch, &o), -EAGAIN);
    CHECK_EQ(gmp_chan_send_until(ch, &o, gmp_after_ns(US(200))), -ETIMEDOUT);
    CHECK_EQ(gmp_try_select(&send, 1), -EAGAIN);
    CHECK_EQ(gmp_select_until(&send, 1, gmp_after_ns(US(200))), -ETIMEDOUT);
    CHECK_OK(gmp_chan_close(ch));
    CHECK_EQ(gmp_chan_send(ch, &o), -EPIPE);
    CHECK_EQ(gmp_chan_recv(ch, NULL), -EPIPE);
    CHECK(o.self == &o);
    CHECK_EQ(atomic_load(&moved), before);
    destroy(&o);
    gmp_chan_unref(ch);
}

static void send_blocked(void *ch)
{
    send_one(ch, 42);
}

static void receive_blocked(void *ch)
{
    CHECK_EQ(receive_one(ch), 42);
}

static void drop_blocked(void *ch)
{
    CHECK_OK(gmp_chan_recv(ch, NULL));
}

static void select_blocked(void *ch)
{
    struct object o;
    gmp_case cases[2] = {{ch, &o, GMP_RECV, 0}, {NULL, NULL, GMP_RECV, 0}};

    CHECK_EQ(gmp_select(cases, 2), 0);
    CHECK(o.self == &o);
    destroy(&o);
}

/* From a waiter's memory to a waiter's memory, without a buffer. */
static void direct(void *arg)
{
    gmp_chan *ch = made(0);
    const gmp_fn receivers[] = {receive_blocked, drop_blocked, select_blocked};

    for (int i = 0; i < 3; i++) {
        for (int sender_first = 0; sender_first < 2; sender_first++) {
            gmp_g *g = spawn(sender_first ? send_blocked : receivers[i], ch);
            gmp_g *h;

            CHECK_OK(gmp_sleep(US(300)));
            h = spawn(sender_first ? receivers[i] : send_blocked, ch);
            CHECK_OK(gmp_join(g));
            CHECK_OK(gmp_join(h));
        }
    }
    gmp_chan_unref(ch);
}

/* A full buffer with a sender behind it: the receiver takes the first and puts
 * the sender's behind the others, or drops the first. */
static void behind_a_full_buffer(void *arg)
{
    gmp_chan *ch = made(2);
    gmp_g *g;

    for (int drop = 0; drop < 2; drop++) {
        send_one(ch, 1);
        send_one(ch, 2);
        g = spawn(send_blocked, ch);
        CHECK_OK(gmp_sleep(US(300)));
        if (drop)
            CHECK_OK(gmp_chan_recv(ch, NULL));
        else
            CHECK_EQ(receive_one(ch), 1);
        CHECK_OK(gmp_join(g));
        CHECK_EQ(receive_one(ch), 2);
        CHECK_EQ(receive_one(ch), 42);
    }
    gmp_chan_unref(ch);
}

/* Functions that call the library, where they would have to wait. */
static gmp_chan *empty;
static atomic_int refusals;

static void moves_and_waits(void *to, void *from)
{
    *(uint64_t *)to = *(uint64_t *)from + 1;
    if (gmp_goid() != 0 && gmp_sleep(MS(1)) == -EDEADLK &&
        gmp_chan_recv(empty, NULL) == -EDEADLK)
        atomic_fetch_add(&refusals, 1);
}

/* Elements of a word, which else take a path of their own; a function cannot
 * wait under the channel's lock. */
static void words(void *arg)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    uint64_t value = 10;
    gmp_chan *ch;

    attr.elem_size = sizeof value;
    attr.capacity = 1;
    attr.move = moves_and_waits;
    CHECK((ch = gmp_chan_make_with(&attr)) != NULL);
    atomic_store(&refusals, 0);
    CHECK_OK(gmp_chan_send(ch, &value));
    CHECK_OK(gmp_chan_recv(ch, &value));
    CHECK_EQ(value, 12);
    CHECK_EQ(atomic_load(&refusals), 2);
    gmp_chan_unref(ch);
}

/* Strings from malloc, with a function that frees and none that moves. */
static void drop_string(void *elem)
{
    free(*(char **)elem);
    atomic_fetch_add(&destroyed, 1);
}

static void strings(void *arg)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
    long before = atomic_load(&destroyed);
    gmp_chan *ch;

    attr.elem_size = sizeof(char *);
    attr.capacity = 8;
    attr.name = "";
    attr.destroy = drop_string;
    CHECK((ch = gmp_chan_make_with(&attr)) != NULL);
    for (int i = 0; i < 6; i++) {
        char *text = strdup("text");

        CHECK_OK(gmp_chan_send(ch, &text));
    }
    for (int i = 0; i < 2; i++) {
        char *text = NULL;

        CHECK_OK(gmp_chan_recv(ch, &text));
        CHECK(strcmp(text, "text") == 0);
        free(text);
    }
    CHECK_OK(gmp_chan_recv(ch, NULL));
    gmp_chan_unref(ch);
    CHECK_EQ(atomic_load(&destroyed), before + 4);
}

/* Many of them, with deadlines, selects, and receivers that drop. */
static gmp_chan *lanes[2];
static atomic_long sent, received;

static void send_many(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    for (int i = 0; i < EACH; i++) {
        uint64_t r = next_random(&random);
        struct object o;
        gmp_case cases[2] = {{lanes[0], &o, GMP_SEND, 0},
                             {lanes[1], &o, GMP_SEND, 0}};
        int result;

        make(&o, 1);
        if (r % 3 == 0)
            result = gmp_chan_send_until(lanes[r % 2], &o,
                                         gmp_after_ns((int64_t)(r % 40000)));
        else if (r % 3 == 1)
            result = gmp_select_until(cases, 2, gmp_after_ns(US(50)));
        else
            result = gmp_chan_send(lanes[r % 2], &o);
        if (result >= 0) {
            atomic_fetch_add(&sent, 1);
        } else {
            CHECK_EQ(result, -ETIMEDOUT);
            destroy(&o);
        }
    }
}

static void receive_many(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg;

    for (;;) {
        uint64_t r = next_random(&random);
        struct object o;
        gmp_case cases[2] = {{lanes[0], &o, GMP_RECV, 0},
                             {lanes[1], r % 5 == 0 ? NULL : &o, GMP_RECV, 0}};
        int i = gmp_select(cases, 2);

        CHECK(i >= 0);
        if (cases[i].result == -EPIPE)
            return;
        atomic_fetch_add(&received, 1);
        if (cases[i].elem)
            destroy(&o);
    }
}

static void *send_on_thread(void *arg)
{
    send_many(arg);
    return NULL;
}

static void many(void)
{
    gmp_g *senders[SENDERS], *receivers[RECEIVERS];
    pthread_t threads[THREADS];

    lanes[0] = made(0);
    lanes[1] = made(3);
    for (intptr_t i = 0; i < RECEIVERS; i++)
        receivers[i] = spawn(receive_many, (void *)(i + 1));
    for (intptr_t i = 0; i < SENDERS; i++)
        senders[i] = spawn(send_many, (void *)(i + 100));
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&threads[i], NULL, send_on_thread,
                                (void *)(i + 1000)));
    for (int i = 0; i < SENDERS; i++)
        CHECK_OK(gmp_join(senders[i]));
    for (int i = 0; i < THREADS; i++)
        CHECK_OK(pthread_join(threads[i], NULL));
    for (int i = 0; i < 2; i++)
        CHECK_OK(gmp_chan_close(lanes[i]));
    for (int i = 0; i < RECEIVERS; i++)
        CHECK_OK(gmp_join(receivers[i]));
    printf("%ld sent, %ld received\n", atomic_load(&sent),
           atomic_load(&received));
    for (int i = 0; i < 2; i++)
        gmp_chan_unref(lanes[i]);
    /* Receivers that saw one lane closed have left the rest to the channel. */
    CHECK(atomic_load(&received) <= atomic_load(&sent));
}

int test_main(int argc, char **argv)
{
    static const gmp_fn all[] = {
        arguments, left_and_dropped, failed_sends, direct,
        behind_a_full_buffer, strings,
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        all[i](NULL);
        CHECK_EQ(atomic_load(&alive), 0);
        CHECK_OK(gmp_join(spawn(all[i], NULL)));
        CHECK_EQ(atomic_load(&alive), 0);
    }
    empty = gmp_chan_make(0, 0);
    CHECK_OK(gmp_join(spawn(words, NULL)));
    many();
    CHECK_EQ(atomic_load(&alive), 0);
    return 0;
}
