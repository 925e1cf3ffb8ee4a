// Programs that must die. Usage: crash CASE.
#define TEST_OWN_MAIN
#include "test.hpp"

#include <array>
#include <memory>
#include <stdexcept>
#include <sys/resource.h>

namespace {

__attribute__((noinline)) void fails_deep()
{
    throw std::runtime_error("the reason");
}

} // namespace

int main(int, char **argv)
{
    const std::string which = argv[1];
    rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    ::alarm(50);
    if (which == "word") {
        gmp::go([] { fails_deep(); });
    } else if (which == "stack") {
        std::array<int, 8> held{};
        gmp::go([held] { held[0] == 0 ? fails_deep() : void(); });
    } else if (which == "box") {
        gmp::go([held = std::string("x")] { fails_deep(); });
    } else if (which == "unlock") {
        gmp::mutex m;
        m.unlock();
    } else if (which == "unlock_shared") {
        gmp::shared_mutex m;
        m.unlock_shared();
    } else if (which == "other_owner") {
        gmp::recursive_mutex m;
        m.lock();
        gmp::task<void> other([&m] { m.unlock(); });
        other.join();
    } else if (which == "own_task") {
        auto *t = new gmp::task<void>;
        gmp::channel<int> made(1);
        *t = gmp::task<void>([t, made] {
            made.recv();
            delete t;
        });
        CHECK(made.send(1));
    }
    gmp_sleep(INT64_C(20'000'000'000));
}
