// What runs while frames are unwound, for gmp_exit, for a panic, and for an
// exception through gmp_call: destructors, handlers and cleanup attributes, in
// order, and each once.
#include "test.h"

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

// What has happened, on the goroutine or thread that runs the case.
std::vector<std::string> log;

void say(std::string what)
{
    log.push_back(std::move(what));
}

struct Named {
    explicit Named(std::string n) : name(std::move(n)) {}
    Named(const Named &) = delete;
    ~Named() { say("~" + name); }
    std::string name;
};

void cleaned(int *n)
{
    say("cleanup " + std::to_string(*n));
}

void deferred(void *text)
{
    say(static_cast<char *>(text));
}

void defer(const char *text)
{
    CHECK_OK(gmp_defer(deferred, const_cast<char *>(text)));
}

void recovers(void *)
{
    const gmp_panic_info *info = gmp_recover();

    say(info ? std::string("recover ") + info->text : "no panic");
}

void defer_recover()
{
    CHECK_OK(gmp_defer(recovers, nullptr));
}

enum Way { by_panic, by_exit, by_throw, by_return };
Way way;

void leave()
{
    if (way == by_panic)
        gmp_panic("deep");
    if (way == by_exit)
        gmp_exit();
    if (way == by_throw)
        throw std::runtime_error("thrown");
}

__attribute__((noinline)) void deep(int depth)
{
    Named object(std::to_string(depth));

    if (depth > 0)
        deep(depth - 1);
    else
        leave();
    say("behind");
}

// --- Order ------------------------------------------------------------------

void frames(void *)
{
    __attribute__((cleanup(cleaned))) int n = 7;
    Named object("outer");

    (void)n;
    defer("first");
    defer_recover();
    defer("last");
    deep(1);
}

using Log = std::vector<std::string>;

void expect(int line, const Log &want)
{
    if (log != want) {
        for (auto &each : log)
            std::fprintf(stderr, "  %s\n", each.c_str());
        test_fail(__FILE__, line, "the log");
    }
    log.clear();
}

#define EXPECT(...) expect(__LINE__, Log{__VA_ARGS__})

// Deferred functions, then frames, then what was deferred before the recover.
void a_panic(void *)
{
    way = by_panic;
    CHECK_EQ(gmp_call(frames, nullptr, nullptr), 1);
    EXPECT("last", "recover deep", "~0", "~1", "~outer", "cleanup 7", "first");
}

void a_return(void *)
{
    way = by_return;
    CHECK_EQ(gmp_call(frames, nullptr, nullptr), 0);
    EXPECT("behind", "~0", "behind", "~1", "~outer", "cleanup 7", "last",
           "no panic", "first");
}

// An exception runs what the gmp_call has deferred, when it leaves it.
void an_exception(void *)
{
    way = by_throw;
    try {
        Named around("around");

        gmp_call(frames, nullptr, nullptr);
        say("returned");
    } catch (const std::runtime_error &e) {
        say(e.what());
    }
    EXPECT("~0", "~1", "~outer", "cleanup 7", "last", "no panic", "first",
           "~around", "thrown");
}

void inner_call(void *)
{
    Named object("inner");

    defer("inner");
    gmp_call([](void *) {
        Named innermost("innermost");

        defer("innermost");
        deep(0);
    }, nullptr, nullptr);
    say("behind a gmp_call");
}

void through_calls(void *)
{
    Named object("outer");

    defer_recover();
    gmp_call(inner_call, nullptr, nullptr);
    say("behind a gmp_call");
}

void a_panic_through_calls(void *)
{
    way = by_panic;
    CHECK_EQ(gmp_call(through_calls, nullptr, nullptr), 1);
    EXPECT("innermost", "inner", "recover deep", "~0", "~innermost", "~inner",
           "~outer");
}

void an_exception_through_calls(void *)
{
    way = by_throw;
    try {
        gmp_call(through_calls, nullptr, nullptr);
    } catch (const std::exception &e) {
        say(e.what());
    }
    EXPECT("~0", "~innermost", "innermost", "~inner", "inner", "~outer",
           "no panic", "thrown");
}

