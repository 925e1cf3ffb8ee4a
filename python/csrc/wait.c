/* Waits of goroutines, host threads and callbacks in queues.
 *
 * A wait enters the queues of all its cases under the GIL, gives the GIL away
 * and sleeps. The thread that runs one of the cases fires the wait: it takes
 * the wait out of all queues, says which case ran, and wakes the sleeper. A
 * sleeper whose deadline passes, or which is cancelled or interrupted, takes
 * the GIL and looks whether it was fired first: then the call succeeds.
 *
 * A goroutine sleeps in gmp_park, which costs no thread. A host thread sleeps
 * on a semaphore, so that a signal interrupts it: the handlers of Python run on
 * the main thread, in the call that waits, and never in a goroutine. The main
 * thread also looks for signals every SLICE_NS, as another thread may have got
 * one.
 */
#include "core.h"

#include <errno.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 100000000

Wait *wait_new(int n)
{
    Wait *w = PyMem_Calloc(1, sizeof *w + (size_t)n * sizeof *w->entries);

    if (w == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    w->g = self();
    w->n = n;
    w->generation = generation;
    if (w->g == NULL)
        sem_init(&w->sem, 0, 0);
    return w;
}

static void leave(Entry *e)
{
    Queue *q = e->queue;

    if (q == NULL)
        return;
    *(e->prev ? &e->prev->next : &q->first) = e->next;
    *(e->next ? &e->next->prev : &q->last) = e->prev;
    e->prev = e->next = NULL;
    e->queue = NULL;
}

void wait_free(Wait *w)
{
    int i;

    for (i = 0; i < w->n; i++)
        leave(&w->entries[i]);
    for (i = 0; i < w->n; i++)
        Py_CLEAR(w->entries[i].value);
    Py_CLEAR(w->value);
    Py_CLEAR(w->callback);
    if (w->g == NULL)
        sem_destroy(&w->sem);
    PyMem_Free(w);
}

void wait_enter(Wait *w, int index, Queue *q, PyObject *value)
{
    Entry *e = &w->entries[index];

    Py_XINCREF(value);
    e->value = value;
    e->wait = w;
    e->index = index;
    e->queue = q;
    e->prev = q->last;
    *(q->last ? &q->last->next : &q->first) = e;
    q->last = e;
}

void wait_fire(Entry *e)
{
    Wait *w = e->wait;
    PyObject *callback = w->callback;
    gmp_g *handle = w->g != NULL ? w->g->handle : NULL;
    int i;

    for (i = 0; i < w->n; i++)
        leave(&w->entries[i]);
    w->fired = e->index + 1;
    /* A host thread frees the wait under the GIL, which is held here. */
    if (callback != NULL) {
        PyObject *result;

        Py_INCREF(callback);
        result = PyObject_CallNoArgs(callback);
        if (result == NULL)
            PyErr_WriteUnraisable(callback);
        Py_XDECREF(result);
        Py_DECREF(callback);
    } else if (handle != NULL) {
        gmp_ready(handle);
    } else {
        sem_post(&w->sem);
    }
}

Entry *queue_head(Queue *q)
{
    while (q->first != NULL && q->first->wait->generation != generation)
        leave(q->first);
    return q->first;
}

void queue_forget(Queue *q)
{
    while (q->first != NULL)
        leave(q->first);
}

int64_t deadline_of(PyObject *timeout)
{
    double seconds;

    if (timeout == NULL || timeout == Py_None)
        return FOREVER;
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "a timeout is not a number");
        return -1;
    }
    if (seconds > 9e9)
        return FOREVER;
    if (seconds < 0)
        seconds = 0;
    return gmp_after_ns((int64_t)(seconds * 1e9));
}

/* Sleeps on a goroutine: 0, or a negative errno. */
static int park(Wait *w, int64_t deadline, const char *reason)
{
    G *g = w->g;
    int rc;

    detach(g);
    do
        rc = gmp_park_until(NULL, NULL, reason, deadline);
    while (rc == 0 && w->fired == 0);
    attach(g);
    return rc;
}

/* One sleep of a host thread: 0 or a negative errno. -EINTR after a slice. */
static int sleep_once(Wait *w, int64_t deadline)
{
    int64_t until = deadline;
    struct timespec t;

    /* Python's handlers run on this thread, but the kernel may have given the
     * signal to another one, which does not wake this. */
    if (getpid() == gettid() && gmp_after_ns(SLICE_NS) < deadline)
        until = gmp_after_ns(SLICE_NS);
    t.tv_sec = until / 1000000000;
    t.tv_nsec = until % 1000000000;
    if (until == FOREVER ? sem_wait(&w->sem) == 0
                         : sem_clockwait(&w->sem, CLOCK_MONOTONIC, &t) == 0)
        return 0;
    return errno == ETIMEDOUT && until != deadline ? -EINTR : -errno;
}

/* Sleeps on a host thread: 0, a negative errno, or -EINTR with an exception. */
static int sleep_on(Wait *w, int64_t deadline)
{
    int rc;

    for (;;) {
        Py_BEGIN_ALLOW_THREADS
        rc = sleep_once(w, deadline);
        Py_END_ALLOW_THREADS
        if (w->fired)              /* also while it waited for the GIL */
            return 0;
        if (rc != -EINTR)
            return rc;
        if (PyErr_CheckSignals() < 0)
            return -EINTR;
    }
}

/* Sleeps until the wait is fired: 0, or -1 with an exception. The caller looks
 * at `fired` in both cases: a signal's handler may raise after it. */
int wait_block(Wait *w, int64_t deadline, const char *reason)
{
    int rc;

    if (finalizing && w->n > 0 && w->g == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s: the interpreter is shutting "
                     "down, and goroutines have stopped", reason);
        return -1;
    }
    rc = w->g != NULL ? park(w, deadline, reason) : sleep_on(w, deadline);
    if (rc == -EINTR)
        return -1;
    if (w->fired)
        return 0;
    switch (rc) {
    case -ETIMEDOUT:
        PyErr_SetString(PyExc_TimeoutError, "timed out");
        break;
    case -ECANCELED:
        PyErr_SetString(CancelledError, "the goroutine is cancelled");
        break;
    case -ENOMEM:
        PyErr_NoMemory();
        break;
    default:
        PyErr_Format(PyExc_RuntimeError, "%s: %s", reason, gmp_strerror(rc));
    }
    return -1;
}

PyObject *core_sleep(PyObject *module, PyObject *seconds)
{
    G *g = self();
    int64_t deadline = deadline_of(seconds);
    Wait *w;

    (void)module;
    if (deadline == -1 || check_cancelled(g) < 0)
        return NULL;
    w = wait_new(0);
    if (w == NULL)
        return NULL;
    wait_block(w, deadline, "sleep");
    wait_free(w);
    if (!PyErr_ExceptionMatches(PyExc_TimeoutError))
        return NULL;
    PyErr_Clear();
    Py_RETURN_NONE;
}
