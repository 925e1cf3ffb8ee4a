/* A user of GNU MP's header name: ours has its longer one. */
#include <gmprt/gmp.h>

int main(void)
{
    return gmp_wait_init();
}
