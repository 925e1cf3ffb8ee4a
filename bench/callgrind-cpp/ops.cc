// The operations of bench/callgrind by gmprt.hpp, under the same names and with
// the same rounds: what the header for C++ costs.
//
//     ops OPERATION ROUNDS
#include <gmprt.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

namespace {

constexpr std::size_t capacity = 128;
constexpr long wave = 1000, lockers = 8;

void check_that(bool holds, const char *what)
{
    if (!holds) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::_Exit(1);
    }
}

#define CHECK(cond) check_that(cond, #cond)

void yield2(long rounds)
{
    gmp::wait_group all;
    for (int i = 0; i < 2; i++)
        all.go([rounds] {
            for (long n = 0; n < rounds / 2; n++)
                gmp::this_goroutine::yield();
        });
    all.wait();
}

gmp::wait_group done;
long runs;

void spawn_waves(long rounds)
{
    for (long i = 0; i < rounds; i += wave) {
        done.add(wave);
        for (long n = 0; n < wave; n++)
            gmp::go([] {
                runs++;
                done.done();
            });
        done.wait();
    }
    CHECK(runs == rounds);
}

void spawn_join(long rounds)
{
    long count = 0;
    for (long i = 0; i < rounds; i++)
        gmp::task<void>([&count] { count++; }).join();
    CHECK(count == rounds);
}

// With a result, which needs memory that both share.
void spawn_join_value(long rounds)
{
    long sum = 0;
    for (long i = 0; i < rounds; i++)
        sum += gmp::task<long>([i] { return i; }).join();
    CHECK(sum == rounds * (rounds - 1) / 2);
}

void pingpong(long rounds)
{
    gmp::channel<long> there(0), back(0);
    gmp::task<void> answers([&, rounds] {
        for (long i = 0; i < rounds; i++)
            CHECK(back.send(*there.recv()));
    });
    for (long i = 0; i < rounds; i++) {
        CHECK(there.send(i));
        CHECK(*back.recv() == i);
    }
    answers.join();
}

void buffered(long rounds)
{
    gmp::channel<long> ch(capacity);
    for (long i = 0; i < rounds; i++) {
        CHECK(ch.send(i));
        CHECK(*ch.recv() == i);
    }
}

void buffered_1_1(long rounds)
{
    gmp::channel<long> ch(capacity);
    gmp::task<void> sends([&, rounds] {
        for (long i = 0; i < rounds; i++)
            CHECK(ch.send(i));
    });
    for (long i = 0; i < rounds; i++)
        CHECK(*ch.recv() == i);
    sends.join();
}

// Elements that own something.
void buffered_string(long rounds)
{
    gmp::channel<std::string> ch(capacity);
    std::string s = "short";
    for (long i = 0; i < rounds; i++) {
        CHECK(ch.send(std::move(s)));
        s = std::move(*ch.recv());
    }
    CHECK(s == "short");
}

void buffered_unique(long rounds)
{
    gmp::channel<std::unique_ptr<long>> ch(capacity);
    auto p = std::make_unique<long>(1);
    for (long i = 0; i < rounds; i++) {
        CHECK(ch.send(std::move(p)));
        p = std::move(*ch.recv());
    }
    CHECK(*p == 1);
}

template <std::size_t... I>
void select_ready(long rounds, std::index_sequence<I...>)
{
    std::array<gmp::channel<long>, sizeof...(I)> from;
    long got = 0, sum = 0, n = 0;
    for (auto &ch : from) {
        ch = gmp::channel<long>(2);
        CHECK(ch.send(n++));
    }
    for (long i = 0; i < rounds; i++) {
        const std::size_t ran =
            gmp::select(gmp::recv(from[I], [&got](long x) { got = x; })...);
        CHECK(static_cast<long>(ran) == got);
        sum++;
        CHECK(from[ran].send(got));
    }
    CHECK(sum == rounds);
}

void select2_ready(long rounds)
{
    select_ready(rounds, std::make_index_sequence<2>());
}

void select4_ready(long rounds)
{
    select_ready(rounds, std::make_index_sequence<4>());
}

void select2_park(long rounds)
{
    gmp::channel<long> a(0), b(0);
    long sum = 0;
    const long half = rounds / 2;
    const auto send_all = [half](const gmp::channel<long> &ch) {
        for (long i = 0; i < half; i++)
            CHECK(ch.send(i));
    };
    gmp::task<void> first(send_all, a), second(send_all, b);
    for (long i = 0; i < 2 * half; i++)
        gmp::select(gmp::recv(a, [&sum](long x) { sum += x; }),
                    gmp::recv(b, [&sum](long x) { sum += x; }));
    CHECK(sum == half * (half - 1));
    first.join();
    second.join();
}

gmp::mutex lock;
long counter; // under lock

void mutex(long rounds)
{
    for (long i = 0; i < rounds; i++) {
        std::lock_guard<gmp::mutex> guard(lock);
        counter++;
    }
    CHECK(counter == rounds);
}

void mutex8_yield(long rounds)
{
    gmp::wait_group all;
    for (int i = 0; i < lockers; i++)
        all.go([rounds] {
            for (long n = 0; n < rounds / lockers; n++) {
                std::lock_guard<gmp::mutex> guard(lock);
                const long seen = counter;
                gmp::this_goroutine::yield();
                counter = seen + 1;
            }
        });
    all.wait();
    CHECK(counter == rounds);
}

struct operation {
    const char *name;
    void (*run)(long rounds);
};

constexpr operation operations[] = {
    {"yield", yield2},
    {"spawn", spawn_waves},
    {"spawn_join", spawn_join},
    {"spawn_join_value", spawn_join_value},
    {"pingpong", pingpong},
    {"buffered", buffered},
    {"buffered_1_1", buffered_1_1},
    {"buffered_string", buffered_string},
    {"buffered_unique", buffered_unique},
    {"select2_ready", select2_ready},
    {"select4_ready", select4_ready},
    {"select2_park", select2_park},
    {"mutex", mutex},
    {"mutex8_yield", mutex8_yield},
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
