// gmprt's coroutines: the operations of bench/gmprt by goroutines without a
// stack, gmp::co of gmprt.hpp.
#include "../peer.h"

#include <gmprt.hpp>

#include <atomic>
#include <vector>

static gmp::wait_group ended;

static gmp::co<void> yielder(long left)
{
    for (; left > 0; left--)
        co_await gmp::this_goroutine::async_yield();
    ended.done();
}

static void yield_op()
{
    measure([](long n) {
        ended.add(opt.g);
        for (long i = 0; i < opt.g; i++)
            gmp::go(yielder(n / opt.g));
        ended.wait();
    });
}

static gmp::co<void> ends()
{
    ended.done();
    co_return;
}

static void wave(long n)
{
    ended.add(n);
    for (long i = 0; i < n; i++)
        gmp::go(ends());
    ended.wait();
}

static void spawn_waves()
{
    measure_waves(wave);
}

static void spawn_million()
{
    measure_million(wave);
}

static gmp::co<void> increment(long &count)
{
    ++count;
    co_return;
}

static void one_by_one(long n)
{
    long count = 0;
    for (long i = 0; i < n; i++)
        gmp::task<void>(increment(count)).join();
    check(count == n, "number of runs");
}

static void spawn_join()
{
    measure(one_by_one);
}

static gmp::co<void> ponger(gmp::channel<long> &ping, gmp::channel<long> &pong,
                            long left)
{
    for (; left > 0; left--) {
        const long x = *co_await ping.async_recv();
        check(co_await pong.async_send(x + 1), "send");
    }
}

static gmp::co<long> pinger(gmp::channel<long> &ping, gmp::channel<long> &pong,
                            long left)
{
    long x = 0;
    for (; left > 0; left--) {
        check(co_await ping.async_send(x), "send");
        x = *co_await pong.async_recv();
    }
    co_return x;
}

static void pingpong()
{
    measure([](long n) {
        gmp::channel<long> ping(0), pong(0);
        gmp::task<void> other(ponger(ping, pong, n));
        gmp::task<long> one(pinger(ping, pong, n));
        check(one.join() == n, "number of round trips");
        other.join();
    });
}

static gmp::co<void> receives(gmp::channel<long> &from, std::atomic<long> &sum,
                              long left)
{
    long own = 0;
    for (; left > 0; left--)
        own += *co_await from.async_recv();
    sum += own;
    ended.done();
}

static gmp::co<void> sends(gmp::channel<long> &to, long each)
{
    for (long x = each; x > 0; x--)
        check(co_await to.async_send(x), "send");
    ended.done();
}

static void buffered()
{
    measure([](long n) {
        gmp::channel<long> channel(128);
        std::atomic<long> sum{0};
        const long each = n / opt.g;
        ended.add(2 * opt.g);
        for (long i = 0; i < opt.g; i++) {
            gmp::go(receives(channel, sum, each));
            gmp::go(sends(channel, each));
        }
        ended.wait();
        check(sum == opt.g * triangle(each), "sum of the elements");
    });
}

static gmp::co<void> skynet_node(gmp::sender<long> up, long first, long leaves)
{
    long sum = first;
    if (leaves > 1) {
        const gmp::channel<long> below(0);
        const long part = leaves / opt.g;
        for (long i = 0; i < opt.g; i++)
            gmp::go(skynet_node(below, first + i * part, part));
        sum = 0;
        for (long i = 0; i < opt.g; i++)
            sum += *co_await below.async_recv();
    }
    check(co_await up.async_send(sum), "send");
}

static void skynet()
{
    measure_skynet([](long leaves) {
        const gmp::channel<long> top(0);
        gmp::go(skynet_node(top, 0, leaves));
        check(*top.recv() == leaves * (leaves - 1) / 2, "sum of the leaves");
    });
}

static gmp::wait_group arrived;

static gmp::co<void> parker(const gmp::channel<char> &never)
{
    arrived.done();
    check(!co_await never.async_recv(), "received");
    ended.done();
}

static void parked_million()
{
    const gmp::channel<char> never(0);
    arrived.add(opt.n);
    ended.add(opt.n);
    const struct footprint before = footprint();
    for (long i = 0; i < opt.n; i++)
        gmp::go(parker(never));
    arrived.wait();
    report_parked(before);
    never.close();
    ended.wait();
}

static std::atomic<long> sleeps{0};

// opt.n times 10 to 100 ms, from a generator with this seed.
static gmp::co<void> sleeper(std::uint64_t random)
{
    long done = 0;
    for (; done < opt.n; done++) {
        const std::chrono::microseconds span(next_sleep_us(&random));
        const auto due = gmp_after_ns(span.count() * 1000);
        co_await gmp::async_sleep_for(span);
        check(gmp_now() >= due, "woken too early");
    }
    sleeps += done;
    ended.done();
}

static void sleepers()
{
    const double before = cpu_seconds();
    ended.add(opt.g);
    for (long i = 0; i < opt.g; i++)
        gmp::go(sleeper(static_cast<std::uint64_t>(i)));
    ended.wait();
    report("cpu_s", cpu_seconds() - before);
    check(sleeps == opt.g * opt.n, "number of sleeps");
}

static const operation operations[] = {
    {"yield2", yield_op, 2000000, 2},
    {"yield1000", yield_op, 2000000, 1000},
    {"spawn_waves", spawn_waves, 1000000, 1000},
    {"spawn_million", spawn_million, 1000000, 0},
    {"spawn_join", spawn_join, 1000000, 0},
    {"pingpong", pingpong, 1000000, 2},
    {"buffered_1_1", buffered, 4000000, 1},
    {"buffered_4_4", buffered, 4000000, 4},
    {"skynet", skynet, 1000000, 10},
    {"parked_million", parked_million, 1000000, 0},
    {"sleepers", sleepers, 10, 100000},
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
    return gmp_run_main(argc, argv, run_on_goroutine);
}
