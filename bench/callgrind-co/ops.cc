// The operations of bench/callgrind by coroutines of gmprt.hpp, under the same
// names and with the same rounds, where there is such an operation.
//
//     ops OPERATION ROUNDS
#include <gmprt.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

constexpr std::size_t capacity = 128;
constexpr long wave = 1000;

void check_that(bool holds, const char *what)
{
    if (!holds) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::_Exit(1);
    }
}

#define CHECK(cond) check_that(cond, #cond)

gmp::wait_group done;
long runs;

gmp::co<void> yields(long n)
{
    for (; n > 0; n--)
        co_await gmp::this_goroutine::async_yield();
    done.done();
}

void yield2(long rounds)
{
    done.add(2);
    for (int i = 0; i < 2; i++)
        gmp::go(yields(rounds / 2));
    done.wait();
}

gmp::co<void> ends()
{
    runs++;
    done.done();
    co_return;
}

void spawn_waves(long rounds)
{
    for (long i = 0; i < rounds; i += wave) {
        done.add(wave);
        for (long n = 0; n < wave; n++)
            gmp::go(ends());
        done.wait();
    }
    CHECK(runs == rounds);
}

gmp::co<void> increment(long &count)
{
    count++;
    co_return;
}

void spawn_join(long rounds)
{
    long count = 0;
    for (long i = 0; i < rounds; i++)
        gmp::task<void>(increment(count)).join();
    CHECK(count == rounds);
}

gmp::co<void> answers(gmp::channel<long> &there, gmp::channel<long> &back,
                      long rounds)
{
    for (long i = 0; i < rounds; i++)
        CHECK(co_await back.async_send(*co_await there.async_recv()));
}

gmp::co<void> asks(gmp::channel<long> &there, gmp::channel<long> &back,
                   long rounds)
{
    for (long i = 0; i < rounds; i++) {
        CHECK(co_await there.async_send(i));
        CHECK(*co_await back.async_recv() == i);
    }
}

void pingpong(long rounds)
{
    gmp::channel<long> there(0), back(0);
    gmp::task<void> other(answers(there, back, rounds));
    gmp::task<void>(asks(there, back, rounds)).join();
    other.join();
}

gmp::co<void> puts_and_takes(gmp::channel<long> &ch, long rounds)
{
    for (long i = 0; i < rounds; i++) {
        CHECK(co_await ch.async_send(i));
        CHECK(*co_await ch.async_recv() == i);
    }
}

void buffered(long rounds)
{
    gmp::channel<long> ch(capacity);
    gmp::task<void>(puts_and_takes(ch, rounds)).join();
}

gmp::co<void> sends(gmp::channel<long> &ch, long rounds)
{
    for (long i = 0; i < rounds; i++)
        CHECK(co_await ch.async_send(i));
}

gmp::co<void> receives(gmp::channel<long> &ch, long rounds)
{
    for (long i = 0; i < rounds; i++)
        CHECK(*co_await ch.async_recv() == i);
}

void buffered_1_1(long rounds)
{
    gmp::channel<long> ch(capacity);
    gmp::task<void> other(sends(ch, rounds));
    gmp::task<void>(receives(ch, rounds)).join();
    other.join();
}

struct operation {
    const char *name;
    void (*run)(long rounds);
};

constexpr operation operations[] = {
    {"yield", yield2},           {"spawn", spawn_waves},
    {"spawn_join", spawn_join},  {"pingpong", pingpong},
    {"buffered", buffered},      {"buffered_1_1", buffered_1_1},
};

} // namespace

int main(int argc, char **argv)
{
    const std::string wanted = argc > 1 ? argv[1] : "";
    for (const operation &each : operations)
        if (wanted == "list") {
            std::puts(each.name);
        } else if (argc == 3 && wanted == each.name) {
            gmp::task<void>(each.run, std::atol(argv[2])).join();
            return 0;
        }
    return wanted == "list" ? 0 : 2;
}
