// go, options, this_goroutine, shield, thread_lock, blocking, sleeps.
#include "test.hpp"

#include <array>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

int plus(int a, int b)
{
    return a + b;
}

struct adder {
    int sum = 0;
    void add(int n) { sum += n; }
};

// Each way to hand a function to its goroutine.
void functions()
{
    gmp::wait_group all;
    std::atomic<int> sum{0};

    all.add(7);
    gmp::go([&] { // two words: onto the new stack
        sum += 1;
        all.done();
    });
    gmp::go([w = &all]() noexcept { w->done(); }); // a word
    gmp::go(
        [&](int n, const std::string &s) {
            sum += n + static_cast<int>(s.size());
            all.done();
        },
        10, "four");
    std::string long_text(200, 'x');
    gmp::go([&sum, &all, long_text] { // a box
        sum += static_cast<int>(long_text.size());
        all.done();
    });
    auto owned = std::make_unique<int>(1000);
    gmp::go([&sum, &all, owned = std::move(owned)] {
        sum += *owned;
        all.done();
    });
    std::array<int, 100> many{};
    many[99] = 10000;
    gmp::go([&sum, &all, many] {
        sum += many[99];
        all.done();
    });
    adder a;
    gmp::go([](gmp::wait_group *w, adder &to) {
        to.add(plus(2, 3));
        w->done();
    }, &all, std::ref(a));
    all.wait();
    CHECK_EQ(sum.load(), 1 + 14 + 200 + 1000 + 10000);
    CHECK_EQ(a.sum, 5);
}

// What a function holds is gone when its goroutine has ended.
void ends_what_it_holds()
{
    auto held = std::make_shared<int>(7);
    test::counted one(3);
    gmp::wait_group all;

    all.go([held] { CHECK_EQ(*held, 7); });
    all.go([held, one] { CHECK_EQ(one.value, 3); });
    all.go([](const std::shared_ptr<int> &p) { CHECK_EQ(*p, 7); }, held);
    all.wait();
    CHECK_EQ(held.use_count(), 1);
    CHECK_EQ(test::counted::alive.load(), 1);
}

void with_options()
{
    gmp::channel<std::string> names(0);
    const std::string name = "reader of many things";

    gmp::go(gmp::options().name(name).stack_size(1 << 20),
            [names] { CHECK(names.send(gmp::this_goroutine::name())); });
    CHECK_EQ(*names.recv(), name);
    gmp::go(gmp::options().locked_thread(), [names] {
        const auto thread = std::this_thread::get_id();
        gmp::sleep_for(1ms);
        CHECK(thread == std::this_thread::get_id());
        CHECK(names.send(std::string(100, 'n')));
    });
    CHECK_EQ(names.recv()->size(), 100u);

    gmp::task<std::string> renamed([] {
        CHECK_EQ(gmp::this_goroutine::name(), "");
        CHECK(gmp::this_goroutine::set_name(std::string(90, 'x')));
        return gmp::this_goroutine::name();
    });
    CHECK_EQ(renamed.join(), std::string(90, 'x'));
}

void too_large()
{
    std::error_code ec;

    gmp::go(ec, [] {});
    CHECK(!ec);
    CHECK_THROWS(std::system_error,
                 gmp::go(gmp::options().stack_size(std::size_t{1} << 40),
                         [] {}),
                 CHECK(e.code() == std::errc::invalid_argument));
    test::counted one(1);
    CHECK_THROWS(std::system_error,
                 gmp::go(gmp::options().stack_size(std::size_t{1} << 40),
                         [one] {}),
                 CHECK(e.code() == std::errc::invalid_argument));
    CHECK_EQ(test::counted::alive.load(), 1);
}

void cancelled_silently()
{
    gmp::channel<gmp_g *> handle(0);
    gmp::wait_group ended;

    ended.go([handle] {
        CHECK(handle.send(gmp_self()));
        gmp::sleep_for(1h);
        test::fail(__FILE__, __LINE__, "slept an hour");
    });
    CHECK_EQ(gmp_cancel(*handle.recv()), 0);
    ended.wait();
}

void shields()
{
    gmp::channel<int> about(1);
    gmp::task<int> careful([about] {
        int done = 0;
        try {
            gmp::sleep_for(1h);
        } catch (const gmp::cancelled &first) {
            CHECK_EQ(std::string(first.what()), "gmp::cancelled");
            CHECK(gmp::this_goroutine::is_cancelled());
            {
                gmp::shield clean_up;
                gmp::sleep_for(1ms); // is not interrupted
                done = 1;
            }
            CHECK_THROWS(gmp::cancelled, gmp::sleep_for(1ms), );
        }
        return done;
    });
    careful.cancel();
    CHECK_EQ(careful.join(), 1);
}

