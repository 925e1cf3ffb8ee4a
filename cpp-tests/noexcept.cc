// Without exceptions: errors are results, in std::error_code.
#include "test.hpp"

#include <fcntl.h>
#include <memory>
#include <mutex>
#include <string>
#include <sys/socket.h>

using namespace std::chrono_literals;
using test::counted;

namespace {

void channels()
{
    std::error_code ec;
    auto ch = gmp::channel<std::unique_ptr<counted>>::make(1, ec);
    CHECK(!ec);
    gmp::task<int> sum(ec, [ch] {
        int n = 0;
        for (auto &p : ch)
            n += p->value;
        return n;
    });
    CHECK(!ec);
    for (int i = 0; i < 10; i++)
        CHECK(ch.send(std::make_unique<counted>(i), ec) && !ec);
    CHECK(ch.close());
    CHECK(!ch.send(nullptr, ec));
    CHECK(ec == std::errc::broken_pipe);
    CHECK_EQ(*sum.join(ec), 45);
    CHECK(!ec && !ch.recv(ec) && ec == std::errc::broken_pipe);
    gmp::channel<int> empty(0);
    CHECK(!empty.recv(ec, 1ms) && ec == std::errc::timed_out);
    CHECK(empty.try_recv().status() == gmp::channel_status::empty);
    CHECK(empty.try_send(1) == gmp::channel_status::full);
}

void panics()
{
    std::optional<gmp::panicked> panic;
    CHECK_EQ(*gmp::call(panic, [](int x) { return x + 1; }, 1), 2);
    CHECK(!panic);
    const auto none = gmp::call(panic, []() -> int { gmp::panic("text"); });
    CHECK(!none && panic && std::string(panic->what()) == "text");
    CHECK_EQ(panic->id(), gmp::this_goroutine::id());
    gmp::call(panic, [] {});
    CHECK(!panic);
}

void cancels()
{
    std::error_code ec;
    gmp::channel<int> never(0), about(1);
    gmp::task<int> t([=] {
        std::error_code why;
        CHECK(about.send(1, why));
        CHECK(!never.recv(why) && why == std::errc::operation_canceled);
        for (int x : never) // a cancel ends it
            CHECK_EQ(x, 0);
        gmp::sleep_for(1h, why);
        CHECK(why == std::errc::operation_canceled);
        CHECK_EQ(gmp::select(why, gmp::recv(never)), SIZE_MAX);
        CHECK(why == std::errc::operation_canceled);
        gmp::shield careful;
        gmp::sleep_for(1ms, why);
        CHECK(!why);
        return 4;
    });
    CHECK(about.recv(ec));
    t.cancel();
    CHECK_EQ(*t.join(ec), 4);
    {
        gmp::task<void> left([never] {
            std::error_code why;
            static_cast<void>(never.recv(why));
        });
    }
}

void selects()
{
    std::error_code ec;
    gmp::channel<counted> ch(1);
    counted c(3);
    bool sent = false;
    CHECK_EQ(gmp::select(ec, gmp::send(ch, std::move(c),
                                       [&](bool ok) { sent = ok; }),
                         gmp::after(1h)),
             0u);
    CHECK(sent && !ec);
    int got = 0;
    CHECK_EQ(gmp::select(ec, gmp::recv(ch, [&](std::optional<counted> x) {
                             got = x ? x->value : -1;
                         }),
                         gmp::otherwise()),
             0u);
    CHECK_EQ(got, 3);
}

void locks()
{
    std::error_code ec;
    gmp::mutex m;
    gmp::condition_variable changed;
    gmp::semaphore s(0);
    gmp::latch done(1);
    gmp::barrier pair(1);
    gmp::wait_group all;
    gmp::once_flag flag;
    int n = 0;
    all.go([&] {
        std::lock_guard<gmp::mutex> guard(m);
        n = 1;
        changed.notify_all();
        s.release();
        done.count_down();
    });
    {
        std::unique_lock<gmp::mutex> lock(m);
        CHECK(changed.wait(lock, [&] { return n == 1; }, ec));
    }
    CHECK(s.acquire(ec) && !s.acquire(ec, 1ms));
    CHECK(ec == std::errc::timed_out);
    done.wait(ec);
    CHECK(!ec);
    all.wait(ec);
    CHECK(!ec && pair.arrive_and_wait(ec) && !ec);
    gmp::call_once(flag, [&] { n = 2; });
    CHECK_EQ(n, 2);
    std::scoped_lock both(m);
}

void groups()
{
    std::error_code ec;
    gmp::group g;
    g.go([] {
        std::error_code why;
        gmp::sleep_for(1h, why);
    });
    g.go([] { return std::make_error_code(std::errc::no_message); });
    g.wait(ec);
    CHECK(ec == std::errc::no_message);
}

gmp::local<int> number([] { return 7; });

void others()
{
    std::error_code ec;
    CHECK_EQ(*gmp::blocking([] { return 5; }, ec), 5);
    CHECK_EQ(*number, 7);
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    gmp::descriptor a(fds[0]), b(fds[1]);
    CHECK_EQ(gmp::write_all(a.get(), "abc", ec), 3u);
    char some[3];
    CHECK_EQ(gmp::read_full(b.get(), some, ec), 3u);
    CHECK_EQ(gmp::read(b.get(), some, ec, 1ms), 0u);
    CHECK(ec == std::errc::timed_out);
    gmp::go(ec, [] {});
    CHECK(!ec);
    gmp::task<void> t(ec, [] {});
    t.join(ec);
    CHECK(!ec);
}

#if GMPRT_COROUTINES
gmp::co<int> waits(gmp::channel<int> never, gmp::channel<int> about)
{
    counted local(1);
    std::error_code ec;
    CHECK(!co_await never.async_recv(ec, 1ms) && ec == std::errc::timed_out);
    gmp::task<int> t(ec, [] { return 4; });
    const auto four = co_await t.async_join(ec);
    CHECK(four && *four == 4);
    CHECK(co_await about.async_send(1, ec) && !ec);
    CHECK(!co_await never.async_recv(ec));
    CHECK(ec == std::errc::operation_canceled);
    co_await gmp::async_sleep_for(1h, ec);
    CHECK(ec == std::errc::operation_canceled);
    co_return 9;
}

gmp::co<int> awaits(gmp::channel<int> never, gmp::channel<int> about)
{
    co_return 1 + co_await waits(never, about);
}

void coroutines()
{
    std::error_code ec;
    gmp::channel<int> never(0), about(0);
    gmp::task<int> t(ec, awaits(never, about));
    CHECK(!ec && about.recv(ec));
    t.cancel();
    CHECK_EQ(*t.join(ec), 10);
    gmp::task<int> ends(ec, awaits(never, about));
    CHECK(!ec && about.recv(ec));
}
#else
void coroutines() {}
#endif

} // namespace

void test_main()
{
    channels();
    cancels();
    selects();
    locks();
    groups();
    panics();
    others();
    coroutines();
}
