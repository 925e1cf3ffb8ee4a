/* Two copies of the library in one process. Usage: twice LIBRARY COPY HOW
 *
 * Both work at the same time, goroutines of one call the other, and a fault of
 * a goroutine of either is told. HOW: "none", or how a goroutine of the second
 * copy dies; with "first-" before that, one of the first. */
#include "company.h"

static struct gmp copies[2];

/* A goroutine of one copy, which is a host thread to the other. */
static void call_the_other(void *arg)
{
    const struct gmp *mine = arg;
    const struct gmp *other = mine == &copies[0] ? &copies[1] : &copies[0];
    gmp_chan *ch = other->chan_make(sizeof(int), 0);
    struct work w;

    CHECK(ch != NULL);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(other->sleep(100000));
        CHECK_OK(mine->sleep(1000));
    }
    begin_work(&w, other);
    end_work(&w);
    other->chan_unref(ch);
}

int main(int argc, char **argv)
{
    struct work works[2];
    gmp_g *callers[2][4];
    const char *how;
    int which = 1;

    begin();
    CHECK(argc == 4);
    for (int i = 0; i < 2; i++)
        copies[i] = load_gmp(argv[1 + i]);
    CHECK(copies[0].go_with != copies[1].go_with);
    how = argv[3];
    if (strncmp(how, "first-", 6) == 0) {
        how += 6;
        which = 0;
    }
    for (int i = 0; i < 2; i++)
        begin_work(&works[i], &copies[i]);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            callers[i][j] = started(&copies[i], call_the_other, &copies[i]);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            CHECK_OK(copies[i].join(callers[i][j]));
    die(&copies[which], how);
    for (int i = 0; i < 2; i++)
        end_work(&works[i]);
    puts("both worked");
    return 0;
}
