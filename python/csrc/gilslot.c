/* The slot in which the interpreter keeps the thread state of each thread, for
 * PyGILState_Ensure: one that moves has to be put there by us.
 *
 * The interpreter has no function for that. Up to 3.14 the slot is a pthread
 * key, and from 3.15 on a thread-local variable, both without a public name. So
 * the slot is found by its behaviour: of all keys, and then of all thread-local
 * words, it is the one that holds what PyGILState_GetThisThreadState returns,
 * and with which that result changes. Nothing here depends on the layout of a
 * version.
 *
 * A variable can be used if it lies at one distance from the thread pointer on
 * all threads: in the program, or a library that was there when the program
 * began. A library that was loaded later may have its variables elsewhere on
 * each thread (dynamic TLS), which a second thread tells.
 */
#include "core.h"

#include <link.h>

static enum { NOWHERE, KEY, VARIABLE } where;
static pthread_key_t key;
static ptrdiff_t distance;         /* of the variable from the thread pointer */

/* Volatile: the next call may be on another thread. */
static char *thread_pointer(void)
{
    char *p;

    __asm__ volatile("mov %%fs:0, %0" : "=r"(p));
    return p;
}

static void **variable(void)
{
    return (void **)(thread_pointer() + distance);
}

static int find_key(void *mine)
{
    pthread_key_t k;
    int found = 0;

    for (k = 0; k < PTHREAD_KEYS_MAX && !found; k++) {
        if (pthread_getspecific(k) != mine)
            continue;
        pthread_setspecific(k, NULL);
        found = PyGILState_GetThisThreadState() == NULL;
        pthread_setspecific(k, mine);
        key = k;
    }
    return found;
}

/* The thread-local words of a module, on some thread. */
typedef struct Block {
    size_t module;
    ptrdiff_t distance;
    void *mine;                    /* to look for; or NULL */
} Block;

static int look_in_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    Block *block = arg;
    char *data = info->dlpi_tls_data;
    size_t bytes = 0, i;

    (void)size;
    for (i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            bytes = info->dlpi_phdr[i].p_memsz;
    if (data == NULL)
        return 0;
    if (block->mine == NULL) {
        if (info->dlpi_tls_modid != block->module)
            return 0;
        block->distance = data - thread_pointer();
        return 1;
    }
    for (i = 0; i + sizeof(void *) <= bytes; i += sizeof(void *)) {
        void **word = (void **)(data + i);
        int found;

        if (*word != block->mine)
            continue;
        *word = NULL;
        found = PyGILState_GetThisThreadState() == NULL;
        *word = block->mine;
        if (found) {
            block->module = info->dlpi_tls_modid;
            block->distance = data - thread_pointer();
            distance = (char *)word - thread_pointer();
            return 1;
        }
    }
    return 0;
}

static void *look_on_thread(void *arg)
{
    Block *block = arg;

    if (!dl_iterate_phdr(look_in_module, block))
        block->module = 0;
    return NULL;
}

static int find_variable(void *mine)
{
    Block here = {.mine = mine}, there;
    pthread_t thread;

    if (!dl_iterate_phdr(look_in_module, &here))
        return 0;
    there = here;
    there.mine = NULL;
    if (pthread_create(&thread, NULL, look_on_thread, &there) != 0)
        return 0;
    pthread_join(thread, NULL);
    return there.module == here.module && there.distance == here.distance;
}

/* Also in the child of a fork, which may have another key. */
int gilslot_find(void)
{
    void *mine = PyGILState_GetThisThreadState();

    if (mine == NULL)
        where = NOWHERE;
    else if (where != VARIABLE)
        where = find_key(mine) ? KEY : find_variable(mine) ? VARIABLE : NOWHERE;
    return where != NOWHERE;
}

void *gilslot_get(void)
{
    return where == KEY ? pthread_getspecific(key) : *variable();
}

void gilslot_set(void *ts)
{
    if (where == KEY)
        pthread_setspecific(key, ts);
    else
        *variable() = ts;
}
