/* The requests of httpd: reading and parsing them.
 *
 * A request's head stays in one buffer, and the pieces that matter are spans
 * of that. The parser comes to know each byte once, as they come in. */
#include "httpd.h"

#include <string.h>
#include <strings.h>
#include <sys/types.h>

/* Makes `s` longer by a piece that must follow it at once. */
static bool extend(struct span *s, const char *at, size_t len)
{
    if (s->at == NULL)
        *s = (struct span){at, 0};
    if (s->at + s->len != at)
        return false;
    s->len += len;
    return true;
}

/* Ends the parsing: the answer is going to be this status. The result is no
 * positive number because these mean other things to the parser. */
static int refuse(struct request *r, int status)
{
    r->status = status;
    return -1;
}

static int on_url(http_parser *p, const char *at, size_t len)
{
    struct request *r = p->data;
    return extend(&r->target, at, len) ? 0 : refuse(r, 400);
}

static enum field field_of(struct span name)
{
    static const char *const names[FIELDS] = {
        [HOST] = "Host",
        [RANGE] = "Range",
        [IF_RANGE] = "If-Range",
        [IF_MODIFIED_SINCE] = "If-Modified-Since",
    };
    for (int i = 0; i < FIELDS; i++)
        if (strlen(names[i]) == name.len &&
            strncasecmp(names[i], name.at, name.len) == 0)
            return i;
    return OTHER;
}

static int on_field(http_parser *p, const char *at, size_t len)
{
    struct request *r = p->data;
    if (r->in_value) {
        r->in_value = false;
        r->name = (struct span){NULL, 0};
    }
    return extend(&r->name, at, len) ? 0 : refuse(r, 400);
}

/* Refuses a field that is there twice, and a value that goes on on a second
 * line, which nobody should send any more. */
static int on_value(http_parser *p, const char *at, size_t len)
{
    struct request *r = p->data;
    bool begins = !r->in_value;
    if (begins) {
        r->in_value = true;
        r->field = field_of(r->name);
    }
    if (r->field == OTHER)
        return 0;
    struct span *value = &r->value[r->field];
    if (begins && value->at != NULL)
        return refuse(r, 400);
    return extend(value, at, len) ? 0 : refuse(r, 400);
}

/* Whether a request with this head is one that this server does. */
static int on_head(http_parser *p)
{
    struct request *r = p->data;
    bool content = (p->flags & F_CHUNKED) != 0 ||
                   ((p->flags & F_CONTENTLENGTH) != 0 && p->content_length > 0);
    if (p->http_major != 1)
        return refuse(r, 505);
    if (p->http_minor > 0 && r->value[HOST].at == NULL)
        return refuse(r, 400);
    if (p->method != HTTP_GET && p->method != HTTP_HEAD)
        return refuse(r, 405);
    if (content)
        return refuse(r, 413);
    return 0;
}

static int on_complete(http_parser *p)
{
    struct request *r = p->data;
    r->complete = true;
    http_parser_pause(p, 1); /* what follows is another request */
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_message_complete = on_complete,
};

/* Makes `r` ready for the next request, whose first bytes may be in `in`. */
static void begin(struct request *r)
{
    r->len -= r->used;
    memmove(r->in, r->in + r->used, r->len);
    r->used = 0;
    r->complete = r->in_value = false;
    r->status = 0;
    r->target = r->name = (struct span){NULL, 0};
    memset(r->value, 0, sizeof r->value);
    http_parser_init(&r->parser, HTTP_REQUEST);
    r->parser.data = r;
}

/* Whether it begins with what could be a method: letters and a space. */
static bool has_method(const struct request *r)
{
    size_t n = strspn(r->in, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-");
    return n > 0 && r->in[n] == ' ';
}

/* The status that tells what the parser did not like. */
static int fault(const struct request *r)
{
    if (r->status != 0)
        return r->status;
    switch (HTTP_PARSER_ERRNO(&r->parser)) {
    case HPE_INVALID_METHOD:
        return has_method(r) ? 501 : 400;
    case HPE_INVALID_VERSION:
        return 505;
    case HPE_HEADER_OVERFLOW:
        return 431;
    default:
        return 400;
    }
}

int request_read(struct request *r, int fd, int64_t deadline)
{
    begin(r);
    for (;;) {
        if (r->used < r->len) {
            r->used += http_parser_execute(&r->parser, &settings,
                                           r->in + r->used, r->len - r->used);
            if (r->complete)
                return 0;
            if (HTTP_PARSER_ERRNO(&r->parser) != HPE_OK)
                return fault(r);
        }
        if (r->len == sizeof r->in - 1)
            return r->name.at == NULL ? 414 : 431;
        ssize_t n = gmp_read_until(fd, r->in + r->len,
                                   sizeof r->in - 1 - r->len, deadline);
        if (n == -ETIMEDOUT)
            return 408;
        if (n <= 0)
            return -1;
        r->len += (size_t)n;
        r->in[r->len] = '\0';
    }
}
