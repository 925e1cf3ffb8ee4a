// A program of several files that all include the header.
#include "test.hpp"

#include <stdexcept>

gmp::task<void> fails_later();
gmp::task<int> gives(int n);
int sum_without_exceptions();

void test_main()
{
    CHECK_EQ(sum_without_exceptions(), 10);
    CHECK_EQ(gives(4).join(), 4);
    gmp::task<void> t = fails_later();
    CHECK_THROWS(std::runtime_error, t.join(),
                 CHECK_EQ(std::string(e.what()), "from the library"));
}
