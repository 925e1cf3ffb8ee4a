// C++ threads that start goroutines with lambdas. Each goroutine handles an
// exception of its own while others run and handle theirs.
#include <gmp.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using Function = std::function<void()>;

// Runs f on a goroutine. An exception that f does not catch ends the program,
// as on a thread.
static void go(Function f)
{
    auto run = [](void *arg) {
        std::unique_ptr<Function> f(static_cast<Function *>(arg));
        (*f)();
    };
    auto boxed = std::make_unique<Function>(std::move(f));
    if (int rc = gmp_go(run, boxed.get()))
        throw std::runtime_error(gmp_strerror(rc));
    boxed.release();
}

// Throws n, lets other goroutines do the same during the handler, and throws n
// again. True if it is still the same n.
static bool survives(int n)
{
    try {
        try {
            throw std::runtime_error(std::to_string(n));
        } catch (const std::exception &) {
            gmp_sleep(1000 * 1000); // a millisecond
            throw;
        }
    } catch (const std::exception &e) {
        return e.what() == std::to_string(n);
    }
}

int main()
{
    constexpr int threads = 4, each = 50;
    std::atomic<int> intact = 0;
    gmp_waitgroup left = GMP_WAITGROUP_INIT;
    gmp_waitgroup_add(&left, threads * each);

    std::vector<std::thread> hosts;
    for (int t = 0; t < threads; t++)
        hosts.emplace_back([&, t] {
            for (int i = 0; i < each; i++)
                go([&, n = t * each + i] {
                    intact += survives(n);
                    gmp_waitgroup_done(&left);
                });
        });
    gmp_waitgroup_wait(&left);
    for (auto &host : hosts)
        host.join();
    std::printf("%d exceptions intact\n", intact.load());
}
