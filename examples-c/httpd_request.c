/* The requests of httpd: reading them from a connection.
 *
 * A request's head stays in one buffer, and its pieces are spans of that. Each
 * byte is looked at once as it comes in, up to the empty line at the end of the
 * head; then httpd_parse.c parses the head. */
#include "httpd.h"

#include <string.h>
#include <sys/types.h>

/* Prepares `r` for the next request, whose first bytes may be in `in`. */
static void begin(struct request *r)
{
    r->len -= r->used;
    memmove(r->in, r->in + r->used, r->len);
    r->seen = r->start = r->used = 0;
    r->head_only = r->close = r->keep = false;
    r->minor = 0;
    r->target = r->place = r->query = (struct span){NULL, 0};
    memset(r->value, 0, sizeof r->value);
}

/* Looks for the end of the head in the bytes that have come in. Returns 0, with
 * r->used set if the end is there, or 400 for a byte that no head may have: a
 * control byte, or half of a line's end. So no server reads two lines where
 * this one reads one, or the other way round. */
static int look(struct request *r)
{
    const unsigned char *in = (const unsigned char *)r->in;
    while (r->used == 0) {
        size_t at = r->seen;
        while (at < r->len && (in[at] >= ' ' || in[at] == '\t') &&
               in[at] != 127)
            at++;
        r->seen = at;
        if (at == r->len || (at + 1 == r->len && in[at] == '\r'))
            break;
        if (in[at] != '\r' || in[at + 1] != '\n')
            return 400;
        r->seen = at + 2;
        if (at == r->start) /* an empty line before the request */
            r->start = at + 2;
        else if (in[at - 1] == '\n') /* and the one behind it */
            r->used = at + 2;
    }
    return 0;
}

int request_read(struct request *r, int fd, int64_t deadline)
{
    begin(r);
    for (;;) {
        int status = look(r);
        if (status != 0)
            return status;
        if (r->used != 0)
            return request_parse(r);
        if (r->len == sizeof r->in) {
            bool has_line = memchr(r->in + r->start, '\n',
                                   r->len - r->start) != NULL;
            return has_line ? 431 : 414;
        }
        ssize_t n = gmp_read_until(fd, r->in + r->len, sizeof r->in - r->len,
                                   deadline);
        if (n == -ETIMEDOUT)
            return 408;
        if (n <= 0)
            return -1;
        r->len += (size_t)n;
    }
}

bool request_keeps(const struct request *r)
{
    return !r->close && (r->minor > 0 || r->keep);
}
