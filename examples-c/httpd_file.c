/* The answers of httpd: finding files and sending them.
 *
 * The kernel itself refuses paths outside the root (RESOLVE_BENEATH). It
 * resolves the path once, with every `..` and symbolic link, so nobody can
 * exchange a directory between a check and the open. */
#define _GNU_SOURCE
#include "httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 20 }; /* bytes that may take a client its patience */
enum { DATE_LEN = sizeof "Sun, 06 Nov 1994 08:49:37 GMT" };

/* An answer: a head and, except for HEAD, a part of a file or a text. */
struct reply {
    int status;
    int file;             /* -1 where there is none */
    int64_t size;         /* of the file */
    int64_t from, length; /* of what is sent */
    time_t mtime;
};

/* --- From the request's target to a file -------------------------------- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32; /* to lower case */
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes each %xx in `path`, in place; false for a bad one, or a NUL. */
static bool decode(char *path)
{
    char *to = path;
    for (; *path != '\0'; path++) {
        char c = *path;
        if (c == '%') {
            int high = hex(path[1]), low = high < 0 ? -1 : hex(path[2]);
            c = (char)(high * 16 + low);
            if (low < 0 || c == '\0')
                return false;
            path += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return true;
}

/* Writes the path of the request to r->path, still encoded. Returns 0 or a
 * status. */
static int path_of(struct request *r)
{
    if (r->place.len >= sizeof r->path)
        return 414;
    memcpy(r->path, r->place.at, r->place.len);
    r->path[r->place.len] = '\0';
    return 0;
}

static int status_of(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        return 404;
    case EACCES:
    case EPERM:
    case ELOOP:
    case EXDEV: /* not below the root */
    case ENXIO: /* a socket */
        return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN: /* somebody renames directories */
        return 503;
    default:
        return 500;
    }
}

/* Opens `path` below `dir` for `reply`. Returns 0 or a status: 301 is for a
 * directory. */
static int open_below(int dir, const char *path, struct reply *reply)
{
    /* O_NONBLOCK: the open of a named pipe must not wait for a writer. */
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long file = syscall(SYS_openat2, dir, path, &how, sizeof how);
    if (file < 0)
        return status_of(errno);
    struct stat st;
    reply->file = (int)file;
    if (fstat(reply->file, &st) != 0)
        return 500;
    if (S_ISDIR(st.st_mode))
        return 301;
    if (!S_ISREG(st.st_mode))
        return 403;
    reply->size = reply->length = st.st_size;
    reply->mtime = st.st_mtime;
    return 0;
}

/* Finds the file of the request; for a directory whose name ends in a slash
 * that is its index.html. Returns 0 or a status. */
static int find(struct request *r, int root, struct reply *reply)
{
    int status = path_of(r);
    if (status != 0)
        return status;
    if (!decode(r->path))
        return 400;
    const char *path = r->path + strspn(r->path, "/");
    status = open_below(root, *path == '\0' ? "." : path, reply);
    bool slash = r->path[strlen(r->path) - 1] == '/';
    if (status != 301 || !slash)
        return status;
    int dir = reply->file;
    reply->file = -1;
    status = open_below(dir, "index.html", reply);
    close(dir);
    return status == 301 ? 404 : status;
}

/* --- Conditions and ranges ----------------------------------------------- */

static const char date_format[] = "%a, %d %b %Y %H:%M:%S GMT";

static const char *put_date(char text[DATE_LEN], time_t t)
{
    struct tm tm;
    strftime(text, DATE_LEN, date_format, gmtime_r(&t, &tm));
    return text;
}

/* Whether the client has the present version, by its If-Modified-Since. */
static bool has_it(const struct request *r, time_t mtime)
{
    struct span since = r->value[IF_MODIFIED_SINCE];
    char text[DATE_LEN];
    struct tm tm = {0};
    if (since.at == NULL || since.len != DATE_LEN - 1)
        return false;
    memcpy(text, since.at, since.len);
    text[since.len] = '\0';
    const char *end = strptime(text, date_format, &tm);
    return end != NULL && *end == '\0' && mtime <= timegm(&tm);
}

/* Reads a number of digits only, and moves *at behind it; -1 without digits,
 * INT64_MAX for a number that is too large. */
static int64_t number(const char **at, const char *end)
{
    int64_t n = -1;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
        n = n < 0 ? 0 : n;
        int digit = **at - '0';
        n = n > (INT64_MAX - digit) / 10 ? INT64_MAX : n * 10 + digit;
    }
    return n;
}

/* Narrows `reply` to the range that the request asks for. Returns 206; 416 if
 * the file has nothing of it; 200 if the request asks for no range, for
 * several, for an unknown form, or for an earlier version. */
static int narrow(const struct request *r, struct reply *reply)
{
    struct span range = r->value[RANGE], version = r->value[IF_RANGE];
    char date[DATE_LEN];
    put_date(date, reply->mtime);
    if (range.at == NULL || r->head_only || range.len < 6 ||
        strncasecmp(range.at, "bytes=", 6) != 0)
        return 200;
    if (version.at != NULL && (version.len != DATE_LEN - 1 ||
                               memcmp(version.at, date, version.len) != 0))
        return 200;
    const char *at = range.at + 6, *end = range.at + range.len;
    int64_t first = number(&at, end);
    if (at == end || *at++ != '-')
        return 200;
    int64_t last = number(&at, end);
    if (at != end || (first < 0 && last < 0) || (last >= 0 && last < first))
        return 200;
    if (first < 0) { /* the last bytes */
        first = last < reply->size ? reply->size - last : 0;
        last = last == 0 ? -1 : reply->size - 1;
    } else if (last < 0 || last >= reply->size) {
        last = reply->size - 1;
    }
    if (first > last)
        return 416;
    reply->from = first;
    reply->length = last - first + 1;
    return 206;
}

