/* Goroutines with a Python thread state of their own, which moves with them.
 *
 * A goroutine is attached while it runs Python code: its thread state is
 * current, it has the GIL or waits for it in the interpreter's own way, and its
 * thread has the state under the interpreter's key, so that PyGILState_Ensure
 * finds it. In a call that waits the goroutine is detached: nothing of it is in
 * the thread, which runs other goroutines, and another thread may attach it.
 *
 *   start --> detached --attach--> attached --end--> gone
 *                ^                    |
 *                '-------detach-------'
 *
 * Invariants:
 * 1. A thread state is current on one thread at most, and between attach and
 *    detach the goroutine does not leave its thread: the library sees the
 *    interpreter's slot and locks the goroutine to its thread in a park.
 * 2. A detached goroutine's thread has in the slot what it had before attach.
 * 3. `thread_id` of an attached state is the thread; of a detached one an
 *    address in `nobody`, which no thread has.
 *
 * The slot is where the interpreter keeps the state of a thread (gilslot.c). If
 * it is not found, the states stay with their threads, and each goroutine that
 * waits keeps one (`gmprt._core.states_move`).
 *
 * Waits for the GIL. A goroutine that waits for the GIL blocks its thread, and
 * a thousand would block a thousand. So goroutines queue for the gate, and that
 * costs no thread. The holder keeps the gate until it detaches, so the next one
 * finds a free GIL. A holder that computes in C code without the GIL, or in
 * Python for long, must not keep the others out: after GATE_NS a goroutine
 * waits for the GIL without the gate. The door lets one at a time do so.
 *
 * Rejected: one thread state for each thread, whose fields are exchanged at a
 * switch, as greenlet does: these fields differ in each version of CPython.
 */
#include "core.h"

#include <dlfcn.h>
#include <sys/mman.h>

#define GATE_NS 200000

/* Threads that there are not. From 3.14 on faulthandler asks libc for the name
 * of each thread_id, and libc reads there: a page of zeros is nobody. */
#define NOBODY_SIZE (256UL << 20)
#define NOBODY_STEP 16
#define THREAD_SIZE 8192           /* of what libc may read, at least */

static char *nobody;
static int moves;
static gmp_key *self_key;
static gmp_mutex gate, door;
static PyInterpreterState *interp;
static int (*protect)(PyThreadState *, void *, size_t);
volatile int finalizing;
unsigned long generation;
PyObject *CancelledError, *ClosedError;

static unsigned long parked(uint64_t goid)
{
    return (unsigned long)nobody + goid * NOBODY_STEP % NOBODY_SIZE;
}

/* Interpreters that look at addresses would take a goroutine's stack for one
 * that overflows, if they cannot be told where it is. */
static int find_protect(void)
{
    /* By name, as it came within the series of 3.14. */
    *(void **)&protect = dlsym(RTLD_DEFAULT,
                               "PyUnstable_ThreadState_SetStackProtection");
#if PY_VERSION_HEX >= 0x030E0000
    if (protect == NULL) {
        PyErr_Format(PyExc_ImportError, "gmprt needs Python 3.14.1 or newer, "
                     "as %.10s cannot run on stacks of goroutines",
                     Py_GetVersion());
        return -1;
    }
#endif
    return 0;
}

int state_init(void)
{
    int rc = gmp_wait_init();

    interp = PyInterpreterState_Get();
    if (rc == 0) {
        self_key = gmp_key_create(NULL);
        if (self_key == NULL)
            rc = -ENOMEM;
    }
    if (rc < 0) {
        PyErr_Format(PyExc_ImportError, "gmprt cannot start: %s",
                     gmp_strerror(rc));
        return -1;
    }
    nobody = mmap(NULL, NOBODY_SIZE + THREAD_SIZE, PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (nobody == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_ImportError);
        return -1;
    }
    moves = gilslot_find();
    return find_protect();
}

void state_in_child(void)
{
    G *g = self();

    generation++;
    memset(&gate, 0, sizeof gate);
    memset(&door, 0, sizeof door);
    moves = gilslot_find();
    if (g != NULL) {
        g->gate = 0;
        g->outer = NULL;
    }
}

G *self(void)
{
    return gmp_getspecific(self_key);
}

