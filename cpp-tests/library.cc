// Parts of the program library_main.cc: one without exceptions, and a library
// that shows nothing but two functions.
#include <gmprt.hpp>

#include <stdexcept>

#if PART == 1

int sum_without_exceptions();

int sum_without_exceptions()
{
    std::error_code ec;
    auto numbers = gmp::channel<int>::make(0, ec);
    gmp::task<void> sends(ec, [numbers] {
        std::error_code why;
        for (int i = 1; i <= 4 && numbers.send(i, why); i++)
            continue;
        numbers.close();
    });
    int sum = 0;
    for (int n : numbers)
        sum += n;
    return sum;
}

#else

__attribute__((visibility("default"))) gmp::task<void> fails_later();
__attribute__((visibility("default"))) gmp::task<int> gives(int n);

gmp::task<void> fails_later()
{
    return gmp::task<void>([] {
        gmp::this_goroutine::yield();
        throw std::runtime_error("from the library");
    });
}

gmp::task<int> gives(int n)
{
    return gmp::task<int>([n] { return n; });
}

#endif
