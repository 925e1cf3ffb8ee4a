/* Counts the words of all text files below the given paths.
 *
 *     a reader per file --blocks--> counters --tables--> the merger
 *
 * Each file has a goroutine of its own, which reads it by plain fopen and
 * fread. While one blocks there, the others go on. The readers cut the text
 * into blocks of whole words. The counters, as many as may run at once, count
 * the words into tables, and main merges the tables and prints them.
 *
 * A word is a run of the letters A to Z, in either case, as in
 *
 *     tr -cs A-Za-z '\n' | tr A-Z a-z | sort | uniq -c | sort -k1,1nr -k2
 *
 * and `wordfreq -a` prints the same as that line. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <gmp.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BLOCK = 64 * 1024, /* bytes read at once */
    OPEN_FILES = 64,   /* files open at once; a process may have 1024 */
    BACKLOG = 4,       /* blocks waiting for each counter */
};

struct block {
    char *text;
    size_t len;
};

static gmp_chan *blocks; /* of struct block: readers to counters */
static gmp_chan *tables; /* of struct table: counters to the merger */
static gmp_chan *slots;  /* holds a char for each file that is open */
static gmp_waitgroup readers = GMP_WAITGROUP_INIT;
static atomic_long files, bytes;
static atomic_int status; /* the exit status: 1 if a file was not read */

static void complain(const char *what, int err)
{
    fprintf(stderr, "wordfreq: %s: %s\n", what, strerror(err));
    status = 1;
}

static void *must(void *p)
{
    if (p == NULL) {
        complain("out of something", errno);
        exit(1);
    }
    return p;
}

static void go(gmp_fn fn, void *arg)
{
    int rc = gmp_go(fn, arg);
    if (rc != 0) {
        complain("starting a goroutine", -rc);
        exit(1);
    }
}

/* --- Tables: words and their counts, hashed with open addressing -------- */

struct entry {
    char *word; /* NULL where the table is empty */
    uint64_t hash, count;
};

struct table {
    struct entry *entries;
    size_t used, size; /* size is a power of two, used at most half of it */
};

static struct table table_make(size_t size)
{
    return (struct table){must(calloc(size, sizeof(struct entry))), 0, size};
}

static void table_free(struct table *t)
{
    for (size_t i = 0; i < t->size; i++)
        free(t->entries[i].word);
    free(t->entries);
}

/* The entry of the word with this hash and length, or the place for it. */
static struct entry *table_find(struct table *t, const char *word, size_t len,
                                uint64_t hash)
{
    size_t i = hash & (t->size - 1);
    for (;; i = (i + 1) & (t->size - 1)) {
        struct entry *e = &t->entries[i];
        if (e->word == NULL || (e->hash == hash &&
                                strncmp(e->word, word, len) == 0 &&
                                e->word[len] == '\0'))
            return e;
    }
}

static void table_grow(struct table *t)
{
    struct table bigger = table_make(2 * t->size);
    for (size_t i = 0; i < t->size; i++) {
        struct entry *e = &t->entries[i];
        if (e->word != NULL)
            *table_find(&bigger, e->word, strlen(e->word), e->hash) = *e;
    }
    bigger.used = t->used;
    free(t->entries);
    *t = bigger;
}

static void table_add(struct table *t, const char *word, size_t len,
                      uint64_t hash, uint64_t count)
{
    struct entry *e = table_find(t, word, len, hash);
    if (e->word != NULL) {
        e->count += count;
        return;
    }
    *e = (struct entry){must(strndup(word, len)), hash, count};
    if (2 * ++t->used > t->size)
        table_grow(t);
}

/* --- Readers ------------------------------------------------------------- */

static bool is_letter(char c)
{
    return (unsigned char)((c | 32) - 'a') < 26;
}

/* The length of the text without a last word that may continue after it. */
static size_t whole_words(const char *text, size_t len)
{
    while (len > 0 && is_letter(text[len - 1]))
        len--;
    return len;
}

static void send_block(char *text, size_t len)
{
    bytes += len;
    gmp_chan_send(blocks, &(struct block){text, len});
}

/* Sends the text of f, block by block, unless f is binary: a NUL in the first
 * block tells. */
static void read_blocks(FILE *f)
{
    size_t size = BLOCK, len = 0, n;
    char *text = must(malloc(size));
    bool first = true;
    while ((n = fread(text + len, 1, size - len, f)) > 0) {
        if (first && memchr(text, '\0', n) != NULL) {
            free(text);
            return;
        }
        first = false;
        len += n;
        size_t whole = whole_words(text, len);
        if (whole == 0) { /* nothing but a part of one long word */
            text = must(realloc(text, size *= 2));
            continue;
        }
        char *next = must(malloc(size = BLOCK + (len - whole)));
        memcpy(next, text + whole, len - whole);
        send_block(text, whole);
        text = next;
        len -= whole;
    }
    send_block(text, len);
    files++;
}

