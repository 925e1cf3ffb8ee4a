/* The sum of the numbers on the command line, by a pipeline that may fail.
 *
 *     feed --words--> parse --numbers--> add
 *
 * The stages are a group. When one fails, the others are cancelled, which ends
 * their waits, and the wait for the group returns the first error. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>

static char **args;
static gmp_chan *words, *numbers;
static long sum;

/* A stage closes its channel at the end of its input, but not when it fails:
 * the next stage would take that for a regular end. */
static int feed(void)
{
    int rc = 0;
    for (; *args != NULL && rc == 0; args++)
        rc = gmp_chan_send(words, args);
    return rc != 0 ? rc : gmp_chan_close(words);
}

static int parse(void)
{
    int rc;
    for (char *word; (rc = gmp_chan_recv(words, &word)) == 0;) {
        char *end;
        long number = strtol(word, &end, 10);
        if (end == word || *end != '\0')
            return -EINVAL;
        if ((rc = gmp_chan_send(numbers, &number)) != 0)
            return rc;
    }
    return rc != -EPIPE ? rc : gmp_chan_close(numbers);
}

static int add(void)
{
    int rc;
    for (long number; (rc = gmp_chan_recv(numbers, &number)) == 0;)
        sum += number;
    return rc != -EPIPE ? rc : 0;
}

static struct stage {
    const char *name;
    int (*run)(void);
    int result;
} stages[] = {{"feed", feed, 0}, {"parse", parse, 0}, {"add", add, 0}};

static int run(void *arg)
{
    struct stage *self = arg;
    return self->result = self->run();
}

int main(int argc, char **argv)
{
    args = argv + (argc > 0);
    words = gmp_chan_make(sizeof(char *), 0);
    numbers = gmp_chan_make(sizeof(long), 0);
    gmp_group *group = gmp_group_make();
    for (int i = 0; i < 3; i++)
        if (gmp_group_go(group, run, &stages[i]) != 0)
            gmp_group_cancel(group);
    int rc = gmp_group_wait(group);
    gmp_group_free(group);
    gmp_chan_unref(words);
    gmp_chan_unref(numbers);

    for (int i = 0; i < 3 && rc != 0; i++)
        printf("%s: %s\n", stages[i].name, gmp_strerror(stages[i].result));
    if (rc == 0)
        printf("%ld\n", sum);
    return rc != 0;
}
