// gmp::shutdown: what tasks and waits of host threads make of it.
#define TEST_OWN_MAIN
#include "test.hpp"

#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;
using test::counted;

namespace {

void round()
{
    const gmp::channel<int> never(0);
    gmp::task<int> gives([] { return 42; });
    gmp::task<std::string> late([never] {
        std::error_code ec;
        static_cast<void>(never.recv(ec));
        return std::string("late");
    });
    gmp::task<void> waits([never] { never.recv(); });
    gmp::task<void> fails([never] {
        std::error_code ec;
        static_cast<void>(never.recv(ec));
        throw std::runtime_error("at the end");
    });
    gmp::task<counted> dropped([never] {
        std::error_code ec;
        static_cast<void>(never.recv(ec));
        return counted(1);
    });
    std::atomic<int> done{0};
    std::thread receiver([&] {
        CHECK_THROWS(std::system_error, never.recv(),
                     CHECK_EQ(e.code().value(), ESHUTDOWN));
        done++;
    });
    std::thread joiner([&] {
        CHECK_EQ(late.join(), std::string("late"));
        done++;
    });
    // A thread that comes after one shutdown waits until the next.
    while (done < 2) {
        gmp::shutdown();
        std::this_thread::sleep_for(1ms);
    }
    receiver.join();
    joiner.join();
    CHECK_EQ(gives.join(), 42);
    CHECK_THROWS(std::runtime_error, fails.join(),
                 CHECK_EQ(std::string(e.what()), "at the end"));
    std::error_code ec;
    waits.join(ec);
    CHECK(ec == std::errc::operation_canceled);
    CHECK(!waits.joinable() && dropped.joinable());
}

} // namespace

int main()
{
    ::alarm(50);
    for (int i = 0; i < 5; i++) {
        round();
        CHECK_EQ(counted::alive.load(), 0);
    }
    std::error_code ec;
    gmp::task<void> on_goroutine([] {
        std::error_code why;
        gmp::shutdown(why);
        CHECK(why == std::errc::resource_deadlock_would_occur);
    });
    on_goroutine.join();
    gmp::shutdown(ec);
    CHECK(!ec);
}