static void reader(void *path)
{
    gmp_chan_send(slots, &(char){1});
    FILE *f = fopen(path, "r");
    if (f != NULL)
        read_blocks(f);
    if (f == NULL || ferror(f))
        complain(path, errno);
    if (f != NULL)
        fclose(f);
    gmp_chan_recv(slots, NULL);
    free(path);
    gmp_waitgroup_done(&readers);
}

/* --- Counters ------------------------------------------------------------ */

static void count_words(struct table *t, char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t start = i;
        uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
        for (; i < len && is_letter(text[i]); i++) {
            text[i] |= 32; /* to lower case */
            hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
        }
        if (i > start)
            table_add(t, text + start, i - start, hash, 1);
    }
}

static void counter(void *arg)
{
    (void)arg;
    struct table t = table_make(1024);
    struct block b;
    while (gmp_chan_recv(blocks, &b) == 0) {
        count_words(&t, b.text, b.len);
        free(b.text);
    }
    gmp_chan_send(tables, &t);
}

/* --- The merger ---------------------------------------------------------- */

/* Merges the tables of n counters. */
static struct table merge(int n)
{
    struct table all = table_make(1024);
    while (n-- > 0) {
        struct table t;
        gmp_chan_recv(tables, &t);
        for (size_t i = 0; i < t.size; i++) {
            struct entry *e = &t.entries[i];
            if (e->word != NULL)
                table_add(&all, e->word, strlen(e->word), e->hash, e->count);
        }
        table_free(&t);
    }
    return all;
}

/* Orders frequent words first, and words of one frequency by name. */
static int by_count(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->count == 0 ? 0 : strcmp(x->word, y->word);
}

static void print_top(struct table *t, size_t n)
{
    qsort(t->entries, t->size, sizeof *t->entries, by_count);
    for (size_t i = 0; i < n && i < t->used; i++)
        printf("%7" PRIu64 " %s\n", t->entries[i].count, t->entries[i].word);
}

/* --- The program --------------------------------------------------------- */

/* Starts a reader for each file below the paths; returns their number. */
static long start_readers(char **paths)
{
    long n = 0;
    FTS *walk = must(fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW |
                                         FTS_NOCHDIR, NULL));
    for (FTSENT *e; (e = fts_read(walk)) != NULL;) {
        if (e->fts_info == FTS_F) {
            gmp_waitgroup_add(&readers, 1);
            go(reader, must(strdup(e->fts_path)));
            n++;
        } else if (e->fts_info == FTS_NS || e->fts_info == FTS_DNR ||
                   e->fts_info == FTS_ERR) {
            complain(e->fts_path, e->fts_errno);
        }
    }
    fts_close(walk);
    return n;
}

static int threads(void)
{
    int n = 0;
    DIR *tasks = must(opendir("/proc/self/task"));
    for (struct dirent *e; (e = readdir(tasks)) != NULL;)
        n += isdigit((unsigned char)e->d_name[0]) != 0;
    closedir(tasks);
    return n;
}

static int wordfreq(int argc, char **argv)
{
    size_t top = 10;
    bool usage = false;
    for (int opt; (opt = getopt(argc, argv, "an:")) != -1;) {
        usage |= opt == '?';
        top = opt == 'n' ? strtoul(optarg, NULL, 10) : SIZE_MAX;
    }
    if (usage || optind == argc) {
        fprintf(stderr, "usage: %s [-a | -n TOP] PATH...\n", argv[0]);
        return 2;
    }
    int64_t start = gmp_now();
    int procs = gmp_set_maxprocs(0);
    blocks = must(gmp_chan_make(sizeof(struct block), BACKLOG * procs));
    tables = must(gmp_chan_make(sizeof(struct table), procs));
    slots = must(gmp_chan_make(1, OPEN_FILES));

    for (int i = 0; i < procs; i++)
        go(counter, NULL);
    long started = start_readers(argv + optind);
    gmp_waitgroup_wait(&readers);
    gmp_chan_close(blocks);
    struct table all = merge(procs);
    int64_t end = gmp_now();

    print_top(&all, top);
    fflush(stdout);
    fprintf(stderr,
            "%zu different words in %ld files of %.1f MB\n"
            "%ld goroutines on %d threads took %.3f s\n",
            all.used, (long)files, bytes / 1e6, started + procs + 1,
            threads(), (end - start) / 1e9);
    table_free(&all);
    return status;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, wordfreq);
}
