/* A second file, in C++, with a function of the same name: it is called when
 * the globals before it are made. */
#include <cstdlib>
#include <gmp.h>
#include <string>

extern "C" int inits_elsewhere(void);

static const std::string made("made before");
static int calls;

static void first(void)
{
    if (made != "made before" || gmp_goid() == 0)
        std::abort();
    calls++;
}
GMP_INIT(first)

int inits_elsewhere(void)
{
    return calls;
}
