/* Memory that nobody frees: words of a text, counted through a channel, with
 * what C code meets at the edges of the heap. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
    char *text;          /* of the same heap */
    struct word *next;
};

static gmp_chan *words; /* of struct word * */
static gmp_chan *counts;

/* Returns a copy that goes when nothing points to it. */
static char *copy_text(const char *text)
{
    char *copy = gmp_gc_alloc_noscan(strlen(text) + 1); /* no pointers in it */

    return copy != NULL ? strcpy(copy, text) : NULL;
}

/* Returns a list that is one word longer. */
static struct word *push(struct word *list, const char *text)
{
    struct word *word = gmp_gc_alloc(sizeof *word);

    if (word == NULL)
        return list;
    word->text = copy_text(text);
    word->next = list;
    return word;
}

static void count(void *arg)
{
    struct word *list;
    long n = 0;

    (void)arg;
    while (gmp_chan_recv(words, &list) == 0)
        for (; list != NULL; list = list->next)
            n++; /* and nobody frees the list */
    gmp_chan_send(counts, &n);
}

/* Grows an array of numbers. */
static long *append(long *numbers, size_t n, long number)
{
    if (numbers == NULL)
        numbers = gmp_gc_calloc(1, sizeof *numbers);
    else if (gmp_gc_size(numbers) < (n + 1) * sizeof *numbers)
        numbers = gmp_gc_realloc(numbers, 2 * gmp_gc_size(numbers));
    if (numbers != NULL)
        numbers[n] = number;
    return numbers;
}

/* A request and its answer's channel, of which nobody counts references. */
struct request {
    long number;
    gmp_chan *answer;
};

static void square(void *arg)
{
    struct request *request = arg; /* kept while this goroutine has it */
    long result = request->number * request->number;

    gmp_chan_send(request->answer, &result);
}

static long ask(long number)
{
    struct request *request = gmp_gc_alloc(sizeof *request);
    long result = -1;

    if (request == NULL)
        return -1;
    request->number = number;
    request->answer = gmp_gc_chan_make(sizeof result, 1);
    if (request->answer != NULL && gmp_go(square, request) == 0)
        gmp_chan_recv(request->answer, &result);
    return result;
}

/* A cache that does not keep what is in it. */
static gmp_weak *last;

static char *cached(const char *text)
{
    char *there = gmp_gc_weak_get(last); /* NULL: it is gone */

    if (there == NULL || strcmp(there, text) != 0) {
        there = copy_text(text);
        last = gmp_gc_weak(there);
    }
    return there;
}

/* What malloc's memory points to is kept by the host. */
struct entry {
    char **name; /* an object that stays until it is freed */
};

static struct entry *new_entry(const char *name)
{
    struct entry *entry = malloc(sizeof *entry);

    if (entry == NULL || (entry->name = gmp_gc_alloc_root(8)) == NULL) {
        free(entry);
        return NULL;
    }
    *entry->name = copy_text(name);
    return entry;
}

static void free_entry(struct entry *entry)
{
    if (entry != NULL)
        gmp_gc_free(entry->name); /* at once, and with it what it kept */
    free(entry);
}

/* Or the memory is of malloc, but one that collections look into. */
struct place {
    char *name; /* of the heap, or of anywhere */
    int number;
};

static struct place *new_place(const char *name, int number)
{
    struct place *place = gmp_kept_malloc(sizeof *place);

    if (place != NULL)
        *place = (struct place){copy_text(name), number};
    return place;
}

/* Bounds for the heap of a small machine. */
static void set_bounds(void)
{
    gmp_gc_set_limit(256LL << 20); /* past it an allocation returns NULL */
    gmp_gc_set_percent(50);        /* collect when it has grown by a half */
}

/* Has collections look into an array of foreign memory. */
static char **new_table(size_t n)
{
    char **table = calloc(n, sizeof *table);

    if (table != NULL && gmp_gc_add_roots(table, table + n) != 0) {
        free(table);
        return NULL;
    }
    return table;
}

static void free_table(char **table, size_t n)
{
    gmp_gc_remove_roots(table, table + n);
    free(table);
}

/* A plug-in whose objects only its own tables lead to: no other data is looked
 * into, and its thread's stack is from the beginning. */
static int narrow_roots(void)
{
    int rc = gmp_gc_set_roots(GMP_GC_ROOTS_NONE);

    return rc != 0 ? rc : gmp_gc_attach();
}

/* The first letter of the text that `p` points into. */
static char first_letter(const char *p)
{
    const char *text = gmp_gc_base(p); /* NULL: not of this heap */

    return text != NULL ? text[0] : '?';
}

/* What another collector's function that marks a range would get. */
static void add_words(void *lo, void *hi, void *words)
{
    *(size_t *)words += (size_t)((char *)hi - (char *)lo) / sizeof(void *);
}

/* The words in which goroutines may have pointers, for another collector. */
static size_t words_of_goroutines(void)
{
    size_t words = 0;

    if (gmp_gc_stop() != 0)
        return 0;
    gmp_gc_each_stack(add_words, &words);
    gmp_gc_start();
    return words;
}

/* Collects now, which a program need not ask for, and tells. */
static void report(void)
{
    gmp_gc_stats stats;

    if (gmp_gc() == 0 && gmp_gc_get_stats(&stats, sizeof stats) == 0)
        printf("%s\n", stats.collections > 0 ? "collected" : "?");
    printf("%s\n", words_of_goroutines() > 0 ? "and looked" : "?");
}

int main(void)
{
    long *numbers = NULL, n;
    char **table = new_table(4);

    set_bounds();
    words = gmp_chan_make(sizeof(struct word *), 4);
    counts = gmp_chan_make(sizeof(long), 1);
    if (table == NULL || words == NULL || counts == NULL ||
        gmp_go(count, NULL) != 0)
        return 1;
    for (int i = 0; i < 1000; i++) {
        struct word *list = push(push(NULL, "hello"), "world");
        gmp_chan_send(words, &list);
    }
    gmp_chan_close(words);
    gmp_chan_recv(counts, &n);
    printf("%ld words\n", n);

    for (long i = 0; i < 100; i++)
        numbers = append(numbers, (size_t)i, ask(i));
    printf("the last square is %ld\n", numbers[99]);

    table[0] = cached("a name");
    printf("%s, %c\n", cached("a name"), first_letter(table[0] + 2));
    free_table(table, 4);
    free_entry(new_entry("an entry"));
    gmp_kept_free(new_place("a place", 1));
    report();
    gmp_chan_unref(words);
    gmp_chan_unref(counts);
    return narrow_roots();
}
