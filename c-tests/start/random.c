/* Prints the choices of selects on a thread that has no goroutine: they are
 * others in each process. */
#include "../test.h"

enum { CHOICES = 64 };

int test_main(int argc, char **argv)
{
    char text[CHOICES + 1] = "";
    gmp_chan *ch[2];
    gmp_case cases[2];

    for (int i = 0; i < 2; i++) {
        ch[i] = gmp_chan_make(0, CHOICES);
        CHECK(ch[i] != NULL);
        cases[i] = (gmp_case){ch[i], NULL, GMP_SEND, 0};
    }
    for (int i = 0; i < CHOICES; i++) {
        int chosen = gmp_try_select(cases, 2);

        CHECK(chosen == 0 || chosen == 1);
        text[i] = (char)('0' + chosen);
    }
    CHECK_EQ(gmp_goid(), 0);
    puts(text);
    return 0;
}
