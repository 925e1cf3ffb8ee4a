/* Conway's game of life, on a board without edges: each goroutine has some rows,
 * and a barrier keeps all of them in the same generation.
 *
 *     worker: rows of the next board | wait | rows of the next board | wait ...
 *     one of them, after each wait:         swap the boards
 *
 * A worker reads rows of its neighbours, so nobody may begin a generation
 * before all have ended the last one, and before the boards are swapped. The
 * barrier returns 1 to one of the workers, which swaps; all meet once more
 * after that. */
#include <err.h>
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEIGHT = 16, WIDTH = 32, WORKERS = 4 };

typedef char board[HEIGHT][WIDTH + 1];

static board boards[2], *now = &boards[0], *next = &boards[1];
static gmp_barrier all = GMP_BARRIER_INIT(WORKERS);
static gmp_waitgroup workers = GMP_WAITGROUP_INIT;
static int generations;

static char grown(int y, int x)
{
    int n = 0;
    for (int dy = HEIGHT - 1; dy <= HEIGHT + 1; dy++)
        for (int dx = WIDTH - 1; dx <= WIDTH + 1; dx++)
            n += (*now)[(y + dy) % HEIGHT][(x + dx) % WIDTH] == '#';
    /* With itself: three make a cell live, four keep it as it is. */
    return n == 3 ? '#' : n == 4 ? (*now)[y][x] : '.';
}

static void work(void *args)
{
    int first = *(int *)args * HEIGHT / WORKERS;
    for (int i = 0; i < generations; i++) {
        for (int y = first; y < first + HEIGHT / WORKERS; y++)
            for (int x = 0; x < WIDTH; x++)
                (*next)[y][x] = grown(y, x);
        if (gmp_barrier_wait(&all) == 1) {
            board *old = now;
            now = next;
            next = old;
        }
        gmp_barrier_wait(&all);
    }
    gmp_waitgroup_done(&workers);
}

static int life(int argc, char **argv)
{
    static const char *const glider[] = {".#.", "..#", "###"};
    generations = argc > 1 ? atoi(argv[1]) : 48;
    memset(*now, '.', sizeof *now);
    for (int y = 0; y < HEIGHT; y++)
        (*now)[y][WIDTH] = (*next)[y][WIDTH] = '\0';
    for (int y = 0; y < 3; y++)
        memcpy((*now)[y], glider[y], 3);
    gmp_waitgroup_add(&workers, WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        int rc = gmp_go_copy(work, &i, sizeof i);
        if (rc != 0)
            errx(1, "%s", gmp_strerror(rc));
    }
    gmp_waitgroup_wait(&workers);
    for (int y = 0; y < HEIGHT; y++)
        puts((*now)[y]);
    return 0;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, life);
}