// The exception goes on, though a panic is recovered on its way.
void a_panic_on_the_way(void *)
{
    way = by_throw;
    try {
        gmp_call([](void *) {
            defer_recover();
            CHECK_OK(gmp_defer([](void *) { gmp_panic("on the way"); },
                               nullptr));
            deep(0);
        }, nullptr, nullptr);
        say("returned");
    } catch (const std::exception &e) {
        say(e.what());
    }
    EXPECT("~0", "recover on the way", "thrown");
}

// --- Handlers ---------------------------------------------------------------

void handlers(void *)
{
    defer_recover();
    try {
        try {
            deep(0);
        } catch (const std::exception &) {
            say("wrong handler");
        }
    } catch (...) {
        say("handler");
        CHECK(std::current_exception() == nullptr ||
              std::uncaught_exceptions() == 0);
        throw;
    }
}

void handlers_throw_again(void *)
{
    way = by_panic;
    CHECK_EQ(gmp_call(handlers, nullptr, nullptr), 1);
    EXPECT("recover deep", "~0", "handler");
}

// Out of a handler: the exception that it handles is destroyed.
struct Thrown {
    explicit Thrown(bool *gone) : gone(gone) {}
    Thrown(const Thrown &other) : gone(other.gone) {}
    ~Thrown() { *gone = true; }
    bool *gone;
};

void out_of_a_handler(void *)
{
    static bool gone;

    way = by_panic;
    gone = false;
    CHECK_EQ(gmp_call([](void *) {
        defer_recover();
        try {
            throw Thrown(&gone);
        } catch (const Thrown &) {
            deep(0);
        }
    }, nullptr, nullptr), 1);
    CHECK(gone);
    CHECK(std::current_exception() == nullptr);
    EXPECT("recover deep", "~0");
}

// --- Destructors that do much -----------------------------------------------

struct Busy {
    ~Busy()
    {
        gmp_chan *ch = gmp_chan_make(sizeof(int), 0);
        gmp_g *g = spawn([](void *to) {
            int n = 5;

            gmp_sleep(US(50));
            CHECK_OK(gmp_chan_send(static_cast<gmp_chan *>(to), &n));
        }, ch);
        int n = 0;

        CHECK_OK(gmp_chan_recv(ch, &n));
        CHECK_OK(gmp_join(g));
        gmp_chan_unref(ch);
        CHECK_EQ(gmp_call([](void *) {
            defer_recover();
            gmp_panic("in a destructor");
        }, nullptr, nullptr), 1);
        try {
            throw 1;
        } catch (int) {
            say("caught " + std::to_string(n));
        }
    }
};

void busy_frames(void *)
{
    Named object("busy's");
    Busy busy;

    defer_recover();
    deep(0);
}

void busy_destructors(void *)
{
    way = by_panic;
    CHECK_EQ(gmp_call(busy_frames, nullptr, nullptr), 1);
    EXPECT("recover deep", "~0", "recover in a destructor", "caught 5",
           "~busy's");
}

// --- gmp_exit ---------------------------------------------------------------

std::atomic<int> key_values;

void exit_frames(void *)
{
    static gmp_key *key =
        gmp_key_create([](void *) { say("destructor of a key"); });
    Named object("goroutine's");

    CHECK_OK(gmp_setspecific(key, &key_values));
    defer("goroutine");
    gmp_call(inner_call, nullptr, nullptr);
    say("behind a gmp_call");
}

void an_exit()
{
    way = by_exit;
    CHECK_OK(gmp_join(spawn(exit_frames, nullptr)));
    EXPECT("innermost", "inner", "goroutine", "~0", "~innermost", "~inner",
           "~goroutine's", "destructor of a key");
}

void exits_in_a_handler(void *)
{
    static bool gone;

    CHECK_OK(gmp_defer([](void *) { say(gone ? "gone" : "there"); }, nullptr));
    CHECK_OK(gmp_setspecific(
        gmp_key_create([](void *) { say(gone ? "gone" : "there"); }), &gone));
    try {
        throw Thrown(&gone);
    } catch (...) {
        deep(0);
    }
}

// A handler of all exceptions on the way.
void exits_through_a_handler(void *)
{
    try {
        deep(0);
    } catch (...) {
        say("handler");
        throw;
    }
}

void exits_in_a_destructor(void *)
{
    struct Exits {
        ~Exits() noexcept(false) { gmp_exit(); }
    };
    Named below("below");
    Exits exits;
    Named above("above");

    defer("deferred");
}

