// Photon: threads in user space, each on one vCPU, which is a thread of the
// system.
//
// Built with
//     c++ -std=c++17 -O2 bench.cc -o bench -lphoton -pthread
// and -I$PHOTON/include -L$PHOTON/lib -Wl,-rpath,$PHOTON/lib for a prefix
// $PHOTON with include/photon and libphoton.so.
//
// A thread stays on the vCPU where it began, so with more than one worker
// there are the operations on a mutex only, their threads dealt out to all
// vCPUs. It has queues, but no channels without a buffer and no select.
#include "../peer.h"

#include <atomic>
#include <photon/common/alog.h>
#include <photon/common/lockfree_queue.h>
#include <photon/net/socket.h>
#include <photon/photon.h>
#include <photon/thread/thread.h>
#include <photon/thread/thread11.h>
#include <thread>
#include <unistd.h>
#include <vector>

enum { STACK = 64 * 1024, CAPACITY = 128 };

static std::vector<photon::vcpu_base *> vcpus;
static std::atomic<long> count;

static photon::thread *spawn(void *(*fn)(void *), void *arg)
{
    photon::thread *thread = photon::thread_create(fn, arg, STACK);
    check(thread != nullptr, "thread_create");
    return thread;
}

static photon::join_handle *spawn_joinable(void *(*fn)(void *), void *arg)
{
    return photon::thread_enable_join(spawn(fn, arg));
}

// Starts threads, dealt out to the vCPUs, and joins them.
static void run_all(void *(*fn)(void *), void *arg, long number)
{
    std::vector<photon::join_handle *> all;
    for (long i = 0; i < number; i++) {
        photon::thread *thread = spawn(fn, arg);
        all.push_back(photon::thread_enable_join(thread));
        if (vcpus.size() > 1)
            photon::thread_migrate(thread, vcpus[i % vcpus.size()]);
    }
    for (auto handle : all)
        photon::thread_join(handle);
}

static void *yielder(void *arg)
{
    for (long left = long(arg); left > 0; left--)
        photon::thread_yield();
    count += long(arg);
    return nullptr;
}

static void yield_pass(long n)
{
    count = 0;
    run_all(yielder, (void *)(n / opt.g), opt.g);
    check(count == n, "number of yields");
}

static void yield_op()
{
    measure(yield_pass);
}

static void *increment(void *)
{
    count++;
    return nullptr;
}

static void wave(long n)
{
    count = 0;
    run_all(increment, nullptr, n);
    check(count == n, "number of runs");
}

static void spawn_waves()
{
    measure_waves(wave);
}

static void one_by_one(long n)
{
    count = 0;
    for (long i = 0; i < n; i++)
        photon::thread_join(spawn_joinable(increment, nullptr));
    check(count == n, "number of runs");
}

static void spawn_join()
{
    measure(one_by_one);
}

using Queue = LockfreeMPMCRingQueue<long, CAPACITY>;
using Channel = photon::common::RingChannel<Queue>;

static Channel channel;

static void *sender(void *arg)
{
    for (long x = long(arg); x > 0; x--)
        channel.send<PhotonPause>(x);
    return nullptr;
}

static void *receiver(void *arg)
{
    long own = 0;
    for (long left = long(arg); left > 0; left--)
        own += channel.recv();
    count += own;
    return nullptr;
}

static void buffered_pass(long n)
{
    std::vector<photon::join_handle *> all;
    void *each = (void *)(n / opt.g);
    count = 0;
    for (long i = 0; i < opt.g; i++) {
        all.push_back(spawn_joinable(receiver, each));
        all.push_back(spawn_joinable(sender, each));
    }
    for (auto handle : all)
        photon::thread_join(handle);
    check(count == opt.g * triangle(n / opt.g), "sum of the elements");
}

static void buffered()
{
    measure(buffered_pass);
}

static photon::mutex lock; // of counter
static long counter;

static void *locker(void *arg)
{
    for (long left = long(arg); left > 0; left--) {
        lock.lock();
        counter++;
        lock.unlock();
    }
    return nullptr;
}

static void *yielding_locker(void *arg)
{
    for (long left = long(arg); left > 0; left--) {
        lock.lock();
        counter++;
        photon::thread_yield();
        lock.unlock();
    }
    return nullptr;
}

