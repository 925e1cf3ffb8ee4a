// What is called on the caller's stack is left by an exception, by longjmp, by
// gmp_exit or by pthread_exit: the caller goes on, whoever waits is not
// forgotten, and the goroutine ends well.
#include "test.h"

#include <atomic>
#include <csetjmp>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

constexpr int rounds = 50;
constexpr int callers = 8;

struct Boom : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// --- Ways out ---------------------------------------------------------------

enum Way { by_throw, by_jump, by_exit, ways };

struct Leaver {
    Way way;
    std::jmp_buf env;
    void (*before)(void *) = nullptr;
    void *arg = nullptr;
};

void leave(void *arg)
{
    auto *l = static_cast<Leaver *>(arg);

    if (l->before)
        l->before(l->arg);
    if (l->way == by_throw)
        throw Boom("out");
    if (l->way == by_jump)
        std::longjmp(l->env, 1);
    gmp_exit();
}

enum Call { in_once, in_once_until, in_blocking, calls };

int call(Call which, gmp_once *o, gmp_fn fn, void *arg)
{
    switch (which) {
    case in_once:
        return gmp_once_do(o, fn, arg);
    case in_once_until:
        return gmp_once_do_until(o, fn, arg, gmp_after_ns(SEC(40)));
    default:
        return gmp_blocking(fn, arg);
    }
}

// Calls and is left; true if it came back that way.
bool call_and_catch(Call which, gmp_once *o, Leaver *l)
{
    if (l->way == by_jump) {
        if (setjmp(l->env) == 0) {
            call(which, o, leave, l);
            return false;
        }
        return true;
    }
    try {
        call(which, o, leave, l);
    } catch (const Boom &e) {
        return e.what() == std::string("out");
    }
    return false;
}

void count(void *arg)
{
    ++*static_cast<std::atomic<int> *>(arg);
}

void use_much_stack(int depth)
{
    volatile char room[512];

    for (auto &c : room)
        c = static_cast<char>(depth);
    if (depth > 0)
        use_much_stack(depth - 1);
}

// --- The caller goes on -----------------------------------------------------

void caller_goes_on(Way way, Call which)
{
    for (int i = 0; i < rounds; i++) {
        gmp_once o = GMP_ONCE_INIT;
        Leaver l{way, {}};
        std::atomic<int> runs{0};

        CHECK(call_and_catch(which, &o, &l));
        use_much_stack(8);
        gmp_yield();
        CHECK_OK(gmp_sleep(US(10)));
        // Not done: the next call runs, once.
        CHECK_OK(gmp_once_do(&o, count, &runs));
        CHECK_OK(gmp_once_do(&o, count, &runs));
        CHECK_OK(gmp_blocking(count, &runs));
        CHECK_EQ(runs.load(), 2);
    }
}

void all_ways_on(void *)
{
    for (int way = by_throw; way <= by_jump; way++)
        for (int which = 0; which < calls; which++)
            caller_goes_on(static_cast<Way>(way), static_cast<Call>(which));
}

// --- Others wait ------------------------------------------------------------

struct Shared {
    gmp_once once = GMP_ONCE_INIT;
    std::atomic<bool> inside{false};
    std::atomic<int> waiting{0};
    std::atomic<int> runs{0};
    gmp_chan *told = gmp_chan_make(0, callers);
    Way way;
};

void let_others_come(void *arg)
{
    auto *s = static_cast<Shared *>(arg);

    s->inside = true;
    AWAIT(s->waiting == callers);
    gmp_sleep(US(500));
}

void run_it(void *arg)
{
    auto *s = static_cast<Shared *>(arg);

    s->runs++;
    gmp_yield();
}

void waiter(void *arg)
{
    auto *s = static_cast<Shared *>(arg);

    AWAIT(s->inside);
    s->waiting++;
    CHECK_OK(gmp_once_do(&s->once, run_it, s));
    CHECK(s->runs == (s->way == by_exit ? 0 : 1));
    CHECK_OK(gmp_chan_send(s->told, nullptr));
}

// Waits for the waiters: they get it, though the one that left never looks at
// the once again, and does not end before.
void first(void *arg)
{
    auto *s = static_cast<Shared *>(arg);
    Leaver l{s->way, {}, let_others_come, s};

    CHECK(call_and_catch(in_once, &s->once, &l));
    for (int i = 0; i < callers; i++)
        CHECK_OK(gmp_chan_recv(s->told, nullptr));
}

