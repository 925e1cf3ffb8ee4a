/* The requests of httpd: the parser of a head, by RFC 9112.
 *
 * Where the RFC leaves a choice, this parser refuses the request: if two
 * servers in a row read it in two ways, one client can speak for another. The
 * parser takes no content, so a request ends with its head. */
#include "httpd.h"

#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    char lower = c | 32;
    return is_digit(c) || (lower >= 'a' && lower <= 'z');
}

/* Whether `s` consists of letters, digits and the characters of `others`. */
static bool is_made_of(struct span s, const char *others)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.at[i]) &&
            (s.at[i] == '\0' || strchr(others, s.at[i]) == NULL))
            return false;
    return true;
}

/* Whether `s` is a token: methods and the names of fields are. */
static bool is_token(struct span s)
{
    return s.len > 0 && is_made_of(s, "!#$%&'*+-.^_`|~");
}

static bool is(struct span s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

/* Takes the part before `end`, and `end`, from the front of `rest`; without an
 * `end` takes everything. */
static struct span cut(struct span *rest, char end)
{
    struct span piece = *rest;
    const char *at = memchr(rest->at, end, rest->len);
    if (at != NULL)
        piece.len = (size_t)(at - piece.at);
    size_t gone = piece.len + (at != NULL);
    *rest = (struct span){rest->at + gone, rest->len - gone};
    return piece;
}

static struct span trim(struct span s)
{
    for (; s.len > 0 && (*s.at == ' ' || *s.at == '\t'); s.len--)
        s.at++;
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool all_in(struct span s, const char *set)
{
    for (size_t i = 0; i < s.len; i++)
        if (strchr(set, s.at[i]) == NULL)
            return false;
    return true;
}

/* A host's name or address, and a port if there is a colon behind it. */
static bool is_host(struct span s)
{
    bool bracket = s.len > 0 && *s.at == '[';
    struct span host = cut(&s, bracket ? ']' : ':');
    if (bracket) {
        const char *end = host.at + host.len; /* the ']', or that of all */
        if (!all_in((struct span){host.at + 1, host.len - 1},
                    "0123456789abcdefABCDEF:.") ||
            end == s.at || (s.len > 0 && *s.at != ':'))
            return false;
        cut(&s, ':');
    }
    return host.len > 0 && all_in(s, "0123456789") &&
           (bracket || is_made_of(host, "-._~%!$&'()*+,;="));
}

/* Parses the target: a path, or a whole URL, which a proxy sends. */
static bool parse_target(struct request *r)
{
    struct span rest = r->target;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.at[i] <= ' ' || rest.at[i] > '~' || rest.at[i] == '#')
            return false;
    if (rest.len > 7 && strncasecmp(rest.at, "http://", 7) == 0) {
        struct span host = {rest.at + 7, 0};
        size_t most = rest.len - 7;
        while (host.len < most && strchr("/?", host.at[host.len]) == NULL)
            host.len++;
        if (!is_host(host))
            return false;
        rest = (struct span){host.at + host.len, most - host.len};
    } else if (rest.len == 0 || rest.at[0] != '/') {
        return false;
    }
    r->place = cut(&rest, '?');
    r->query = rest;
    if (r->place.len == 0)
        r->place = (struct span){"/", 1};
    return true;
}

/* Parses the request's line. Returns 0 or a status. A known method that this
 * server lacks clears *allowed, and is reported at the end only (405). */
static int parse_line(struct request *r, struct span line, bool *allowed)
{
    static const char *const others[] = {"POST", "PUT", "DELETE", "CONNECT",
                                         "OPTIONS", "TRACE", "PATCH"};
    struct span method = cut(&line, ' '), version;
    bool known = false;
    if (!is_token(method) || line.len == 0)
        return 400;
    r->head_only = method.len == 4 && memcmp(method.at, "HEAD", 4) == 0;
    *allowed = r->head_only ||
               (method.len == 3 && memcmp(method.at, "GET", 3) == 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        known |= strlen(others[i]) == method.len &&
                 memcmp(others[i], method.at, method.len) == 0;
    r->target = cut(&line, ' ');
    version = line;
    if (r->target.len == 0)
        return 400;
    if (version.len == 0) /* as of HTTP 0.9 */
        return 505;
    if (version.len != 8 || memcmp(version.at, "HTTP/", 5) != 0 ||
        !is_digit(version.at[5]) || version.at[6] != '.' ||
        !is_digit(version.at[7]))
        return 400;
    r->minor = version.at[7] - '0';
    return version.at[5] != '1' ? 505 : !*allowed && !known ? 501 : 0;
}

/* Notes the words of a Connection field; there may be several such fields. */
static void parse_connection(struct request *r, struct span list)
{
    while (list.len > 0) {
        struct span option = trim(cut(&list, ','));
        r->close |= is(option, "close");
        r->keep |= is(option, "keep-alive");
    }
}

/* Parses one field. Refused are: a line that begins with a blank, which would
 * continue the line before; a blank before the colon, which other servers read
 * as another name; and a second value, as only one can be meant. */
static bool parse_field(struct request *r, struct span line)
{
    static const char *const names[FIELDS] = {
        [HOST] = "Host",
        [RANGE] = "Range",
        [IF_RANGE] = "If-Range",
        [IF_MODIFIED_SINCE] = "If-Modified-Since",
        [CONTENT_LENGTH] = "Content-Length",
        [TRANSFER_ENCODING] = "Transfer-Encoding",
    };
    bool colon = memchr(line.at, ':', line.len) != NULL;
    struct span name = cut(&line, ':'), value = trim(line);
    if (!colon || !is_token(name))
        return false;
    if (is(name, "Connection"))
        parse_connection(r, value);
    for (int i = 0; i < FIELDS; i++) {
        if (!is(name, names[i]))
            continue;
        if (r->value[i].at != NULL)
            return false;
        r->value[i] = value;
    }
    return true;
}

/* Refuses content, which this server does not take. Returns 0, 413, or 400 if
 * the length of the content is not clear. */
static int content(const struct request *r)
{
    struct span length = r->value[CONTENT_LENGTH];
    struct span coding = r->value[TRANSFER_ENCODING];
    if (coding.at != NULL)
        return length.at == NULL && r->minor > 0 && is(coding, "chunked")
                   ? 413 : 400;
    if (length.at == NULL)
        return 0;
    if (length.len == 0 || !all_in(length, "0123456789"))
        return 400;
    return all_in(length, "0") ? 0 : 413;
}

int request_parse(struct request *r)
{
    struct span head = {r->in + r->start, r->used - r->start - 2};
    bool allowed = false;
    for (bool first = true; head.len > 0; first = false) {
        struct span line = cut(&head, '\n');
        line.len--; /* the '\r' */
        int status = first ? parse_line(r, line, &allowed)
                           : parse_field(r, line) ? 0 : 400;
        if (status != 0)
            return status;
    }
    struct span host = r->value[HOST];
    int status = content(r);
    if ((host.at == NULL && r->minor > 0) || status == 400 ||
        (host.len > 0 && !is_host(host)))
        return 400;
    if (!allowed)
        return 405;
    if (status != 0)
        return status;
    return parse_target(r) ? 0 : 400;
}
