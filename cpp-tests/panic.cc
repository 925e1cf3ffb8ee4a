// Panics, and what is destroyed when functions end, in whatever way.
#include "test.hpp"

#include <memory>
#include <stdexcept>
#include <vector>

using test::counted;
using namespace std::chrono_literals;

namespace {

enum class way { returns, throws, is_cancelled, exits, panics };

way now;                   // the one that all functions go
std::atomic<int> ended{0}; // destructors of frames

void recovers(void *)
{
    const gmp_panic_info *info = gmp_recover();
    CHECK(!info || std::string(info->text) == "way out");
}

// Ends with objects in frames, and in handlers on the way.
void leave(int depth)
{
    struct frame {
        counted object;
        ~frame() { ended++; }
    } in_frame;

    if (depth > 0) {
        try {
            leave(depth - 1);
        } catch (...) {
            const counted in_handler;
            throw;
        }
        return;
    }
    switch (now) {
    case way::returns:
        return;
    case way::throws:
        throw std::runtime_error("way out");
    case way::is_cancelled:
        CHECK(gmp_cancel(gmp_self()) == 0);
        gmp::sleep_for(1h);
        break;
    case way::exits:
        gmp_exit();
        break;
    case way::panics:
        CHECK(gmp_defer(recovers, nullptr) == 0);
        gmp::panic("way out");
    }
    test::fail(__FILE__, __LINE__, "it goes on");
}

constexpr int depth = 3;

// Functions that travel in a word, on a stack and in a box.
struct in_word {
    std::unique_ptr<counted> a = std::make_unique<counted>();
    void operator()() const { leave(depth); }
};
struct on_stack : in_word {
    std::unique_ptr<counted> b = std::make_unique<counted>();
};
struct in_box : on_stack {
    counted c;
};

} // namespace

namespace gmp {
template <> struct is_trivially_relocatable<in_word> : std::true_type {};
template <> struct is_trivially_relocatable<on_stack> : std::true_type {};
} // namespace gmp