void others_wait(Way way, bool on_thread)
{
    for (int round = 0; round < rounds / 5; round++) {
        Shared s;
        gmp_g *g[callers];
        gmp_g *leaver = nullptr;
        std::thread thread;

        s.way = way;
        if (on_thread)
            thread = std::thread([&s] { first(&s); });
        else
            leaver = spawn(first, &s);
        for (auto &each : g)
            each = spawn(waiter, &s);
        for (auto each : g)
            CHECK_OK(gmp_join(each));
        if (on_thread)
            thread.join();
        else
            CHECK_OK(gmp_join(leaver));
        CHECK_EQ(s.runs.load(), way == by_exit ? 0 : 1);
        CHECK_OK(gmp_once_do(&s.once, run_it, &s));
        CHECK_EQ(s.runs.load(), way == by_exit ? 0 : 1);
        gmp_chan_unref(s.told);
    }
}

// --- Nested, and gone with the stack ----------------------------------------

struct Nest {
    gmp_once outer = GMP_ONCE_INIT, inner = GMP_ONCE_INIT;
    Leaver leaver;
};

void inner_of(void *arg)
{
    auto *n = static_cast<Nest *>(arg);

    gmp_once_do(&n->inner, leave, &n->leaver);
    CHECK(!"left");
}

// A jump over two of them: both begin anew.
void over_two(void *)
{
    for (int way = by_throw; way <= by_jump; way++) {
        Nest n{GMP_ONCE_INIT, GMP_ONCE_INIT, {static_cast<Way>(way), {}}};
        std::atomic<int> runs{0};

        if (way == by_jump) {
            if (setjmp(n.leaver.env) == 0)
                gmp_once_do(&n.outer, inner_of, &n);
        } else {
            try {
                gmp_once_do(&n.outer, inner_of, &n);
            } catch (const Boom &) {
            }
        }
        use_much_stack(8);
        CHECK_OK(gmp_once_do(&n.inner, count, &runs));
        CHECK_OK(gmp_once_do(&n.outer, count, &runs));
        CHECK_EQ(runs.load(), 2);
    }
}

void catch_inner(void *arg)
{
    auto *n = static_cast<Nest *>(arg);
    std::atomic<int> runs{0};

    CHECK(call_and_catch(in_once, &n->inner, &n->leaver));
    use_much_stack(8); // On a thread of the host's only that shows the jump.
    CHECK_EQ(gmp_once_do(&n->outer, count, &runs), -EDEADLK);
    CHECK_OK(gmp_once_do(&n->inner, count, &runs));
    CHECK_EQ(runs.load(), 1);
}

// The inner one is left, the outer one ends as usual.
void out_of_one_of_two(void *)
{
    for (int way = by_throw; way <= by_jump; way++) {
        Nest n{GMP_ONCE_INIT, GMP_ONCE_INIT, {static_cast<Way>(way), {}}};

        CHECK_OK(gmp_once_do(&n.outer, catch_inner, &n));
        CHECK_OK(gmp_once_do(&n.outer, catch_inner, &n));
    }
}

// The once is gone when the goroutine notices: what has its place is left
// alone.
void __attribute__((noinline)) leave_one_on_the_stack(Leaver *l, Call which)
{
    gmp_once o = GMP_ONCE_INIT;

    call(which, &o, leave, l);
}

void place_is_used_again(void *)
{
    for (int i = 0; i < rounds; i++) {
        Leaver l{by_jump, {}};

        if (setjmp(l.env) == 0)
            leave_one_on_the_stack(&l, in_once);
        else {
            volatile unsigned words[256];

            for (auto &w : words)
                w = 1;
            gmp_yield();
            CHECK_OK(gmp_sleep(US(20)));
            for (auto &w : words)
                CHECK_EQ(w, 1);
        }
    }
}

// It ends with a call left by a jump: whoever comes later begins anew.
gmp_once kept = GMP_ONCE_INIT;

void leave_and_end(void *)
{
    Leaver l{by_jump, {}};

    CHECK(call_and_catch(in_once, &kept, &l));
}

void leave_and_exit(void *)
{
    leave_and_end(nullptr);
    use_much_stack(4);
    gmp_exit();
}

