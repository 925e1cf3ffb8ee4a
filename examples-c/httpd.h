/* What the parts of httpd know of each other. */
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

/* A piece of a request, where it stands; `at` is NULL if it is not there. */
struct span {
    const char *at;
    size_t len;
};

/* A request, and all the memory that goes with it. A connection has one only
 * from a request's first byte to the last of its answer. */
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

/* httpd_request.c: reads a request from `fd`, after what `in` still has of an
 * earlier read. Returns 0; the status that says what is wrong with it; or -1:
 * the client has gone. */
int request_read(struct request *r, int fd, int64_t deadline);

/* Whether the client wants the connection to go on after this request. */
bool request_keeps(const struct request *r);

/* httpd_parse.c: parses the head that stands in `in` from `start` to `used`,
 * empty line included. Returns 0, or the status that says what is wrong. All
 * its bytes are printable, tabs or above 127, but for the ends of lines. */
int request_parse(struct request *r);

/* httpd_file.c: answers a request, with `status` if that is not 0, and with a
 * file below `root` else. Returns whether another may follow on `fd`. */
bool answer(struct request *r, int status, int fd, int root,
            int64_t patience_ns);

#endif