static void mutex_pass(long n)
{
    counter = 0;
    run_all(locker, (void *)(n / opt.g), opt.g);
    check(counter == n, "the counter");
}

static void mutex_yield_pass(long n)
{
    counter = 0;
    run_all(yielding_locker, (void *)(n / opt.g), opt.g);
    check(counter == n, "the counter");
}

static void mutex()
{
    measure(mutex_pass);
}

static void mutex_yield()
{
    measure(mutex_yield_pass);
}

static bool stop;

static void *ticker(void *worst)
{
    while (!stop) {
        photon::thread_usleep(1000);
        tick((struct gaps *)worst);
    }
    return nullptr;
}

static void stall(void (*blocker)())
{
    struct gaps gaps = {0, 0};
    auto handle = spawn_joinable(ticker, &gaps);
    photon::thread_usleep(100 * 1000);
    blocker();
    photon::thread_usleep(10 * 1000);
    stop = true;
    photon::thread_join(handle);
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

static void *park_for_ever(void *never)
{
    ((photon::semaphore *)never)->wait(1);
    return nullptr;
}

static void *wait_an_hour(void *)
{
    photon::thread_sleep(3600);
    return nullptr;
}

static void idle()
{
    static photon::semaphore never;
    spawn(park_for_ever, &never);
    spawn(wait_an_hour, nullptr);
    photon::thread_usleep(500 * 1000);
    long before = switches();
    photon::thread_usleep(2000 * 1000);
    report("wakeups", double(switches() - before));
    _exit(0); // the hour is not over
}

// Echoes until SIGTERM ends the process.
static void echo_server()
{
    auto serve = [](photon::net::ISocketStream *stream) -> int {
        char buffer[4096];
        ssize_t n;
        while ((n = stream->recv(buffer, sizeof buffer)) > 0 &&
               stream->write(buffer, size_t(n)) == n)
            ;
        return 0;
    };
    auto server = photon::net::new_tcp_socket_server();
    server->set_handler(serve);
    check(server->bind_v4localhost(uint16_t(opt.port)) == 0, "bind");
    check(server->listen(1024) == 0, "listen");
    report("port", server->getsockname().port);
    server->start_loop(true);
}

static const operation one_worker[] = {
    {"yield2", yield_op, 2000000, 2},
    {"yield1000", yield_op, 2000000, 1000},
    {"spawn_waves", spawn_waves, 1000000, 1000},
    {"spawn_join", spawn_join, 1000000, 0},
    {"buffered_1_1", buffered, 4000000, 1},
    {"buffered_4_4", buffered, 4000000, 4},
    {"mutex8", mutex, 8000000, 8},
    {"mutex8_yield", mutex_yield, 800000, 8},
    {"stall_sleep", stall_sleep, 0, 0},
    {"stall_burn", stall_burn, 0, 0},
    {"idle", idle, 0, 0},
    {"echo_server", echo_server, 0, 0},
    {nullptr, nullptr, 0, 0},
};

static const operation more_workers[] = {
    {"mutex8", mutex, 8000000, 8},
    {"mutex8_yield", mutex_yield, 800000, 8},
    {nullptr, nullptr, 0, 0},
};

static void init_vcpu()
{
    photon::PhotonOptions options;
    options.use_pooled_stack_allocator = photon::STACK_ALLOCATOR_POOLED;
    check(photon::init(photon::INIT_EVENT_EPOLL, photon::INIT_IO_NONE,
                       options) == 0,
          "photon::init");
}

static photon::semaphore started, over;

static void work(photon::vcpu_base **vcpu)
{
    init_vcpu();
    *vcpu = photon::get_vcpu();
    started.signal(1);
    over.wait(1);
    photon::fini();
}

int main(int argc, char **argv)
{
    bool one = argc > 2 && atoi(argv[2]) == 1;
    auto *operation =
        find_operation(argc, argv, one ? one_worker : more_workers, 1024);
    std::vector<std::thread> workers;
    set_log_output_level(ALOG_ERROR);
    init_vcpu();
    vcpus.resize(size_t(opt.workers));
    vcpus[0] = photon::get_vcpu();
    for (int i = 1; i < opt.workers; i++)
        workers.emplace_back(work, &vcpus[i]);
    started.wait(size_t(opt.workers) - 1);
    operation->run();
    over.signal(size_t(opt.workers) - 1);
    for (auto &worker : workers)
        worker.join();
    photon::fini();
}
