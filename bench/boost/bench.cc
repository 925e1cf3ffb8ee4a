// Boost.Fiber: fibers with channels and mutexes; each thread has a scheduler,
// and with more than one worker they steal from each other. With the option
// algorithm=shared_work they have one queue in common instead, for which there
// must be two.
//
// Built with
//     c++ -std=c++17 -O2 bench.cc -o bench -lboost_fiber -lboost_context
//         -pthread
//
// It has no select and no I/O, and a thread that is not a worker cannot start
// a fiber on one.
#include "../peer.h"

#include <atomic>
#include <boost/fiber/algo/shared_work.hpp>
#include <boost/fiber/algo/work_stealing.hpp>
#include <boost/fiber/all.hpp>
#include <chrono>
#include <malloc.h>
#include <memory>
#include <thread>
#include <unistd.h>
#include <vector>

namespace fibers = boost::fibers;
using boost::this_fiber::sleep_for;
using boost::this_fiber::sleep_until;
using std::chrono::microseconds;
using std::chrono::milliseconds;

static const size_t STACK = 16 * 1024;
static const int KEPT = 1 << 30; // bytes

static std::atomic<long> count;

// With stacks from malloc, which is faster here than Boost's pool of stacks.
template <class Function>
static fibers::fiber spawn(Function fn, fibers::launch when)
{
    return {when, std::allocator_arg, fibers::fixedsize_stack(STACK), fn};
}

template <class Function> static fibers::fiber spawn(Function fn)
{
    return spawn(fn, fibers::launch::post);
}

template <class Function> static void run_all(Function fn, long number)
{
    std::vector<fibers::fiber> all;
    all.reserve(number);
    for (long i = 0; i < number; i++)
        all.push_back(spawn(fn));
    for (auto &fiber : all)
        fiber.join();
}

static void yield_pass(long n)
{
    count = 0;
    run_all(
        [each = n / opt.g] {
            for (long left = each; left > 0; left--)
                boost::this_fiber::yield();
            count += each;
        },
        opt.g);
    check(count == n, "number of yields");
}

static void yield_op()
{
    measure(yield_pass);
}

static void wave(long n)
{
    count = 0;
    run_all([] { count++; }, n);
    check(count == n, "number of runs");
}

static void spawn_waves()
{
    measure_waves(wave);
}

static void spawn_million()
{
    measure_million(wave);
}

static void one_by_one(long n)
{
    count = 0;
    for (long i = 0; i < n; i++)
        spawn([] { count++; }).join();
    check(count == n, "number of runs");
}

static void spawn_join()
{
    measure(one_by_one);
}

template <class Of> static void pingpong_over(Of &ping, Of &pong, long n)
{
    auto ponger = spawn([&ping, &pong, n] {
        for (long left = n; left > 0; left--)
            pong.push(ping.value_pop() + 1);
    });
    long x = 0;
    for (long left = n; left > 0; left--) {
        ping.push(x);
        x = pong.value_pop();
    }
    ponger.join();
    check(x == n, "number of round trips");
}

static void unbuffered_pass(long n)
{
    fibers::unbuffered_channel<long> ping, pong;
    pingpong_over(ping, pong, n);
}

// Of the two slots one stays free.
static void one_slot_pass(long n)
{
    fibers::buffered_channel<long> ping(2), pong(2);
    pingpong_over(ping, pong, n);
}

static void pingpong()
{
    measure(unbuffered_pass);
    measure_as("buffered_ns", one_slot_pass);
}

// Of the 128 slots one stays free.
static void buffered_pass(long n)
{
    fibers::buffered_channel<long> channel(128);
    std::vector<fibers::fiber> all;
    std::atomic<long> sum(0);
    long each = n / opt.g;
    for (long i = 0; i < opt.g; i++) {
        all.push_back(spawn([&channel, &sum, each] {
            long own = 0;
            for (long left = each; left > 0; left--)
                own += channel.value_pop();
            sum += own;
        }));
        all.push_back(spawn([&channel, each] {
            for (long x = each; x > 0; x--)
                channel.push(x);
        }));
    }
    for (auto &fiber : all)
        fiber.join();
    check(sum == opt.g * triangle(each), "sum of the elements");
}

static void buffered()
{
    measure(buffered_pass);
}

static fibers::mutex lock; // of counter
static long counter;

template <class Function> static void lock_all(long n, Function inside)
{
    counter = 0;
    run_all(
        [each = n / opt.g, inside] {
            for (long left = each; left > 0; left--) {
                std::lock_guard<fibers::mutex> guard(lock);
                counter++;
                inside();
            }
        },
        opt.g);
    check(counter == n, "the counter");
}

static void mutex_pass(long n)
{
    lock_all(n, [] {});
}

static void mutex_yield_pass(long n)
{
    lock_all(n, [] { boost::this_fiber::yield(); });
}

static void mutex()
{
    measure(mutex_pass);
}

static void mutex_yield()
{
    measure(mutex_yield_pass);
}

// With room for every child, as in Boost's own skynet: a leaf then runs to its
// end at once, where else the whole tree would be alive at once.
using Channel = fibers::buffered_channel<long>;