void blocks()
{
    CHECK_EQ(gmp::blocking([] { return 42; }), 42);
    CHECK_EQ(gmp::blocking([] { return std::string("text"); }), "text");
    int n = 0;
    gmp::blocking([&n] { n = 1; });
    CHECK_EQ(n, 1);
    CHECK_THROWS(std::runtime_error,
                 gmp::blocking([] { throw std::runtime_error("out"); }),
                 CHECK_EQ(std::string(e.what()), "out"));
    std::error_code ec;
    auto got = gmp::blocking([] { return std::make_unique<int>(5); }, ec);
    CHECK(!ec && got && **got == 5);

    gmp::task<void> cancelled([&] {
        test::await([] { return gmp::this_goroutine::is_cancelled(); });
        gmp::blocking([] { test::fail(__FILE__, __LINE__, "called"); });
    });
    cancelled.cancel();
    cancelled.join(ec);
    CHECK(ec == std::errc::operation_canceled);
}

template <class Clock> void sleeps_until()
{
    const auto due = Clock::now() + 2ms;
    gmp::sleep_until(due);
    CHECK(Clock::now() >= due);
    gmp::sleep_until(Clock::now() - 1h);
}

void sleeps()
{
    const auto before = std::chrono::steady_clock::now();
    gmp::sleep_for(2ms);
    gmp::sleep_for(std::chrono::duration<double>(0.001));
    gmp::sleep_for(-1h);
    CHECK(std::chrono::steady_clock::now() - before >= 3ms);
    sleeps_until<std::chrono::steady_clock>();
    sleeps_until<std::chrono::system_clock>();
    sleeps_until<std::chrono::high_resolution_clock>();
    std::error_code ec;
    gmp::sleep_for(1ms, ec);
    CHECK(!ec);
    gmp::sleep_until(std::chrono::system_clock::now() + 1ms, ec);
    CHECK(!ec);
}

void deadlines()
{
    using hours = std::chrono::duration<long double, std::ratio<3600>>;

    CHECK_EQ(gmp::deadline().ns(), GMP_FOREVER);
    CHECK_EQ(gmp::deadline(std::chrono::hours::max()).ns(), GMP_FOREVER);
    CHECK_EQ(gmp::deadline(hours::max()).ns(), GMP_FOREVER);
    CHECK_EQ(gmp::deadline(std::chrono::nanoseconds::max()).ns(), GMP_FOREVER);
    CHECK_EQ(
        gmp::deadline(std::chrono::steady_clock::time_point::max()).ns(),
        GMP_FOREVER);
    CHECK_EQ(
        gmp::deadline(std::chrono::system_clock::time_point::max()).ns(),
        GMP_FOREVER);
    CHECK(gmp::deadline(-1h).ns() <= gmp_now());
    CHECK(gmp::deadline(std::chrono::nanoseconds::min()).ns() <= gmp_now());
    CHECK(gmp::deadline(std::chrono::system_clock::time_point::min()).ns() <=
          gmp_now());
    const auto in_a_minute = gmp::deadline(60s).ns() - gmp_now();
    CHECK(in_a_minute > 59'000'000'000 && in_a_minute <= 60'000'000'000);
    const gmp::deadline point = std::chrono::system_clock::now() + 60s;
    CHECK(point.ns() - gmp_now() > 59'000'000'000);
}

void errors()
{
    const std::error_code closed = gmp::error(-EPIPE);
    CHECK(closed == std::errc::broken_pipe);
    CHECK(closed != std::errc::timed_out);
    CHECK(!gmp::error(0) && !gmp::error(17));
    CHECK_EQ(std::string(closed.category().name()), "gmp");
    CHECK_EQ(closed.message(), std::string(gmp_strerror(-EPIPE)));
    CHECK_EQ(gmp::check(17), 17);
    CHECK_THROWS(std::bad_alloc, gmp::check(-ENOMEM), );
    CHECK_THROWS(gmp::cancelled, gmp::check(-ECANCELED), );
    CHECK_THROWS(std::system_error, gmp::check(-EBADF, "here"),
                 CHECK(std::string(e.what()).find("here") == 0));
}

void identity()
{
    gmp::task<std::uint64_t> a([] { return gmp::this_goroutine::id(); });
    gmp::task<std::uint64_t> b([] {
        gmp::this_goroutine::yield();
        gmp::this_goroutine::checkpoint();
        return gmp::this_goroutine::id();
    });
    const auto first = a.join(), second = b.join();
    CHECK(first != 0 && second != 0 && first != second);
    gmp::thread_lock here;
    CHECK(!gmp::this_goroutine::is_cancelled());
}

} // namespace

void test_main()
{
    functions();
    ends_what_it_holds();
    with_options();
    too_large();
    cancelled_silently();
    shields();
    blocks();
    sleeps();
    deadlines();
    errors();
    identity();
}
