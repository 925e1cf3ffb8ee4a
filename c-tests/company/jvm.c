/* Beside a Java virtual machine. Usage: jvm LIBRARY LIBJVM ORDER HOW
 *
 * ORDER: which of the two is loaded first, "ours" or "jvm". The machine runs
 * Java code on the main thread and on threads that attach themselves, meanwhile
 * goroutines work. Its null checks are faults that are its own. HOW: "none", or
 * how a goroutine dies in the end.
 *
 * The few functions of JNI that are needed are called by their numbers, which
 * are fixed, as <jni.h> comes with compilers of Java only. */
#include "company.h"

enum {
    FIND_CLASS = 6, EXCEPTION_OCCURRED = 15, EXCEPTION_CLEAR = 17,
    DELETE_LOCAL_REF = 23, GET_STATIC_METHOD_ID = 113, CALL_STATIC_LONG = 132,
    CALL_STATIC_VOID = 141,
    DESTROY = 3, ATTACH = 4, DETACH = 5,
    VERSION_1_8 = 0x00010008,
};

struct options {
    int version, count;
    void *options;
    unsigned char ignore;
};

typedef void **jni; /* a JNIEnv or a JavaVM: its functions */

static jni *machine;
static struct gmp gmp;

#define CALL(on, number, result, ...) \
    ((result (*)(void *, ...))(*(on))[number])(on, ##__VA_ARGS__)

static void load_jvm(const char *path, jni **env)
{
    int (*create)(jni **, jni **, void *);
    struct options options = {VERSION_1_8, 0, NULL, 0};

    *(void **)&create = must(opened(path), "JNI_CreateJavaVM");
    CHECK_OK(create(&machine, env, &options));
}

/* Java code with faults, garbage, and the time. */
static void run_java(jni *env)
{
    void *arrays = CALL(env, FIND_CLASS, void *, "java/util/Arrays");
    void *system = CALL(env, FIND_CLASS, void *, "java/lang/System");
    void *fill, *gc, *nano;

    CHECK(arrays && system);
    fill = CALL(env, GET_STATIC_METHOD_ID, void *, arrays, "fill", "([II)V");
    gc = CALL(env, GET_STATIC_METHOD_ID, void *, system, "gc", "()V");
    nano = CALL(env, GET_STATIC_METHOD_ID, void *, system, "nanoTime", "()J");
    CHECK(fill && gc && nano);
    for (int i = 0; i < 2000; i++) {
        void *thrown;

        /* The length of a null array. */
        CALL(env, CALL_STATIC_VOID, void, arrays, fill, NULL, 1);
        thrown = CALL(env, EXCEPTION_OCCURRED, void *);
        CHECK(thrown != NULL);
        CALL(env, EXCEPTION_CLEAR, void);
        CALL(env, DELETE_LOCAL_REF, void, thrown);
        CHECK(CALL(env, CALL_STATIC_LONG, long, system, nano) != 0);
        if (i % 500 == 0)
            CALL(env, CALL_STATIC_VOID, void, system, gc);
    }
}

static void *run_on_thread(void *arg)
{
    jni *env;

    CHECK_OK(CALL(machine, ATTACH, int, &env, NULL));
    run_java(env);
    /* A thread of Java's that waits for goroutines. */
    for (int i = 0; i < 100; i++) {
        int value = i;

        CHECK_OK(gmp.chan_send(arg, &value));
        CHECK_OK(gmp.chan_recv(arg, &value));
        CHECK(value == i + 1);
    }
    CHECK_OK(CALL(machine, DETACH, int));
    return NULL;
}

static void reply(void *ch)
{
    int value;

    for (int i = 0; i < 100; i++) {
        CHECK_OK(gmp.chan_recv(ch, &value));
        value++;
        CHECK_OK(gmp.chan_send(ch, &value));
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    gmp_chan *chs[2];
    gmp_g *gs[2];
    struct work w;
    jni *env;

    begin();
    CHECK(argc == 5);
    if (strcmp(argv[3], "jvm") == 0)
        load_jvm(argv[2], &env);
    gmp = load_gmp(argv[1]);
    begin_work(&w, &gmp);
    if (strcmp(argv[3], "ours") == 0)
        load_jvm(argv[2], &env);
    for (int i = 0; i < 2; i++) {
        CHECK((chs[i] = gmp.chan_make(sizeof(int), 0)) != NULL);
        gs[i] = started(&gmp, reply, chs[i]);
        CHECK_OK(pthread_create(&threads[i], NULL, run_on_thread, chs[i]));
    }
    run_java(env);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(gmp.join(gs[i]));
        CHECK_OK(pthread_join(threads[i], NULL));
        gmp.chan_unref(chs[i]);
    }
    die(&gmp, argv[4]);
    end_work(&w);
    CHECK_OK(CALL(machine, DESTROY, int));
    puts("both worked");
    return 0;
}
