// gmprt by its header for C++: the operations of bench/gmprt in which the
// header takes part, so that its price shows beside C's.
#include "../peer.h"

#include <gmprt.hpp>

#include <array>
#include <atomic>
#include <vector>

static void yield_pass(long n)
{
    std::atomic<long> count{0};
    gmp::wait_group all;
    for (long i = 0; i < opt.g; i++)
        all.go([&count, each = n / opt.g] {
            for (long left = each; left > 0; left--)
                gmp::this_goroutine::yield();
            count += each;
        });
    all.wait();
    check(count == n, "number of yields");
}

static void yield_op()
{
    measure(yield_pass);
}

static gmp::wait_group ended;

static void wave(long n)
{
    ended.add(n);
    for (long i = 0; i < n; i++)
        gmp::go([] { ended.done(); });
    ended.wait();
}

static void spawn_waves()
{
    measure_waves(wave);
}

static void one_by_one(long n)
{
    long count = 0;
    for (long i = 0; i < n; i++)
        gmp::task<void>([&count] { ++count; }).join();
    check(count == n, "number of runs");
}

static void spawn_join()
{
    measure(one_by_one);
}

static void pingpong_of(std::size_t capacity, long n)
{
    gmp::channel<long> ping(capacity), pong(capacity);
    gmp::wait_group all;
    all.go([&ping, &pong, n] {
        for (long left = n; left > 0; left--)
            check(pong.send(*ping.recv() + 1), "send");
    });
    long x = 0;
    for (long left = n; left > 0; left--) {
        check(ping.send(x), "send");
        x = *pong.recv();
    }
    check(x == n, "number of round trips");
    all.wait();
}

static void pingpong()
{
    measure([](long n) { pingpong_of(0, n); });
    measure_as("buffered_ns", [](long n) { pingpong_of(1, n); });
}

static void buffered_pass(long n)
{
    gmp::channel<long> channel(128);
    gmp::wait_group all;
    std::atomic<long> sum{0};
    const long each = n / opt.g;
    for (long i = 0; i < opt.g; i++) {
        all.go([&channel, &sum, each] {
            long own = 0;
            for (long left = each; left > 0; left--)
                own += *channel.recv();
            sum += own;
        });
        all.go([&channel, each] {
            for (long x = each; x > 0; x--)
                check(channel.send(x), "send");
        });
    }
    all.wait();
    check(sum == opt.g * triangle(each), "sum of the elements");
}

static void buffered()
{
    measure(buffered_pass);
}

template <std::size_t... I>
static std::size_t select_of(std::array<gmp::channel<long>, 4> &from, long &x,
                             std::index_sequence<I...>)
{
    return gmp::select(gmp::recv(from[I], [&x](long y) { x = y; })...);
}

static std::size_t select_some(std::array<gmp::channel<long>, 4> &from, long &x)
{
    return opt.g == 2 ? select_of(from, x, std::make_index_sequence<2>())
                      : select_of(from, x, std::make_index_sequence<4>());
}

// What is received from a channel goes back into it, one more.
static void select_ready_pass(long n)
{
    std::array<gmp::channel<long>, 4> chans;
    long x = 0, total = 0;
    for (auto &ch : chans) {
        ch = gmp::channel<long>(1);
        check(ch.send(x), "send");
    }
    for (long i = 0; i < n; i++) {
        const std::size_t chosen = select_some(chans, x);
        x++;
        check(chans[chosen].send(x), "send");
    }
    for (auto &ch : chans)
        total += *ch.recv();
    check(total == n, "number of selects");
}

static void select_ready()
{
    measure(select_ready_pass);
}

static void select_park_pass(long n)
{
    std::array<gmp::channel<long>, 4> chans;
    gmp::wait_group all;
    long x = 0, total = 0;
    for (long i = 0; i < opt.g; i++) {
        gmp::channel<long> &ch = chans[static_cast<std::size_t>(i)];
        ch = gmp::channel<long>(0);
        all.go([&ch, each = n / opt.g] {
            for (long left = each; left > 0; left--)
                check(ch.send(left), "send");
        });
    }
    for (long i = 0; i < n; i++) {
        select_some(chans, x);
        total += x;
    }
    all.wait();
    check(total == opt.g * triangle(n / opt.g), "sum of the elements");
}

static void select_park()
{
    measure(select_park_pass);
}

static gmp::mutex lock;
static long counter; // under lock

template <class Inside> static void lock_all(long n, Inside inside)
{
    gmp::wait_group all;
    counter = 0;
    for (long i = 0; i < opt.g; i++)
        all.go([each = n / opt.g, inside] {
            for (long left = each; left > 0; left--) {
                std::lock_guard<gmp::mutex> guard(lock);
                counter++;
                inside();
            }
        });
    all.wait();
    check(counter == n, "the counter");
}

static void mutex()
{
    measure([](long n) { lock_all(n, [] {}); });
}

static void mutex_yield()
{
    measure([](long n) { lock_all(n, [] { gmp::this_goroutine::yield(); }); });
}

static void skynet_node(const gmp::sender<long> &up, long first, long leaves)
{
    long sum = first;
    if (leaves > 1) {
        const gmp::channel<long> below(0);
        const long part = leaves / opt.g;
        for (long i = 0; i < opt.g; i++)
            gmp::go(skynet_node, gmp::sender<long>(below), first + i * part,
                    part);
        sum = 0;
        for (long i = 0; i < opt.g; i++)
            sum += *below.recv();
    }
    check(up.send(sum), "send");
}

static void skynet_of(long leaves)
{
    const gmp::channel<long> top(0);
    gmp::go(skynet_node, gmp::sender<long>(top), 0, leaves);
    check(*top.recv() == leaves * (leaves - 1) / 2, "sum of the leaves");
}

static void skynet()
{
    measure_skynet(skynet_of);
}

static const operation operations[] = {
    {"yield2", yield_op, 2000000, 2},
    {"yield1000", yield_op, 2000000, 1000},
    {"spawn_waves", spawn_waves, 1000000, 1000},
    {"spawn_join", spawn_join, 1000000, 0},
    {"host_spawn_join", spawn_join, 10000, 0},
    {"pingpong", pingpong, 1000000, 2},
    {"buffered_1_1", buffered, 4000000, 1},
    {"buffered_4_4", buffered, 4000000, 4},
    {"select2_ready", select_ready, 2000000, 2},
    {"select4_ready", select_ready, 2000000, 4},
    {"select2_park", select_park, 1000000, 2},
    {"select4_park", select_park, 1000000, 4},
    {"mutex8", mutex, 8000000, 8},
    {"mutex8_yield", mutex_yield, 800000, 8},
    {"skynet", skynet, 1000000, 10},
    {nullptr, nullptr, 0, 0},
};

static const operation *chosen;

static int run_on_goroutine(int, char **)
{
    chosen->run();
    return 0;
}

int main(int argc, char **argv)
{
    chosen = find_operation(argc, argv, operations, 1024);
    gmp_set_maxprocs(opt.workers);
    if (std::string(chosen->name) != "host_spawn_join")
        return gmp_run_main(argc, argv, run_on_goroutine);
    chosen->run();
    return 0;
}