// Sends the sum of the numbers of all leaves below.
static void skynet_node(std::shared_ptr<Channel> up, long first, long leaves)
{
    long sum = first;
    if (leaves > 1) {
        auto below = std::make_shared<Channel>(16);
        long part = leaves / opt.g;
        for (long i = 0; i < opt.g; i++)
            spawn([=] { skynet_node(below, first + i * part, part); },
                  fibers::launch::dispatch)
                .detach();
        sum = 0;
        for (long i = 0; i < opt.g; i++)
            sum += below->value_pop();
    }
    up->push(sum);
}

static void skynet_of(long leaves)
{
    auto top = std::make_shared<Channel>(16);
    spawn([=] { skynet_node(top, 0, leaves); }).detach();
    check(top->value_pop() == leaves * (leaves - 1) / 2, "sum of the leaves");
}

static void skynet()
{
    measure_skynet(skynet_of);
}

static void parked_million()
{
    fibers::unbuffered_channel<long> never;
    std::vector<fibers::fiber> all;
    std::atomic<long> arrived(0);
    all.reserve(opt.n);
    struct footprint before = footprint();
    for (long i = 0; i < opt.n; i++)
        all.push_back(spawn([&never, &arrived] {
            long x;
            arrived++;
            check(never.pop(x) == fibers::channel_op_status::closed, "got one");
        }));
    while (arrived < opt.n)
        boost::this_fiber::yield();
    report_parked(before);
    never.close();
    for (auto &fiber : all)
        fiber.join();
}

static void sleepers()
{
    std::vector<fibers::fiber> all;
    double before = cpu_seconds();
    count = 0;
    for (long i = 0; i < opt.g; i++)
        all.push_back(spawn([random = uint64_t(i)]() mutable {
            for (long left = opt.n; left > 0; left--) {
                auto due = std::chrono::steady_clock::now() +
                           microseconds(next_sleep_us(&random));
                sleep_until(due);
                check(std::chrono::steady_clock::now() >= due, "too early");
                count++;
            }
        }));
    for (auto &fiber : all)
        fiber.join();
    report("cpu_s", cpu_seconds() - before);
    check(count == opt.g * opt.n, "number of sleeps");
}

static void stall(void (*blocker)())
{
    gaps gaps = {0, 0};
    std::atomic<bool> stop(false);
    auto ticker = spawn([&gaps, &stop] {
        while (!stop) {
            sleep_for(milliseconds(1));
            tick(&gaps);
        }
    });
    sleep_for(milliseconds(100));
    blocker();
    sleep_for(milliseconds(10));
    stop = true;
    ticker.join();
    report("ms", double(gaps.worst) / double(MS));
}

static void stall_sleep()
{
    stall(sleep_in_c);
}

static void stall_burn()
{
    stall(burn_in_c);
}

static void idle()
{
    fibers::unbuffered_channel<long> never;
    auto parked = spawn([&never] {
        long x;
        never.pop(x);
    });
    spawn([] { sleep_for(std::chrono::hours(1)); }).detach();
    sleep_for(milliseconds(500));
    long before = switches();
    sleep_for(milliseconds(2000));
    report("wakeups", double(switches() - before));
    _exit(0); // the hour is not over
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
    {"mutex8", mutex, 8000000, 8},
    {"mutex8_yield", mutex_yield, 800000, 8},
    {"skynet", skynet, 1000000, 10},
    {"parked_million", parked_million, 1000000, 0},
    {"sleepers", sleepers, 10, 100000},
    {"stall_sleep", stall_sleep, 0, 0},
    {"stall_burn", stall_burn, 0, 0},
    {"idle", idle, 0, 0},
    {nullptr, nullptr, 0, 0},
};

static bool shared_work;

// Of this thread. One worker keeps the default, round_robin.
static void use_algorithm()
{
    if (shared_work)
        fibers::use_scheduling_algorithm<fibers::algo::shared_work>(true);
    else if (opt.workers > 1)
        fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(
            uint32_t(opt.workers), true);
}

// A worker's thread, until the operation is over.
static void work(fibers::mutex &mutex, fibers::condition_variable &ended,
                 bool &over)
{
    use_algorithm();
    std::unique_lock<fibers::mutex> guard(mutex);
    ended.wait(guard, [&over] { return over; });
}

int main(int argc, char **argv)
{
    auto *operation = find_operation(argc, argv, operations, 1024);
    for (int i = 3; i < argc; i++)
        if (strcmp(argv[i], "algorithm=shared_work") == 0)
            shared_work = true;
    if (shared_work && opt.workers < 2)
        return MISSING;
    std::vector<std::thread> workers;
    fibers::mutex mutex;
    fibers::condition_variable ended;
    bool over = false;
    for (int i = 1; i < opt.workers; i++)
        workers.emplace_back([&] { work(mutex, ended, over); });
    use_algorithm();
    mallopt(M_TRIM_THRESHOLD, KEPT); // or each wave gives its stacks back
    operation->run();
    {
        std::lock_guard<fibers::mutex> guard(mutex);
        over = true;
    }
    ended.notify_all();
    for (auto &worker : workers)
        worker.join();
}