void attach(G *g)
{
    int through_door = 0;

    if (gmp_mutex_trylock(&gate) == 0 ||
        gmp_mutex_lock_until(&gate, gmp_after_ns(GATE_NS)) == 0) {
        g->gate = 1;
    } else {
        gmp_mutex_lock(&door);
        through_door = 1;
    }
    /* An interpreter that ends would end the thread. */
    while (finalizing) {
        gmp_shield_enter();
        gmp_sleep_until(FOREVER);
    }
    if (moves) {
        g->outer = gilslot_get();
        gilslot_set(g->ts);
    }
    g->ts->thread_id = PyThread_get_thread_ident();
    PyEval_RestoreThread(g->ts);
    if (through_door)
        gmp_mutex_unlock(&door);
}

static void give_back(G *g)
{
    if (moves)
        gilslot_set(g->outer);
    g->outer = NULL;
    if (g->gate) {
        g->gate = 0;
        gmp_mutex_unlock(&gate);
    }
}

void detach(G *g)
{
    g->ts->thread_id = parked(g->goid);
    PyEval_SaveThread();
    give_back(g);
}

int check_cancelled(G *g)
{
    if (g == NULL || !g->cancelled || g->shields > 0)
        return 0;
    PyErr_SetString(CancelledError, "the goroutine is cancelled");
    return -1;
}

/* Interpreters that look at addresses, not depths, to find the end of the stack
 * are told where it is. What lies above this frame is less than `above`. */
static void protect_stack(G *g)
{
    enum { above = 4096 };
    char *here = __builtin_frame_address(0);
    size_t size = g->stack - above;

    if (protect != NULL && protect(g->ts, here - size, size) < 0)
        PyErr_WriteUnraisable(NULL);
}

/* The function has not done its work: there was no memory for its frame. Its
 * end is told without a frame of Python. */
static void fail(G *g, PyObject *func)
{
    PyObject *type, *value, *trace, *closed;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    Py_XINCREF(value);
    g->failed = value;
    PyErr_Restore(type, value, trace);
    PyErr_WriteUnraisable(func);
    closed = PyObject_CallMethod(g->done, "close", NULL);
    if (closed == NULL)
        PyErr_Clear();             /* it was closed */
    Py_XDECREF(closed);
}

/* The function of a goroutine. It has a reference to its G. */
static void run(void *arg)
{
    G *g = arg;
    PyObject *func, *result;

    gmp_setspecific(self_key, g);
    g->goid = gmp_goid();
    attach(g);
    protect_stack(g);
    func = g->func;
    g->func = NULL;
    result = PyObject_CallNoArgs(func);
    if (result == NULL)
        fail(g, func);
    Py_XDECREF(result);
    Py_DECREF(func);
    Py_CLEAR(g->done);
    g->shields++;                  /* destructors may wait */
    gmp_shield_enter();
    PyThreadState_Clear(g->ts);
    g->ended = 1;
    g->ts = NULL;
    gmp_setspecific(self_key, NULL);
    gmp_release(g->handle);
    {
        G last = {.outer = g->outer, .gate = g->gate};

        Py_DECREF(g);
        PyThreadState_DeleteCurrent();
        give_back(&last);
    }
}

/*
 * A thread state that belongs to no thread yet; NULL without memory. Where
 * 3.11 gets no memory for it, PyThreadState_New reads from address 16: there
 * the allocation stands alone, and the count is what New would set, so that
 * no PyGILState_Release deletes the state.
 */
static PyThreadState *new_state(void)
{
#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030c0000
    PyThreadState *ts = _PyThreadState_Prealloc(interp);

    if (ts != NULL)
        ts->gilstate_counter = 1;
    return ts;
#else
    return PyThreadState_New(interp);
#endif
}

PyObject *start(PyObject *module, PyObject *args)
{
    PyObject *func, *done;
    const char *name;
    Py_ssize_t stack;
    int rc, locked;
    gmp_attr attr = GMP_ATTR_INIT;
    G *g;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOznp:start", &func, &done, &name, &stack,
                          &locked))
        return NULL;
    if (finalizing) {
        PyErr_SetString(PyExc_RuntimeError,
                        "go(): the interpreter is shutting down");
        return NULL;
    }
    g = PyObject_New(G, &GType);
    if (g == NULL)
        return NULL;
    memset((char *)g + sizeof(PyObject), 0, sizeof *g - sizeof(PyObject));
    g->ts = new_state();
    if (g->ts == NULL) {
        Py_DECREF(g);
        return PyErr_NoMemory();
    }
    g->ts->thread_id = parked(0);
    Py_INCREF(func);
    g->func = func;
    Py_INCREF(done);
    g->done = done;
    g->stack = (size_t)stack;
    attr.name = name;
    attr.stack_size = (size_t)stack;
    attr.flags = locked ? GMP_LOCKED_THREAD : 0;
    Py_INCREF(g);
    rc = gmp_go_with(&attr, run, g, &g->handle);
    if (rc < 0) {
        g->ended = 1;
        PyThreadState_Clear(g->ts);
        PyThreadState_Delete(g->ts);
        g->ts = NULL;
        Py_DECREF(g);
        Py_DECREF(g);
        if (rc == -ENOMEM)
            return PyErr_NoMemory();
        PyErr_Format(PyExc_RuntimeError, "go(): %s", gmp_strerror(rc));
        return NULL;
    }
    return (PyObject *)g;
}