void exits_in_deferred(void *)
{
    Named object("function's");

    defer("older");
    CHECK_OK(gmp_defer([](void *) {
        Named inside("deferred's");

        gmp_exit();
    }, nullptr));
    defer("newer");
}

void exits_twice(void *)
{
    exits_in_deferred(nullptr);
    gmp_exit();
}

void exits_busily(void *)
{
    Named object("busy's");
    Busy busy;

    deep(0);
}

// What a destructor defers runs at the end of the goroutine.
void defers_on_the_way(void *)
{
    struct Defers {
        ~Defers() { defer("by a destructor"); }
    };
    Named object("object");
    Defers defers;

    deep(0);
}

void exits()
{
    an_exit();
    CHECK_OK(gmp_join(spawn(exits_in_a_handler, nullptr)));
    EXPECT("there", "~0", "gone");
    CHECK_OK(gmp_join(spawn(exits_through_a_handler, nullptr)));
    EXPECT("~0", "handler");
    CHECK_OK(gmp_join(spawn(exits_in_a_destructor, nullptr)));
    EXPECT("~above", "deferred", "~below");
    CHECK_OK(gmp_join(spawn(exits_in_deferred, nullptr)));
    EXPECT("~function's", "newer", "older", "~deferred's");
    CHECK_OK(gmp_join(spawn(exits_twice, nullptr)));
    EXPECT("~function's", "newer", "older", "~deferred's");
    CHECK_OK(gmp_join(spawn(exits_busily, nullptr)));
    EXPECT("~0", "recover in a destructor", "caught 5", "~busy's");
    CHECK_OK(gmp_join(spawn(defers_on_the_way, nullptr)));
    EXPECT("~0", "~object", "by a destructor");
}

// A goroutine that is recovered by its own deferred function has ended.
void a_panic_ends_a_goroutine()
{
    way = by_panic;
    CHECK_OK(gmp_join(spawn(through_calls, nullptr)));
    EXPECT("innermost", "inner", "recover deep", "~0", "~innermost", "~inner",
           "~outer");
}

// --- The end of a host thread -----------------------------------------------

void *thread_that_exits(void *)
{
    gmp_call([](void *) {
        Named object("object");

        defer_recover();
        pthread_exit(nullptr);
    }, nullptr, nullptr);
    return nullptr;
}

void a_thread_ends()
{
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, nullptr, thread_that_exits, nullptr));
    CHECK_OK(pthread_join(thread, nullptr));
    EXPECT("~object", "no panic");
}

// --- Many at once -----------------------------------------------------------

std::atomic<long> made, ended;

struct Counted {
    Counted() { made++; }
    ~Counted()
    {
        gmp_yield();
        ended++;
    }
};

__attribute__((noinline)) void counted(int depth, bool exits)
{
    Counted object;

    gmp_yield();
    if (depth > 0)
        counted(depth - 1, exits);
    else if (exits)
        gmp_exit();
    else
        gmp_panic("%d", depth);
}

void churn(void *arg)
{
    for (int i = 0; i < 20; i++)
        CHECK_EQ(gmp_call([](void *) {
            CHECK_OK(gmp_defer([](void *) { gmp_recover(); }, nullptr));
            counted(4, false);
        }, nullptr, nullptr), 1);
    if (arg)
        counted(4, true);
}

void many()
{
    gmp_g *gs[60];
    intptr_t n = 0;

    for (auto &g : gs)
        g = spawn(churn, reinterpret_cast<void *>(n++ % 2));
    std::thread beside(churn, nullptr);
    for (auto g : gs)
        CHECK_OK(gmp_join(g));
    beside.join();
    CHECK_EQ(made.load(), ended.load());
    CHECK_EQ(made.load(), 61 * 20 * 5 + 30 * 5);
}

} // namespace

int test_main(int, char **)
{
    for (auto f : {a_panic, a_return, an_exception, a_panic_through_calls,
                   an_exception_through_calls, a_panic_on_the_way,
                   handlers_throw_again, out_of_a_handler, busy_destructors}) {
        CHECK_OK(gmp_join(spawn(f, nullptr)));
        f(nullptr);
        std::thread(f, nullptr).join();
        // Below a gmp_call that has nothing to do with it.
        CHECK_EQ(gmp_call(f, nullptr, nullptr), 0);
    }
    exits();
    a_panic_ends_a_goroutine();
    a_thread_ends();
    many();
    return 0;
}