namespace {

// --- Each way out of each kind of goroutine ---------------------------------

template <class Start>
void each_way(Start start, std::initializer_list<way> ways)
{
    for (const way how : ways) {
        now = how;
        ended = 0;
        start(in_word());
        start(on_stack());
        start(in_box());
        test::await([] { return counted::alive == 0; });
        CHECK_EQ(ended.load(), 3 * (depth + 1));
    }
}

void leave_a_goroutine()
{
    each_way([](auto &&f) { gmp::go(std::move(f)); },
             {way::returns, way::is_cancelled, way::exits, way::panics});
    each_way([](auto &&f) { gmp::go(gmp::options().name("g"), std::move(f)); },
             {way::returns, way::is_cancelled, way::exits, way::panics});
}

void leave_a_wait_group()
{
    each_way(
        [](auto &&f) {
            gmp::wait_group all;
            all.go(std::move(f));
            all.wait();
        },
        {way::returns, way::is_cancelled, way::exits, way::panics});
}

// The result of a function that did not return.
template <class Task> void joins(Task t)
{
    std::error_code ec;

    if (now == way::throws) {
        CHECK_THROWS(std::runtime_error, t.join(ec),
                     CHECK_EQ(std::string(e.what()), "way out"));
    } else {
        t.join(ec);
        if (now == way::returns)
            CHECK(!ec);
        else
            CHECK(ec == std::errc::operation_canceled);
    }
}

void leave_a_task()
{
    each_way([](auto &&f) { joins(gmp::task<void>(std::move(f))); },
             {way::returns, way::throws, way::is_cancelled, way::exits,
              way::panics});
    each_way(
        [](auto &&f) {
            joins(gmp::task<counted>([g = std::move(f)] {
                g();
                return counted(3);
            }));
        },
        {way::returns, way::throws, way::is_cancelled, way::exits,
         way::panics});
}

void leave_a_group()
{
    each_way(
        [](auto &&f) {
            gmp::group all;
            std::error_code ec;
            all.go(std::move(f));
            if (now == way::throws) {
                CHECK_THROWS(std::runtime_error, all.wait(),
                             CHECK_EQ(std::string(e.what()), "way out"));
                return;
            }
            all.wait(ec);
            if (now == way::panics)
                CHECK(ec == std::errc::owner_dead);
            else
                CHECK(!ec);
        },
        {way::returns, way::throws, way::is_cancelled, way::exits,
         way::panics});
}

// --- call -------------------------------------------------------------------

void call_returns()
{
    int n = 1;

    gmp::call([&n] { n++; });
    CHECK_EQ(n, 2);
    gmp::call([](int &x, int by) { x += by; }, n, 3);
    CHECK_EQ(n, 5);
    CHECK_EQ(gmp::call([](int x) { return x + 1; }, 1), 2);
    const auto p =
        gmp::call([](std::unique_ptr<int> q) { return q; },
                  std::make_unique<int>(7));
    CHECK_EQ(*p, 7);
    CHECK_EQ(gmp::call(&std::string::size, std::string("four")), 4u);

    std::optional<gmp::panicked> panic;
    CHECK_EQ(gmp::call(panic, [] { return 9; }).value(), 9);
    CHECK(!panic);
    gmp::call(panic, [] { gmp::panic("set"); });
    CHECK(panic.has_value());
    gmp::call(panic, [] {});
    CHECK(!panic);
}

void a_panic_is_thrown()
{
    now = way::panics;
    ended = 0;
    const counted outer;
    try {
        gmp::call([] {
            const counted inner;
            struct frame {
                ~frame() { ended++; }
            } in_frame;
            gmp::panic(std::string("the ") + "text");
        });
        test::fail(__FILE__, __LINE__, "it returns");
    } catch (const gmp::panicked &p) {
        CHECK_EQ(std::string(p.what()), "the text");
        CHECK(p.value() == nullptr);
        CHECK_EQ(p.id(), gmp::this_goroutine::id());
        CHECK_EQ(ended.load(), 1);
        CHECK_EQ(counted::alive.load(), 1);
        CHECK(std::current_exception() != nullptr);
    }
    int value;
    CHECK_THROWS(gmp::panicked, gmp::call([&] { gmp_panic_with(&value); }),
                 CHECK(e.value() == &value));
    // Again and again: nothing is left behind.
    for (int i = 0; i < 1000; i++) {
        std::optional<gmp::panicked> panic;
        const auto none = gmp::call(panic, [i]() -> counted {
            const counted inner;
            gmp_panic("%d", i);
        });
        CHECK(!none && std::to_string(i) == panic->what());
    }
    CHECK_EQ(counted::alive.load(), 1);
}

std::vector<int> order;

void defer(int n)
{
    CHECK(gmp_defer([](void *at) {
              order.push_back(static_cast<int>(
                  reinterpret_cast<std::intptr_t>(at)));
          },
          reinterpret_cast<void *>(std::intptr_t{n})) == 0);
}

// What was deferred inside runs first, and before any frame is left.
void what_is_deferred_runs_first()
{
    struct frame {
        int n;
        ~frame() { order.push_back(n); }
    };
    order.clear();
    CHECK_THROWS(gmp::panicked, gmp::call([] {
                     const frame in_frame{3};
                     defer(2);
                     defer(1);
                     gmp::panic("x");
                 }), );
    CHECK(order == std::vector<int>({1, 2, 3}));
    order.clear();
    gmp::call([] {
        const frame in_frame{1};
        defer(3);
        defer(2);
    });
    CHECK(order == std::vector<int>({1, 2, 3}));
    // One that it has stopped itself has left it, all the same.
    CHECK_THROWS(gmp::panicked, gmp::call([] {
                     CHECK(gmp_defer(recovers, nullptr) == 0);
                     gmp::panic("way out");
                 }),
                 CHECK_EQ(std::string(e.what()), "way out"));
}

// Exceptions of C++ go through gmp_call, and what is deferred runs.
void exceptions_go_on()
{
    order.clear();
    CHECK_THROWS(std::runtime_error, gmp::call([] {
                     const counted inner;
                     defer(1);
                     throw std::runtime_error("thrown");
                 }),
                 CHECK_EQ(std::string(e.what()), "thrown"));
    CHECK(order == std::vector<int>({1}));
    CHECK_THROWS(gmp::panicked, gmp::call([] {
                     gmp::call([] { gmp::panic("inner"); });
                 }),
                 CHECK_EQ(std::string(e.what()), "inner"));
    // What a gmp_call of C code passes on, one outside of it catches.
    CHECK_THROWS(gmp::panicked, gmp_call([](void *) {
                     gmp::call([] { gmp::panic("x"); });
                 }, nullptr, nullptr), );
    // And a panic goes through handlers that throw again.
    CHECK_THROWS(gmp::panicked, gmp::call([] {
                     try {
                         try {
                             gmp::panic("through");
                         } catch (const std::exception &) {
                             test::fail(__FILE__, __LINE__, "a panic is caught");
                         }
                     } catch (...) {
                         throw;
                     }
                 }),
                 CHECK_EQ(std::string(e.what()), "through"));
    // A destructor on the way has panics of its own.
    struct busy {
        ~busy()
        {
            CHECK_THROWS(gmp::panicked,
                         gmp::call([] { gmp::panic("in between"); }), );
        }
    };
    CHECK_THROWS(gmp::panicked, gmp::call([] {
                     const busy b;
                     gmp::panic("first");
                 }),
                 CHECK_EQ(std::string(e.what()), "first"));
}

// As the result of a goroutine.
void a_panic_is_joined()
{
    const auto guarded = [] { gmp::call([] { gmp::panic("joined"); }); };

    gmp::task t(gmp::options().name("panics"), guarded);
    CHECK_THROWS(gmp::panicked, t.join(), {
        CHECK_EQ(std::string(e.what()), "joined");
        CHECK_EQ(gmp::thrown_by(), "panics");
        CHECK(e.id() != gmp::this_goroutine::id());
    });
    gmp::group all;
    for (int i = 0; i < 3; i++)
        all.go([] { gmp::sleep_for(1h); });
    all.go(guarded);
    CHECK_THROWS(gmp::panicked, all.wait(),
                 CHECK_EQ(std::string(e.what()), "joined"));
}

// In what the library calls.
void a_panic_leaves_what_calls_back()
{
    gmp::once_flag flag;
    int calls = 0;
    CHECK_THROWS(gmp::panicked, gmp::call([&] {
                     gmp::call_once(flag, [&] {
                         calls++;
                         gmp::panic("once");
                     });
                 }),
                 CHECK_EQ(std::string(e.what()), "once"));
    gmp::call_once(flag, [&] { calls++; }); // done, as in Go
    CHECK_EQ(calls, 1);

    CHECK_THROWS(gmp::panicked, gmp::call([] {
                     gmp::blocking([] { gmp::panic("blocking"); });
                 }),
                 CHECK_EQ(std::string(e.what()), "blocking"));

    gmp::mutex m;
    CHECK_THROWS(gmp::panicked, gmp::call([&m] {
                     const std::lock_guard<gmp::mutex> held(m);
                     gmp::panic("locked");
                 }), );
    CHECK(m.try_lock()); // the guard has given it back
    m.unlock();

    gmp::channel<counted> ch(2);
    CHECK(ch.send(counted(1)) && ch.send(counted(2)));
    CHECK_THROWS(gmp::panicked, gmp::call([&ch] {
                     gmp::select(gmp::recv(
                         ch, [](const counted &) { gmp::panic("handler"); }));
                 }), );
    CHECK_EQ(ch.size(), 1u);
    CHECK_THROWS(gmp::panicked, gmp::call([&ch] {
                     for (counted &each : ch)
                         gmp_panic("%d", each.value);
                 }),
                 CHECK_EQ(std::string(e.what()), "2"));
}

} // namespace

void test_main()
{
    leave_a_goroutine();
    leave_a_wait_group();
    leave_a_task();
    leave_a_group();
    call_returns();
    a_panic_is_thrown();
    what_is_deferred_runs_first();
    exceptions_go_on();
    a_panic_is_joined();
    a_panic_leaves_what_calls_back();
}