static void g_dealloc(G *g)
{
    Py_XDECREF(g->func);
    Py_XDECREF(g->done);
    Py_XDECREF(g->failed);
    PyObject_Free(g);
}

static PyObject *g_cancel(G *g, PyObject *unused)
{
    (void)unused;
    if (!g->ended) {
        g->cancelled = 1;
        gmp_cancel(g->handle);
    }
    Py_RETURN_NONE;
}

static PyObject *g_get(G *g, void *what)
{
    switch ((intptr_t)what) {
    case 0:
        return PyLong_FromUnsignedLongLong(g->goid);
    case 1:
        return PyBool_FromLong(g->cancelled);
    case 2:
        if (g->failed == NULL)
            Py_RETURN_NONE;
        Py_INCREF(g->failed);
        return g->failed;
    default:
        return PyLong_FromUnsignedLong(g->ts ? g->ts->thread_id : 0);
    }
}

static PyMethodDef g_methods[] = {
    {"cancel", (PyCFunction)g_cancel, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef g_fields[] = {
    {"goid", (getter)g_get, NULL, NULL, (void *)0},
    {"cancelled", (getter)g_get, NULL, NULL, (void *)1},
    {"failed", (getter)g_get, NULL, NULL, (void *)2},
    {"thread_id", (getter)g_get, NULL, NULL, (void *)3},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject GType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "gmprt._core.G",
    .tp_basicsize = sizeof(G),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)g_dealloc,
    .tp_methods = g_methods,
    .tp_getset = g_fields,
};

PyObject *core_current(PyObject *module, PyObject *unused)
{
    G *g = self();

    (void)module, (void)unused;
    if (g == NULL)
        Py_RETURN_NONE;
    Py_INCREF(g);
    return (PyObject *)g;
}

PyObject *core_yield(PyObject *module, PyObject *unused)
{
    G *g = self();

    (void)module, (void)unused;
    if (g != NULL) {
        detach(g);
        gmp_yield();
        attach(g);
        if (check_cancelled(g) < 0)
            return NULL;
    } else {
        Py_BEGIN_ALLOW_THREADS
        gmp_yield();
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *core_shield(PyObject *module, PyObject *enter)
{
    G *g = self();
    int on = PyObject_IsTrue(enter);

    (void)module;
    if (on < 0)
        return NULL;
    if (g == NULL)
        Py_RETURN_NONE;
    if (on) {
        if (gmp_shield_enter() < 0) {
            PyErr_SetString(PyExc_RuntimeError, "too many shields");
            return NULL;
        }
        g->shields++;
    } else if (g->shields == 0) {
        PyErr_SetString(PyExc_RuntimeError, "no shield to leave");
        return NULL;
    } else {
        g->shields--;
        gmp_shield_leave();
    }
    Py_RETURN_NONE;
}

PyObject *core_lock_thread(PyObject *module, PyObject *lock)
{
    int on = PyObject_IsTrue(lock);

    (void)module;
    if (on < 0)
        return NULL;
    if (on ? gmp_lock_os_thread() : gmp_unlock_os_thread()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the goroutine is not locked to its thread");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* call_c(address, argument): calls a C function, which may wait in the library
 * and move, without the GIL. */
PyObject *core_call_c(PyObject *module, PyObject *args)
{
    PyObject *address, *argument;
    gmp_fn func;
    void *arg;
    G *g = self();

    (void)module;
    if (!PyArg_ParseTuple(args, "OO:call_c", &address, &argument))
        return NULL;
    func = (gmp_fn)PyLong_AsVoidPtr(address);
    arg = PyLong_AsVoidPtr(argument);
    if (PyErr_Occurred())
        return NULL;
    if (func == NULL) {
        PyErr_SetString(PyExc_ValueError, "a null function");
        return NULL;
    }
    if (g != NULL) {
        detach(g);
        func(arg);
        attach(g);
    } else {
        Py_BEGIN_ALLOW_THREADS
        func(arg);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

PyObject *core_finalize(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    finalizing = 1;
    Py_RETURN_NONE;
}

PyObject *core_states_move(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(moves);
}
