/* Counts words, and frees nothing: no message has an owner.
 *
 *     read --lines--> split --words--+--> count each word
 *                                    +--> count the words of each file
 *
 * Every stage is a goroutine or some, and a message is a pointer to memory of
 * the collected heap. A word goes to both counters, and neither of them knows
 * which one is done with it first. A word points into its line, so the line
 * stays as long as a word of it does: the table keeps the lines of words that
 * were new. All other messages are garbage a moment later.
 *
 * A word is what lies between blanks, in lower case, as in
 *
 *     grep -aohE '[^[:blank:]]+' FILE... | tr A-Z a-z | sort | uniq -c |
 *         sort -k1,1nr -k2
 *
 * and the counts of files are those of
 *
 *     awk '{ n[FILENAME] += NF } END { for (f in n) print n[f], f }' FILE...
 *
 * `collect -n 1000 FILE...` does it a thousand times, and tells on stderr how
 * much memory that takes. */
#include <gmp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READERS = 4, SPLITTERS = 4, BACKLOG = 64, BUCKETS = 1 << 14 };

struct file { /* of the command line; its counter alone writes `words` */
    const char *path;
    long words;
};

struct line {
    struct file *file;
    char *text;
};

struct word {
    struct file *file;
    char *text;
};

struct entry { /* of the table of all words */
    struct entry *next;
    char *text;
    long count;
};

static gmp_chan *files, *lines, *to_table, *to_files; /* all of pointers */
static struct entry **table;                          /* BUCKETS lists */
static size_t different;

