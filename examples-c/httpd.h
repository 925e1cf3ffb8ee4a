/* The interface between the parts of httpd. */
#ifndef HTTPD_H
#define HTTPD_H

#include <gmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEAD_MAX = 8192, /* bytes of a request's line and fields */
    PATH_MAX_BYTES = 4096,
};

/* The fields of a request that matter here. */
enum field {
    HOST,
    RANGE,
    IF_RANGE,
    IF_MODIFIED_SINCE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    FIELDS
};

/* A piece of a request, in place; `at` is NULL if the request lacks it. */
struct span {
    const char *at;
    size_t len;
};

/* A request with all its memory. A connection has one only from the first byte
 * of a request to the last byte of the answer. */
struct request {
    bool head_only;      /* the method is HEAD */
    int minor;           /* of the version, which is 1.x */
    bool close, keep;    /* what the client asks for by Connection */
    struct span target;  /* what follows the method */
    struct span place, query; /* the target's path, and what follows its `?` */
    struct span value[FIELDS];
    size_t len;          /* bytes in `in`: this request and those behind it */
    size_t seen;         /* bytes of them that were looked at */
    size_t start;        /* where this request begins: after empty lines */
    size_t used;         /* where it ends; 0 while that is not known */
    char in[HEAD_MAX];
    char path[PATH_MAX_BYTES]; /* the file's, below the root */
    char out[HEAD_MAX + 512];  /* the answer, but for a file's content */
};

/* httpd_request.c: reads a request from `fd`, after the bytes of an earlier
 * read that are still in `in`. Returns 0; the status for a bad request; or -1
 * if the client has gone. */
int request_read(struct request *r, int fd, int64_t deadline);

/* Whether the client wants the connection to go on after this request. */
bool request_keeps(const struct request *r);

/* httpd_parse.c: parses the head in `in` from `start` to `used`, with the empty
 * line at its end. Returns 0, or the status for a bad request. Except for the
 * ends of lines, all bytes are printable, tabs or above 127. */
int request_parse(struct request *r);

/* httpd_file.c: answers a request, with `status` if that is not 0, else with a
 * file below `root`. Returns whether another request may follow on `fd`. */
bool answer(struct request *r, int status, int fd, int root,
            int64_t patience_ns);

#endif