void after_the_end()
{
    for (auto end : {leave_and_end, leave_and_exit}) {
        std::atomic<int> runs{0};

        kept = GMP_ONCE_INIT;
        CHECK_OK(gmp_join(spawn(end, nullptr)));
        CHECK_OK(gmp_once_do(&kept, count, &runs));
        CHECK_EQ(runs.load(), 1);
    }
    std::atomic<int> runs{0};

    kept = GMP_ONCE_INIT;
    std::thread(leave_and_end, nullptr).join();
    CHECK_OK(gmp_once_do(&kept, count, &runs));
    CHECK_EQ(runs.load(), 1);
}

// --- gmp_exit and what is put off -------------------------------------------

std::atomic<int> order;

void put_off(void *arg)
{
    CHECK_EQ(order++, static_cast<int>(reinterpret_cast<intptr_t>(arg)));
}

void defer_and_leave(void *arg)
{
    CHECK_OK(gmp_defer(put_off, reinterpret_cast<void *>(1)));
    leave(arg);
}

// Defers stay where they are, whatever else comes and goes.
void defers_stay(void *arg)
{
    auto way = static_cast<Way>(reinterpret_cast<intptr_t>(arg));
    gmp_once o = GMP_ONCE_INIT;
    Leaver l{way, {}};

    CHECK_OK(gmp_defer(put_off, reinterpret_cast<void *>(2)));
    if (way == by_jump) {
        if (setjmp(l.env) == 0)
            gmp_once_do(&o, defer_and_leave, &l);
    } else {
        try {
            gmp_once_do(&o, defer_and_leave, &l);
        } catch (const Boom &) {
        }
    }
    CHECK_OK(gmp_defer(put_off, nullptr));
}

void defers()
{
    for (intptr_t way = 0; way < ways; way++) {
        order = way == by_exit ? 1 : 0;
        CHECK_OK(gmp_join(spawn(defers_stay, reinterpret_cast<void *>(way))));
        CHECK_EQ(order.load(), 3);
    }
}

void exit_in_blocking(void *)
{
    Leaver l{by_exit, {}};

    gmp_blocking(leave, &l);
    CHECK(!"it has ended");
}

// --- Threads that end inside ------------------------------------------------

void *exit_thread_inside(void *arg)
{
    auto end = [](void *) { pthread_exit(nullptr); };

    if (arg)
        gmp_once_do(static_cast<gmp_once *>(arg), end, nullptr);
    else
        gmp_blocking(end, nullptr);
    return nullptr;
}

void threads_end_inside()
{
    for (int i = 0; i < rounds / 5; i++) {
        gmp_once o = GMP_ONCE_INIT;
        std::atomic<int> runs{0};
        pthread_t t;

        CHECK_OK(pthread_create(&t, nullptr, exit_thread_inside, &o));
        CHECK_OK(pthread_join(t, nullptr));
        CHECK_OK(gmp_once_do(&o, count, &runs));
        CHECK_EQ(runs.load(), 1);
        CHECK_OK(pthread_create(&t, nullptr, exit_thread_inside, nullptr));
        CHECK_OK(pthread_join(t, nullptr));
    }
}

// Many at once: each once is begun anew until somebody stays to the end.
gmp_once contested;
std::atomic<int> attempts, done;

void mostly_throw(void *)
{
    gmp_yield();
    if (attempts++ < 5)
        throw Boom("again");
    done++;
}

void contend(void *)
{
    for (;;) {
        try {
            CHECK_OK(gmp_once_do(&contested, mostly_throw, nullptr));
            CHECK_EQ(done.load(), 1);
            return;
        } catch (const Boom &) {
        }
    }
}

void contention()
{
    for (int round = 0; round < rounds; round++) {
        gmp_g *g[callers];

        contested = GMP_ONCE_INIT;
        attempts = done = 0;
        for (auto &each : g)
            each = spawn(contend, nullptr);
        contend(nullptr);
        for (auto each : g)
            CHECK_OK(gmp_join(each));
        CHECK_EQ(attempts.load(), 6);
    }
}

} // namespace

int test_main(int, char **)
{
    for (auto f : {all_ways_on, over_two, out_of_one_of_two,
                   place_is_used_again}) {
        CHECK_OK(gmp_join(spawn(f, nullptr)));
        f(nullptr);
        std::thread(f, nullptr).join();
    }
    others_wait(by_throw, false);
    others_wait(by_throw, true);
    others_wait(by_jump, false);
    others_wait(by_jump, true);
    others_wait(by_exit, false);
    after_the_end();
    defers();
    CHECK_OK(gmp_join(spawn(exit_in_blocking, nullptr)));
    threads_end_inside();
    contention();
    return 0;
}
