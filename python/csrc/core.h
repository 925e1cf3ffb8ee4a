/* The core of the Python package: goroutines with thread states of their own,
 * waits, channels and semaphores.
 *
 * Everything here is guarded by the interpreter lock (GIL), unless its comment
 * says otherwise. An operation that need not wait never gives the GIL away, so
 * each is atomic. The module refuses to run without a GIL.
 */
#ifndef GMPRT_CORE_H
#define GMPRT_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>

#include <gmp.h>

/* A goroutine that runs Python code. */
typedef struct G {
    PyObject_HEAD
    PyObject *func;      /* NULL once it was called */
    PyThreadState *ts;   /* NULL once it has ended */
    PyObject *done;      /* the channel to close if `func` cannot do it */
    PyObject *failed;    /* what kept `func` from that; or NULL */
    gmp_g *handle;
    uint64_t goid;       /* 0 until it runs */
    size_t stack;        /* bytes of its stack, at least */
    void *outer;         /* what its thread had in the GIL's slot */
    unsigned shields;
    char cancelled;
    char gate;           /* it holds the gate */
    char ended;
} G;

extern PyTypeObject GType, ChannelType, SemaphoreType, WatchType;
extern PyObject *CancelledError, *ClosedError;

/* gilslot.c */
int gilslot_find(void);            /* 0: there is none that can be used */
void *gilslot_get(void);           /* of the calling thread */
void gilslot_set(void *ts);

/* state.c */
int state_init(void);
void state_in_child(void);
extern unsigned long generation;   /* forks of this process so far */
extern volatile int finalizing;    /* goroutines of Python go no further */
G *self(void);                     /* NULL: not on one of our goroutines */
void attach(G *g);                 /* takes the GIL, on whatever thread */
void detach(G *g);                 /* gives it away: g may move afterwards */
int check_cancelled(G *g);         /* -1 with CancelledError set */
PyObject *start(PyObject *module, PyObject *args);

/* wait.c */
struct Wait;

/* Where a wait stands in the queue of a channel or semaphore. */
typedef struct Entry {
    struct Entry *prev, *next;
    struct Queue *queue;           /* NULL: in none */
    struct Wait *wait;
    PyObject *value;               /* to send; owned */
    int index;
} Entry;

typedef struct Queue {
    Entry *first, *last;
} Queue;

/* One call that waits. It is in the heap, because the stack of a goroutine is
 * not there in the child of a fork. */
typedef struct Wait {
    G *g;                          /* who waits, or NULL: a host thread */
    sem_t sem;                     /* where a host thread sleeps */
    PyObject *callback;            /* of a wait that nobody sleeps in */
    unsigned long generation;
    _Atomic int fired;             /* index + 1 of the case that ran; or 0 */
    int closed;                    /* that case found a closed channel */
    PyObject *value;               /* received; owned */
    int n;
    Entry entries[];
} Wait;

Wait *wait_new(int n);
void wait_free(Wait *w);
void wait_enter(Wait *w, int index, Queue *q, PyObject *value);
void wait_fire(Entry *e);          /* may call Python code, at its end */
int wait_block(Wait *w, int64_t deadline, const char *reason);
Entry *queue_head(Queue *q);       /* skips what a fork has left behind */
void queue_forget(Queue *q);
int64_t deadline_of(PyObject *timeout);   /* -1 with an exception; None: ever */

/* chan.c */
PyObject *core_select(PyObject *module, PyObject *args);

#define FOREVER GMP_FOREVER

#endif
