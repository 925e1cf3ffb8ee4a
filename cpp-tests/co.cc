// Coroutines: goroutines without a stack.
#include "test.hpp"

#include <memory>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using test::counted;

namespace {

gmp::co<int> add(int a, int b)
{
    co_return a + b;
}

gmp::co<int> add_late(int a, int b)
{
    co_await gmp::async_sleep_for(100us);
    co_return co_await add(a, b);
}

// Arguments and locals are counted; so is the result.
gmp::co<counted> doubles(counted n)
{
    counted local(n.value);
    co_await gmp::this_goroutine::async_yield();
    co_return counted(n.value + local.value);
}

void results()
{
    gmp::task t(add_late(1, 2));
    CHECK_EQ(t.join(), 3);
    gmp::task<counted> d(gmp::options().name("doubles"), doubles(counted(4)));
    CHECK_EQ(d.join().value, 8);
    std::error_code ec;
    gmp::task<int> f(ec, add(2, 2));
    CHECK(!ec);
    CHECK_EQ(*f.join(ec), 4);
    // One that never begins.
    {
        const gmp::co<counted> unused = doubles(counted(1));
        CHECK(static_cast<bool>(unused));
    }
    gmp::co<int> moved = add(3, 4), empty;
    empty = std::move(moved);
    CHECK(!moved);
    gmp::task<int> m(std::move(empty));
    CHECK_EQ(m.join(), 7);
    CHECK_THROWS(std::system_error, gmp::task<int> n(std::move(empty)),
                 CHECK(e.code() == std::errc::invalid_argument));
}

// Many that wait for one another, without much of a stack.
gmp::co<long> nested(int depth)
{
    if (depth == 0)
        co_return 0;
    co_return 1 + co_await nested(depth - 1);
}

gmp::co<void> loops(int n)
{
    for (int i = 0; i < n; i++)
        CHECK_EQ(co_await add(i, 1), i + 1);
}

void children()
{
    gmp::task<long> t(nested(1000));
    CHECK_EQ(t.join(), 1000L);
    gmp::task<void> l(loops(10000));
    l.join();
}

template <class T>
gmp::co<int> copies(gmp::receiver<T> from, gmp::sender<T> to)
{
    int n = 0;
    while (auto x = co_await from.async_recv()) {
        if (!co_await to.async_send(std::move(*x)))
            break;
        n++;
    }
    to.close();
    co_return n;
}

template <class T, class Make> void passes(std::size_t capacity, Make make)
{
    gmp::channel<T> a(capacity), b(capacity), c(0);
    gmp::task<int> first(copies<T>(a, b)), second(copies<T>(b, c));
    gmp::task<void> sends([&] {
        for (int i = 0; i < 500; i++)
            CHECK(a.send(make(i)));
        a.close();
    });
    int n = 0;
    for (T &x : c)
        CHECK(x == make(n++));
    CHECK_EQ(n, 500);
    CHECK_EQ(first.join(), 500);
    CHECK_EQ(second.join(), 500);
}

struct throws_on_move {
    std::string text;
    explicit throws_on_move(std::string s) : text(std::move(s)) {}
    throws_on_move(const throws_on_move &) = default;
    throws_on_move(throws_on_move &&other) noexcept(false)
        : text(std::move(other.text))
    {
    }
    throws_on_move &operator=(const throws_on_move &) = default;
    bool operator==(const throws_on_move &other) const
    {
        return text == other.text;
    }
};

void channels()
{
    for (std::size_t capacity = 0; capacity < 3; capacity++) {
        passes<int>(capacity, [](int i) { return i; });
        passes<std::string>(capacity, [](int i) {
            return "a text that is too long for its object " +
                   std::to_string(i);
        });
        passes<throws_on_move>(capacity, [](int i) {
            return throws_on_move(std::to_string(i));
        });
    }
}

gmp::co<void> all_waits()
{
    std::error_code ec;
    gmp::channel<std::string> ch(1);

    CHECK(co_await ch.async_send("one", ec) && !ec);
    CHECK(!co_await ch.async_send("two", ec, 1ms));
    CHECK(ec == std::errc::timed_out);
    std::string kept = "a text that is too long for its object";
    CHECK(!co_await ch.async_send(std::move(kept), ec, 1ms));
    CHECK_EQ(kept, std::string("a text that is too long for its object"));
    CHECK_EQ(*co_await ch.async_recv(ec), std::string("one"));
    CHECK(!co_await ch.async_recv(ec, 1ms) && ec == std::errc::timed_out);
    CHECK((co_await ch.async_recv_for(1ms)).timed_out());
    const auto soon = std::chrono::steady_clock::now() + 1ms;
    CHECK((co_await ch.async_recv_until(soon)).timed_out());
    CHECK(std::chrono::steady_clock::now() >= soon);
    co_await gmp::async_sleep_until(soon);
    co_await gmp::async_sleep_until(std::chrono::system_clock::now() + 1ms, ec);
    CHECK(!ec);
    co_await gmp::async_sleep_for(0s, ec);
    CHECK(!ec);
    CHECK(co_await ch.async_send("three"));
    const auto got = co_await ch.async_recv_for(1h);
    CHECK(got && *got == "three");
    CHECK(ch.close());
    CHECK(!co_await ch.async_send("four"));
    CHECK(!co_await ch.async_recv());
    CHECK((co_await ch.async_recv_for(1h)).closed());
    CHECK(!co_await ch.async_recv(ec) && ec == std::errc::broken_pipe);
    gmp::channel<std::string> none;
    CHECK(!co_await none.async_recv(ec) && ec == std::errc::invalid_argument);
    CHECK(!co_await none.async_send("", ec));
    CHECK_THROWS(std::system_error, static_cast<void>(none.async_recv()), {});
    // Tasks: a goroutine, and another coroutine.
    gmp::task<int> t([] { return 5; }), u(add_late(3, 4));
    CHECK_EQ(co_await t, 5);
    CHECK_EQ(co_await u.async_join(), 7);
    gmp::task<void> slow([] { gmp::sleep_for(1h); });
    co_await slow.async_join(ec, 1ms);
    CHECK(ec == std::errc::timed_out && slow.joinable());
    slow.cancel();
    co_await slow.async_join(ec);
    CHECK(ec == std::errc::operation_canceled && !slow.joinable());
    co_await slow.async_join(ec);
    CHECK(ec == std::errc::invalid_argument);
    // What blocks, blocks.
    gmp::sleep_for(100us);
    gmp::mutex m;
    std::lock_guard<gmp::mutex> guard(m);
    co_await gmp::this_goroutine::async_yield();
}

void every_wait()
{
    gmp::task<void> t(all_waits());
    t.join();
}

struct failed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

gmp::co<int> fails(counted argument)
{
    counted local(argument);
    co_await gmp::async_sleep_for(10us);
    throw failed("the reason");
}

gmp::co<int> passes_on()
{
    counted local(1);
    co_return co_await fails(local) + 1;
}

gmp::co<int> handles()
{
    try {
        co_return co_await passes_on();
    } catch (const failed &) {
    }
    co_await gmp::async_sleep_for(10us);
    co_return 9;
}

gmp::co<int> joins_one_that_fails()
{
    gmp::task<int> t(gmp::options().name("culprit"), fails(counted(3)));
    std::string said;
    try {
        co_return co_await t;
    } catch (const failed &) {
        said = gmp::thrown_by();
    }
    CHECK_EQ(said, std::string("culprit"));
    co_return 11;
}

void exceptions()
{
    gmp::task<int> t(gmp::options().name("thrower"), passes_on());
    CHECK_THROWS(failed, t.join(),
                 CHECK_EQ(gmp::thrown_by(), std::string("thrower")));
    gmp::task<int> h(handles()), j(joins_one_that_fails());
    CHECK_EQ(h.join(), 9);
    CHECK_EQ(j.join(), 11);
}

gmp::co<void> waits_for_ever(gmp::channel<counted> ch, std::atomic<int> &began)
{
    counted local(1);
    began++;
    co_await ch.async_recv();
}

gmp::co<void> around(gmp::channel<counted> ch, std::atomic<int> &began)
{
    counted local(2);
    co_await waits_for_ever(ch, began);
}

gmp::co<int> shields(std::atomic<int> &began)
{
    {
        gmp::shield careful;
        began++;
        co_await gmp::async_sleep_for(2ms);
    }
    try {
        co_await gmp::async_sleep_for(1h);
    } catch (const gmp::cancelled &) {
        began++;
    }
    co_return 1;
}

void cancels()
{
    gmp::channel<counted> ch(0);
    std::atomic<int> began{0};
    std::error_code ec;
    {
        gmp::task<void> a(around(ch, began)), b(around(ch, began));
        test::await([&] { return began == 2; });
        a.cancel();
        a.join(ec);
        CHECK(ec == std::errc::operation_canceled);
        // b is cancelled by its destructor.
    }
    CHECK_EQ(test::counted::alive.load(), 0);
    CHECK(ch.try_send(counted(1)) == gmp::channel_status::full);
    began = 0;
    gmp::task<int> s(shields(began));
    test::await([&] { return began == 1; });
    s.cancel();
    CHECK_EQ(*s.join(ec), 1);
    CHECK_EQ(began.load(), 2);
    // A task that awaits another one, of which it is the owner.
    began = 0;
    {
        gmp::task<void> outer(
            [](gmp::task<void> inner) -> gmp::co<void> { co_await inner; }(
                gmp::task<void>(around(ch, began))));
        test::await([&] { return began == 1; });
    }
    CHECK_EQ(test::counted::alive.load(), 0);
}

gmp::co<void> trades(gmp::channel<int> ch, int n, std::atomic<int> &count)
{
    for (int i = 0; i < n; i++) {
        counted local(i);
        if (n % 2 == 0) {
            if (co_await ch.async_send(i))
                count++;
        } else if (co_await ch.async_recv_for(std::chrono::microseconds(i))) {
            count--;
        }
    }
}

// Tasks that go while their coroutines are woken: nothing is lost, and nothing
// is left.
void storm()
{
    gmp::channel<int> ch(1);
    std::atomic<int> count{0};
    for (int round = 0; round < 60; round++) {
        std::vector<gmp::task<void>> all;
        for (int i = 0; i < 8; i++)
            all.emplace_back(trades(ch, 200 + i, count));
        if (round % 3 == 0)
            gmp::sleep_for(std::chrono::microseconds(10 * round));
        for (std::size_t i = 0; i < 4; i++)
            all[i].cancel();
        while (round % 2 == 0 && ch.try_recv())
            count--;
    }
    while (ch.try_recv())
        count--;
    CHECK_EQ(count.load(), 0);
    CHECK_EQ(test::counted::alive.load(), 0);
}

gmp::co<void> reports(gmp::channel<int> done, counted c)
{
    co_await gmp::async_sleep_for(10us);
    CHECK(co_await done.async_send(c.value));
}

void on_its_own()
{
    gmp::channel<int> done(0);
    int sum = 0;
    for (int i = 0; i < 20; i++)
        gmp::go(reports(done, counted(i)));
    gmp::go(gmp::options().name("named"), reports(done, counted(20)));
    for (int i = 0; i <= 20; i++)
        sum += *done.recv();
    CHECK_EQ(sum, 210);
    test::await([] { return test::counted::alive == 0; });
}

gmp::co<int> exits(counted c)
{
    counted local(c);
    co_await gmp::async_sleep_for(10us);
    gmp_exit();
    co_return 1;
}

gmp::co<int> exits_inside(counted c)
{
    co_return co_await exits(c);
}

gmp::co<int> panics(counted c)
{
    co_await gmp::async_sleep_for(10us);
    try {
        gmp::call([&c] {
            counted local(c);
            gmp::panic("the reason");
        });
    } catch (const gmp::panicked &p) {
        CHECK_EQ(std::string(p.what()), std::string("the reason"));
    }
    co_await gmp::async_sleep_for(10us);
    co_return 6;
}

void ends_by_exit()
{
    std::error_code ec;
    gmp::task<int> t(exits(counted(1))), u(exits_inside(counted(1)));
    t.join(ec);
    CHECK(ec == std::errc::operation_canceled);
    u.join(ec);
    CHECK(ec == std::errc::operation_canceled);
    gmp::go(exits(counted(2)));
    gmp::task<int> p(panics(counted(3)));
    CHECK_EQ(p.join(), 6);
    test::await([] { return test::counted::alive == 0; });
}

gmp::local<int> mine([] { return 3; });

gmp::co<int> has_its_own()
{
    const auto id = gmp::this_goroutine::id();
    *mine = 4;
    co_await gmp::async_sleep_for(10us);
    CHECK_EQ(gmp::this_goroutine::id(), id);
    gmp::thread_lock stays;
    const auto tid = gettid();
    co_await gmp::async_sleep_for(10us);
    CHECK_EQ(gettid(), tid);
    co_return *mine;
}

void as_goroutines()
{
    gmp::task<int> t(has_its_own()), u(has_its_own());
    CHECK_EQ(t.join(), 4);
    CHECK_EQ(u.join(), 4);
}

} // namespace

void test_main()
{
    results();
    children();
    channels();
    every_wait();
    exceptions();
    cancels();
    storm();
    on_its_own();
    ends_by_exit();
    as_goroutines();
}
