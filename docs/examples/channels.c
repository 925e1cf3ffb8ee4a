/* Channels: send, receive, close, deadlines, tries. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sends ten numbers, and says by the close that there are no more. */
static void produce(void *arg)
{
    gmp_chan *numbers = arg;

    for (int n = 0; n < 10; n++)
        if (gmp_chan_send(numbers, &n) != 0)
            break;
    gmp_chan_close(numbers);
    gmp_chan_unref(numbers);
}

/* Receives until the channel is closed and empty. */
static int sum_of_all(gmp_chan *numbers)
{
    int n, sum = 0;

    while (gmp_chan_recv(numbers, &n) == 0)
        sum += n;
    return sum;
}

/* Sends if the buffer has room within a millisecond, else drops the line. */
static int log_line(gmp_chan *lines, const char *text)
{
    char *line = strdup(text);
    int rc = line == NULL ? -ENOMEM
                          : gmp_chan_try_send(lines, &line);

    if (rc == -EAGAIN)
        rc = gmp_chan_send_until(lines, &line, gmp_after_ns(1000000));
    if (rc != 0)
        free(line); /* a send that fails leaves it with the sender */
    return rc;
}

/* Takes a line if one is there, else waits a while for one. */
static char *next_line(gmp_chan *lines)
{
    char *line = NULL;

    if (gmp_chan_try_recv(lines, &line) == -EAGAIN)
        gmp_chan_recv_until(lines, &line, gmp_after_ns(1000000));
    return line; /* NULL: none came, or the channel is closed */
}

/* A channel frees the lines that nobody has received. */
static void free_line(void *elem)
{
    free(*(char **)elem);
}

static gmp_chan *make_lines(void)
{
    gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;

    attr.elem_size = sizeof(char *);
    attr.capacity = 2;
    attr.name = "lines";
    attr.destroy = free_line;
    return gmp_chan_make_with(&attr);
}

/* How full the buffer is, for a dashboard. */
static void print_fill(const gmp_chan *ch)
{
    printf("%zu of %zu\n", gmp_chan_len(ch), gmp_chan_cap(ch));
}

int main(void)
{
    gmp_chan *numbers = gmp_chan_make(sizeof(int), 0);
    gmp_chan *lines = make_lines();
    char *line;
    int sum;

    if (numbers == NULL || lines == NULL)
        return 1;
    if (gmp_go(produce, gmp_chan_ref(numbers)) != 0)
        return 1;
    sum = sum_of_all(numbers);
    gmp_chan_unref(numbers);

    if (log_line(lines, "one") != 0 || log_line(lines, "two") != 0 ||
        log_line(lines, "too many") != -ETIMEDOUT)
        return 1;
    line = next_line(lines);
    printf("%d %s\n", sum, line);
    free(line);
    print_fill(lines);
    gmp_chan_unref(lines); /* frees "two" */
    return sum != 45;
}
