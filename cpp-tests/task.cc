// task<T>, and what an exception, a cancel and the owner's end do to it.
#include "test.hpp"

#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

namespace {

struct own_error : std::runtime_error {
    int value;
    explicit own_error(int v) : std::runtime_error("own"), value(v) {}
};

// Neither copied nor assigned, and without a default constructor.
struct only_moved {
    explicit only_moved(int v) : value(v) {}
    only_moved(only_moved &&) = default;
    only_moved &operator=(only_moved &&) = delete;
    int value;
};

void results()
{
    gmp::task<int> answer([] { return 42; });
    gmp::task text([](const std::string &s) { return s + "!"; }, "text");
    static_assert(std::is_same_v<decltype(text), gmp::task<std::string>>);
    gmp::task moved([] { return only_moved(7); });
    gmp::task<std::unique_ptr<int>> owned(
        [p = std::make_unique<int>(8)]() mutable { return std::move(p); });
    int n = 0, sum = 0;
    gmp::task<void> small([&n] { n = 1; });
    gmp::task<void> large([&, a = 1, b = 2, c = 3] { sum = a + b + c; });
    gmp::task<long> converted([] { return 3; });

    CHECK_EQ(answer.join(), 42);
    CHECK(!answer.joinable());
    CHECK_EQ(text.join(), "text!");
    CHECK_EQ(moved.join().value, 7);
    CHECK_EQ(*owned.join(), 8);
    CHECK_EQ(converted.join(), 3L);
    small.join();
    large.join();
    CHECK_EQ(n, 1);
    CHECK_EQ(sum, 6);

    gmp::task<void> named(gmp::options().name("named"), [] {
        CHECK_EQ(gmp::this_goroutine::name(), "named");
    });
    named.join();
}

void handles()
{
    gmp::task<int> none;
    CHECK(!none.joinable() && !none.native_handle());
    none.cancel();
    CHECK_THROWS(std::system_error, none.join(),
                 CHECK(e.code() == std::errc::invalid_argument));
    gmp::task<int> a([] { return 1; });
    gmp::task<int> b(std::move(a));
    CHECK(!a.joinable() && b.joinable());
    a = std::move(b);
    CHECK(a.joinable() && !b.joinable());
    CHECK_EQ(a.join(), 1);
    std::error_code ec;
    CHECK(!a.join(ec));
    CHECK(ec == std::errc::invalid_argument);

    std::vector<gmp::task<int>> many;
    for (int i = 0; i < 50; i++)
        many.emplace_back([i] { return i; });
    int sum = 0;
    for (auto &each : many)
        sum += each.join();
    CHECK_EQ(sum, 49 * 50 / 2);
}

// An assignment and a destructor cancel, and wait.
void ends_with_its_owner()
{
    std::atomic<int> ended{0};
    const auto wait = [&ended] {
        try {
            gmp::sleep_for(1h);
        } catch (const gmp::cancelled &) {
            ended++;
            throw;
        }
    };
    {
        gmp::task<void> t(wait);
        test::counted one(1);
        gmp::task<int> held([one, wait] {
            wait();
            return one.value;
        });
        t = gmp::task<void>(wait);
        gmp::this_goroutine::yield();
    }
    // Those that were cancelled before they began have not counted.
    CHECK(ended.load() <= 3);
    CHECK_EQ(test::counted::alive.load(), 0);
}

[[noreturn]] int fail_with(int n)
{
    throw own_error(n);
}

// With a state and without one; by join and by its twin.
void exceptions()
{
    for (int round = 0; round < 2; round++) {
        gmp::task<int> value(gmp::options().name("adder"),
                             [] { return fail_with(1); });
        CHECK_THROWS(own_error, value.join(), CHECK_EQ(e.value, 1);
                     CHECK_EQ(gmp::thrown_by(), "adder"));
        CHECK(!value.joinable());
        CHECK_EQ(gmp::thrown_by(), "");

        gmp::task<void> word([] { fail_with(2); });
        std::error_code ec;
        CHECK_THROWS(own_error, word.join(ec), CHECK_EQ(e.value, 2);
                     CHECK_EQ(gmp::thrown_by().find("goroutine "), 0u));
        gmp::task<void> two_words([&, n = 3] { fail_with(n); });
        try {
            two_words.join();
            CHECK(false);
        } catch (const own_error &e) {
            CHECK_EQ(e.value, 3);
            try {
                throw std::runtime_error("another");
            } catch (const std::exception &) {
                CHECK_EQ(gmp::thrown_by(), ""); // it is this goroutine's own
            }
        }
        gmp::task<int> a_number([]() -> int { throw 5; });
        CHECK_THROWS(int, a_number.join(), CHECK_EQ(e, 5));
    }
    // Many at once, each its own.
    std::vector<gmp::task<void>> many;
    std::vector<int> numbers(100);
    for (int &n : numbers) {
        n = static_cast<int>(&n - numbers.data());
        many.emplace_back([&n] {
            gmp::this_goroutine::yield();
            if (n % 3 == 0)
                fail_with(n);
        });
    }
    for (int i = 0; i < 100; i++)
        if (i % 3 == 0)
            CHECK_THROWS(own_error, many[static_cast<std::size_t>(i)].join(),
                         CHECK_EQ(e.value, i));
        else
            many[static_cast<std::size_t>(i)].join();
    // One that nobody joins is forgotten.
    gmp::task<void> dropped([] { fail_with(9); });
}

void cancels()
{
    std::error_code ec;
    gmp::channel<int> never(0);
    gmp::task<int> value([never] { return *never.recv(); });
    value.cancel();
    CHECK_THROWS(std::system_error, value.join(),
                 CHECK(e.code() == std::errc::operation_canceled));
    gmp::task<void> word([&never] { static_cast<void>(never.recv()); });
    word.request_stop();
    word.join(ec);
    CHECK(ec == std::errc::operation_canceled);

    // A function that does not wait is not cancelled.
    gmp::task<int> busy([] { return 1; });
    busy.cancel();
    CHECK_EQ(busy.join(), 1);

    // A joiner that is cancelled: the other goes on.
    gmp::channel<int> go(0);
    gmp::channel<int> joins(1);
    gmp::task<int> other([go] { return *go.recv(); });
    gmp::task<bool> joiner([&] {
        CHECK(joins.send(1));
        bool thrown = false;
        try {
            static_cast<void>(other.join());
        } catch (const gmp::cancelled &) {
            thrown = true;
        }
        return thrown;
    });
    CHECK(joins.recv());
    joiner.cancel();
    CHECK(joiner.join());
    CHECK(other.joinable());
    CHECK(!other.join(ec, 1ms));
    CHECK(ec == std::errc::timed_out);
    CHECK(go.send(4));
    CHECK_EQ(other.join(), 4);
}

// A goroutine that catches a cancel is reminded of it by its next call.
void a_cancel_stays()
{
    gmp::task<int> deaf([] {
        int caught = 0;
        for (int i = 0; i < 3; i++)
            try {
                gmp::sleep_for(1h);
            } catch (...) {
                caught++;
            }
        return caught;
    });
    deaf.cancel();
    CHECK_EQ(deaf.join(), 3);
}

// One that ends by gmp_exit has no result.
void exits()
{
    gmp::task<int> value([] {
        gmp_exit();
        return 1;
    });
    std::error_code ec;
    CHECK(!value.join(ec));
    CHECK(ec == std::errc::operation_canceled);
}

void too_large()
{
    test::counted one(1);
    CHECK_THROWS(std::system_error,
                 gmp::task<void> t(
                     gmp::options().stack_size(std::size_t{1} << 40),
                     [one] {}),
                 CHECK(e.code() == std::errc::invalid_argument));
    CHECK_EQ(test::counted::alive.load(), 1);
}

#if defined(__cpp_lib_jthread)
void stop_tokens()
{
    gmp::channel<int> began(0);
    gmp::task<int> loop(
        [began](std::stop_token stop, int n) {
            CHECK(began.send(1));
            while (!stop.stop_requested()) {
                gmp::this_goroutine::yield();
                n++;
            }
            return n;
        },
        1);
    CHECK(began.recv());
    loop.request_stop();
    CHECK(loop.join() >= 1);
    gmp::task deduced([](std::stop_token) { return 1.5; });
    static_assert(std::is_same_v<decltype(deduced), gmp::task<double>>);
    CHECK_EQ(deduced.join(), 1.5);
    bool called = false;
    {
        gmp::task<void> waits([&](const std::stop_token &stop) {
            std::stop_callback note(stop, [&called] { called = true; });
            CHECK(began.send(2));
            while (!stop.stop_requested())
                gmp::this_goroutine::yield();
        });
        CHECK(began.recv());
    }
    CHECK(called);
}
#endif

#if defined(__cpp_lib_expected)
void expects()
{
    gmp::task<int> good([] { return 1; });
    CHECK_EQ(good.try_join().value(), 1);
    gmp::task<int> slow([] {
        gmp::sleep_for(1h);
        return 1;
    });
    CHECK(slow.try_join(1ms).error() == std::errc::timed_out);
    slow.cancel();
    CHECK(slow.try_join().error() == std::errc::operation_canceled);
    gmp::task<void> nothing([] {});
    CHECK(nothing.try_join().has_value());
}
#endif

} // namespace

void test_main()
{
    results();
    handles();
    ends_with_its_owner();
    exceptions();
    cancels();
    a_cancel_stays();
    exits();
    too_large();
#if defined(__cpp_lib_jthread)
    stop_tokens();
#endif
#if defined(__cpp_lib_expected)
    expects();
#endif
}
