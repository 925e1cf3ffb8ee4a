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

struct destroyed {
    ~destroyed() { std::fputs("the object has gone\n", stderr); }
};

__attribute__((noinline)) void panics_deep()
{
    const destroyed object;
    gmp::panic("the reason");
}

// In the way of a panic that is stopped further out.
void noexcept_in_between() noexcept
{
    panics_deep();
}

void swallows()
{
    try {
        panics_deep();
    } catch (...) {
    }
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
    } else if (which == "panic") {
        gmp::go([] { panics_deep(); });
    } else if (which == "panic_in_task") {
        gmp::task<void> t([] { panics_deep(); });
        t.join();
    } else if (which == "panic_in_group") {
        gmp::group g;
        g.go([] { panics_deep(); });
        g.wait();
    } else if (which == "panic_noexcept") {
        gmp::call(noexcept_in_between);
    } else if (which == "panic_swallowed") {
        gmp::call(swallows);
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