/* --- The head ------------------------------------------------------------ */

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/plain; charset=utf-8"},
        {".c", "text/plain; charset=utf-8"},
        {".h", "text/plain; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".pdf", "application/pdf"},
        {".wasm", "application/wasm"},
    };
    const char *name = strrchr(path, '/');
    const char *ending = name == NULL ? NULL : strrchr(name, '.');
    for (size_t i = 0; ending != NULL && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(ending, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

/* printf to the end of r->out, which has room for all that answer writes. */
__attribute__((format(printf, 3, 4)))
static size_t put(struct request *r, size_t len, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(r->out + len, sizeof r->out - len, format, args);
    va_end(args);
    return len + (size_t)n;
}

/* Writes the address of a directory: the same path with a slash at its end. Two
 * slashes at the beginning would turn the next part into a host's name. */
static size_t put_location(struct request *r, size_t n)
{
    struct span at = r->place, query = r->query;
    for (; at.len > 1 && at.at[1] == '/'; at.at++)
        at.len--;
    n = put(r, n, "Location: %.*s/", (int)at.len, at.at);
    if (query.len > 0)
        n = put(r, n, "?%.*s", (int)query.len, query.at);
    return put(r, n, "\r\n");
}

static const char *phrase_of(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {
        {200, "OK"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Payload Too Large"},
        {414, "URI Too Long"},
        {416, "Range Not Satisfiable"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Unknown";
}

/* Writes the answer, less the file's content, to r->out; returns its length. */
static size_t compose(struct request *r, const struct reply *a, bool keep)
{
    char date[DATE_LEN];
    const char *phrase = phrase_of(a->status);
    bool content = a->status == 200 || a->status == 206;
    size_t n = put(r, 0, "HTTP/1.1 %d %s\r\nDate: %s\r\n", a->status, phrase,
                   put_date(date, time(NULL)));
    if (content || a->status == 304)
        n = put(r, n, "Last-Modified: %s\r\nAccept-Ranges: bytes\r\n",
                put_date(date, a->mtime));
    if (content)
        n = put(r, n, "Content-Type: %s\r\nContent-Length: %" PRId64 "\r\n",
                type_of(r->path), a->length);
    if (a->status == 206)
        n = put(r, n, "Content-Range: bytes %" PRId64 "-%" PRId64, a->from,
                a->from + a->length - 1);
    if (a->status == 416)
        n = put(r, n, "Content-Range: bytes *");
    if (a->status == 206 || a->status == 416)
        n = put(r, n, "/%" PRId64 "\r\n", a->size);
    if (a->status == 405)
        n = put(r, n, "Allow: GET, HEAD\r\n");
    if (a->status == 301)
        n = put_location(r, n);
    if (!keep)
        n = put(r, n, "Connection: close\r\n");
    else if (r->minor == 0)
        n = put(r, n, "Connection: keep-alive\r\n");
    if (content || a->status == 304)
        return put(r, n, "\r\n");
    n = put(r, n, "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
            strlen("404 \n") + strlen(phrase));
    if (!r->head_only)
        n = put(r, n, "%d %s\n", a->status, phrase);
    return n;
}

/* --- Sending ------------------------------------------------------------- */

/* The client has its patience for each piece, so a slow client that goes on
 * reading gets everything. */
static bool send_out(const struct request *r, size_t len, int fd, bool more,
                     int64_t patience_ns)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = gmp_sendto_until(fd, r->out + done, len - done,
                                     more ? MSG_MORE : 0, NULL, 0,
                                     gmp_after_ns(patience_ns));
        if (n < 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* False also if the file has become shorter; the client notices by the end of
 * the connection. */
static bool send_file(const struct reply *a, int fd, int64_t patience_ns)
{
    int64_t at = a->from, end = a->from + a->length;
    while (at < end) {
        size_t n = (size_t)(end - at < PIECE ? end - at : PIECE);
        if (gmp_sendfile_until(fd, a->file, &at, n,
                               gmp_after_ns(patience_ns)) <= 0)
            return false;
    }
    return true;
}

bool answer(struct request *r, int status, int fd, int root,
            int64_t patience_ns)
{
    struct reply reply = {.file = -1};
    /* A stop of the server cancels the connections. */
    bool keep = status == 0 && request_keeps(r) && !gmp_cancelled();
    if (status == 0)
        status = find(r, root, &reply);
    if (status == 0)
        status = has_it(r, reply.mtime) ? 304 : narrow(r, &reply);
    reply.status = status;
    size_t n = compose(r, &reply, keep);
    bool file = (status == 200 || status == 206) && reply.length > 0 &&
                !r->head_only;
    bool sent = send_out(r, n, fd, file, patience_ns) &&
                (!file || send_file(&reply, fd, patience_ns));
    if (reply.file >= 0)
        close(reply.file);
    return keep && sent;
}