static void *must(void *p)
{
    if (p == NULL) {
        fputs("collect: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

/* --- The stages ---------------------------------------------------------- */

static void read_files(void)
{
    for (struct file *file; gmp_chan_recv(files, &file) == 0;) {
        FILE *in = fopen(file->path, "r");
        if (in == NULL) {
            perror(file->path);
            exit(1);
        }
        char *buffer = NULL; /* getline's, so malloc's */
        size_t size = 0;
        for (ssize_t n; (n = getline(&buffer, &size, in)) >= 0;) {
            struct line *line = must(gmp_gc_alloc(sizeof *line));
            line->file = file;
            /* No pointers are in a text, so collections skip it. */
            line->text = must(gmp_gc_alloc_noscan((size_t)n + 1));
            memcpy(line->text, buffer, (size_t)n + 1);
            gmp_chan_send(lines, &line);
        }
        free(buffer);
        fclose(in);
    }
}

/* A word is no copy: a pointer into a text keeps the whole of it. */
static void split_lines(void)
{
    for (struct line *line; gmp_chan_recv(lines, &line) == 0;) {
        for (char *c = line->text; *c != '\0'; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c |= 32;
        char *rest;
        for (char *text = strtok_r(line->text, " \t\n", &rest); text != NULL;
             text = strtok_r(NULL, " \t\n", &rest)) {
            struct word *word = must(gmp_gc_alloc(sizeof *word));
            word->file = line->file;
            word->text = text;
            gmp_chan_send(to_table, &word);
            gmp_chan_send(to_files, &word);
        }
    }
}

static void count_words(void)
{
    for (struct word *word; gmp_chan_recv(to_table, &word) == 0;) {
        uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
        for (char *c = word->text; *c != '\0'; c++)
            hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
        struct entry **at = &table[hash % BUCKETS];
        while (*at != NULL && strcmp((*at)->text, word->text) != 0)
            at = &(*at)->next;
        if (*at == NULL) {
            *at = must(gmp_gc_alloc(sizeof **at));
            (*at)->text = word->text;
            different++;
        }
        (*at)->count++;
    }
}

static void count_by_file(void)
{
    for (struct word *word; gmp_chan_recv(to_files, &word) == 0;)
        word->file->words++;
}

/* --- A round of all stages ----------------------------------------------- */

/* Some goroutines that do the same. */
struct stage {
    void (*run)(void);
    int size;
    gmp_waitgroup running;
};

static void run(void *arg)
{
    struct stage *self = arg;
    self->run();
    gmp_waitgroup_done(&self->running);
}

static void start(struct stage *s)
{
    gmp_waitgroup_add(&s->running, s->size);
    for (int i = 0; i < s->size; i++)
        if (gmp_go(run, s) != 0)
            must(NULL);
}

/* Counts; `all` has n files. */
static void count(struct file *all, int n)
{
    struct stage reading = {read_files, READERS, GMP_WAITGROUP_INIT},
                 splitting = {split_lines, SPLITTERS, GMP_WAITGROUP_INIT},
                 counting = {count_words, 1, GMP_WAITGROUP_INIT},
                 filing = {count_by_file, 1, GMP_WAITGROUP_INIT};
    gmp_chan **channels[] = {&files, &lines, &to_table, &to_files};
    for (int i = 0; i < 4; i++)
        *channels[i] = must(gmp_chan_make(sizeof(void *), BACKLOG));
    /* The former round's table is garbage from here on. */
    table = must(gmp_gc_calloc(BUCKETS, sizeof *table));
    different = 0;

    start(&reading);
    start(&splitting);
    start(&counting);
    start(&filing);
    for (int i = 0; i < n; i++) {
        struct file *file = &all[i];
        gmp_chan_send(files, &file);
    }
    gmp_chan_close(files);
    gmp_waitgroup_wait(&reading.running);
    gmp_chan_close(lines);
    gmp_waitgroup_wait(&splitting.running);
    gmp_chan_close(to_table);
    gmp_chan_close(to_files);
    gmp_waitgroup_wait(&counting.running);
    gmp_waitgroup_wait(&filing.running);
    for (int i = 0; i < 4; i++)
        gmp_chan_unref(*channels[i]);
}

/* --- What it says -------------------------------------------------------- */

/* Orders frequent words first, and words of one frequency by name. */
static int by_count(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a,
                       *y = *(struct entry *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->text, y->text);
}

static void print_table(void)
{
    struct entry **all = must(gmp_gc_calloc(different + 1, sizeof *all));
    size_t n = 0;
    for (int i = 0; i < BUCKETS; i++)
        for (struct entry *e = table[i]; e != NULL; e = e->next)
            all[n++] = e;
    qsort(all, n, sizeof *all, by_count);
    for (size_t i = 0; i < n; i++)
        printf("%7ld %s\n", all[i]->count, all[i]->text);
}

static void tell_memory(int round)
{
    long pages = 0;
    FILE *statm = must(fopen("/proc/self/statm", "r"));
    if (fscanf(statm, "%*d %ld", &pages) != 1)
        pages = 0;
    fclose(statm);
    gmp_gc_stats stats;
    gmp_gc_get_stats(&stats, sizeof stats);
    fprintf(stderr,
            "round %d: memory %ld kB, objects %" PRIu64 " kB, "
            "%" PRIu64 " collections, the longest %.1f ms\n",
            round, pages * sysconf(_SC_PAGESIZE) / 1024,
            stats.live_bytes / 1024, stats.collections,
            (double)stats.longest_pause_ns / 1e6);
}

static int collect(int argc, char **argv)
{
    int rounds = 1;
    bool usage = false;
    for (int opt; (opt = getopt(argc, argv, "n:")) != -1;) {
        usage |= opt == '?';
        if (opt == 'n')
            rounds = atoi(optarg);
    }
    if (usage || optind == argc) {
        fprintf(stderr, "usage: %s [-n ROUNDS] FILE...\n", argv[0]);
        return 2;
    }
    int n = argc - optind;
    struct file *all = NULL;
    for (int round = 1; round <= rounds; round++) {
        all = must(gmp_gc_calloc((size_t)n, sizeof *all));
        for (int i = 0; i < n; i++)
            all[i].path = argv[optind + i];
        count(all, n);
        if (rounds > 1)
            tell_memory(round);
    }
    if (all == NULL)
        return 0;
    print_table();
    puts("");
    for (int i = 0; i < n; i++)
        printf("%7ld %s\n", all[i].words, all[i].path);
    return 0;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, collect);
}
