// group: members, their failures, cancels; and local<T>.
#include "test.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using test::counted;

namespace {

void all_end()
{
    std::atomic<int> sum{0};
    gmp::group g;
    for (int i = 0; i < 20; i++)
        g.go([&sum, i] { sum += i; });
    g.go([&sum]() noexcept { sum += 1000; });
    g.go([&sum](int n, const std::string &s) {
        sum += n + static_cast<int>(s.size());
    }, 1, "ab");
    g.go([]() -> std::error_code { return {}; });
    g.wait();
    CHECK_EQ(sum.load(), 190 + 1000 + 3);
    g.go([&sum] { sum = 0; });
    g.wait();
    CHECK_EQ(sum.load(), 0);
}

void first_failure()
{
    std::atomic<int> ended{0};
    gmp::group g;
    for (int i = 0; i < 5; i++)
        g.go([&ended] {
            try {
                gmp::sleep_for(1h);
            } catch (const gmp::cancelled &) {
                ended++;
                throw;
            }
        });
    g.go([] {
        gmp::this_goroutine::set_name("culprit");
        gmp::sleep_for(1ms);
        throw std::runtime_error("first");
    });
    for (int i = 0; i < 2; i++) // it stays
        CHECK_THROWS(std::runtime_error, g.wait(),
                     CHECK_EQ(std::string(e.what()), "first");
                     CHECK_EQ(gmp::thrown_by(), "culprit"));
    CHECK_EQ(ended.load(), 5);
    bool cancelled = false;
    g.go([&] { cancelled = gmp::this_goroutine::is_cancelled(); });
    CHECK_THROWS(std::runtime_error, g.wait(), );
    CHECK(cancelled);
}

void error_codes()
{
    gmp::group g;
    g.go([] { gmp::sleep_for(1h); });
    g.go([] { return std::make_error_code(std::errc::no_space_on_device); });
    CHECK_THROWS(std::system_error, g.wait(),
                 CHECK(e.code() == std::errc::no_space_on_device));
    std::error_code ec;
    g.wait(ec);
    CHECK(ec == std::errc::no_space_on_device);
}

void cancels()
{
    std::error_code ec;
    gmp::group g;
    g.go([] { gmp::sleep_for(1h); });
    g.wait(ec, 1ms);
    CHECK(ec == std::errc::timed_out);
    g.cancel();
    g.wait(); // a member that was cancelled has not failed
    {
        counted held(1);
        gmp::group left;
        left.go([held] { gmp::sleep_for(1h); });
        left.go([held] { throw std::runtime_error("forgotten"); });
    }
    CHECK_EQ(counted::alive.load(), 0);

    // The caller's cancel, and a group in a group.
    gmp::task<void> outer([] {
        gmp::group inner;
        inner.go([] {
            gmp::group innermost;
            innermost.go([] { gmp::sleep_for(1h); });
            innermost.wait();
        });
        inner.wait();
    });
    outer.cancel();
    outer.join(ec);
    CHECK(ec == std::errc::operation_canceled);
}

void unwinds()
{
    std::atomic<bool> began{false}, ended{false};
    CHECK_THROWS(int, {
        gmp::group g;
        g.go([&] {
            began = true;
            try {
                gmp::sleep_for(1h);
            } catch (...) {
                ended = true;
                throw;
            }
        });
        test::await([&] { return began.load(); });
        throw 3;
    }, );
    CHECK(ended.load());
}

gmp::local<counted> per_goroutine;
gmp::local<std::string> named([] { return std::string("begin"); });
gmp::local<std::unique_ptr<int>> owned;

void locals()
{
    gmp::wait_group all;
    for (int i = 0; i < 10; i++)
        all.go([i] {
            CHECK(!per_goroutine.find());
            per_goroutine->value = i;
            CHECK_EQ(*named, "begin");
            *named += std::to_string(i);
            gmp::this_goroutine::yield();
            gmp::sleep_for(1ms);
            CHECK_EQ(per_goroutine.get().value, i);
            CHECK_EQ(*named, "begin" + std::to_string(i));
            *owned = std::make_unique<int>(i);
        });
    all.wait();
    std::thread host([] {
        per_goroutine->value = 3;
        CHECK_EQ(per_goroutine.find()->value, 3);
    });
    host.join();
    test::await([] { return counted::alive == 0; });
    {
        gmp::local<counted> here;
        here->value = 1;
        CHECK_EQ(counted::alive.load(), 1);
    }
    CHECK_EQ(counted::alive.load(), 0);
}

} // namespace

void test_main()
{
    all_end();
    first_failure();
    error_codes();
    cancels();
    unwinds();
    locals();
}
