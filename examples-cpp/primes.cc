// Prime numbers by a chain of filters, each of which is a coroutine: a
// goroutine without a stack, so that thousands of them take little memory.
// Prints the first N of them, 10 by default. Needs C++20.
//
//     2, 3, 4, ... ──> no multiples of 2 ──> no multiples of 3 ──> ...
//
//     primes [N]
#include <gmprt.hpp>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

gmp::co<void> count(gmp::sender<int> to)
{
    for (int n = 2; co_await to.async_send(n); n++)
        ;
}

gmp::co<void> filter(int prime, gmp::receiver<int> from, gmp::sender<int> to)
{
    while (auto n = co_await from.async_recv())
        if (*n % prime != 0)
            if (!co_await to.async_send(*n))
                co_return;
}

// Adds a filter for each prime number that comes through all of them.
gmp::co<std::vector<int>> primes(std::size_t wanted)
{
    std::vector<int> found;
    std::vector<gmp::task<void>> filters;
    gmp::channel<int> last(0);

    filters.emplace_back(count(last));
    while (found.size() < wanted) {
        const auto prime = co_await last.async_recv();
        if (!prime)
            break;
        found.push_back(*prime);
        gmp::channel<int> next(0);
        filters.emplace_back(filter(*prime, last, next));
        last = next;
    }
    for (auto &f : filters)
        f.cancel(); // all at once; their destructors wait
    co_return found;
}

} // namespace

int main(int argc, char **argv)
{
    const long n = argc > 1 ? std::atol(argv[1]) : 10;
    gmp::task all(primes(n > 0 ? static_cast<std::size_t>(n) : 0));

    for (const int prime : all.join())
        std::printf("%d\n", prime);
}
