/* GNU MP beside gmprt: both headers in one unit, in the order that
 * GMPRT_FIRST picks, and both libraries at work in one goroutine. */
#ifdef GMPRT_FIRST
#include <gmprt/gmp.h>

#include <gmp.h>
#else
#include <gmp.h>

#include <gmprt/gmp.h>
#endif

#define TEST_HEADER_INCLUDED
#include "test.h"

enum { WORKERS = 10, N = 100 };

static void factorial(void *arg)
{
    mpz_t product;
    char *digits;

    mpz_init_set_ui(product, 1);
    for (unsigned long i = 2; i <= N; i++) {
        mpz_mul_ui(product, product, i);
        gmp_yield();
    }
    digits = mpz_get_str(NULL, 10, product);
    CHECK_EQ(strlen(digits), 158);
    CHECK(strncmp(digits, "93326215443944152681", 20) == 0);
    free(digits);
    mpz_clear(product);
}

int test_main(int argc, char **argv)
{
    gmp_g *gs[WORKERS];

    CHECK(gmp_version != NULL && gmp_rt_version() != NULL);
    for (int i = 0; i < WORKERS; i++)
        gs[i] = spawn(factorial, NULL);
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(gmp_join(gs[i]));
    return 0;
}
