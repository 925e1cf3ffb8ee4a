/* Semaphores, of which the locks of the package are made.
 *
 * Tokens go to waiters in their order. Invariant: nobody waits while there is
 * a token.
 */
#include "core.h"

typedef struct Semaphore {
    PyObject_HEAD
    Py_ssize_t value, limit;
    Queue waiters;
    PyObject *weak;
} Semaphore;

/* Gives one token to the first waiter, or keeps it. */
static void give(Semaphore *s)
{
    Entry *e = queue_head(&s->waiters);

    if (e != NULL)
        wait_fire(e);
    else
        s->value++;
}

static PyObject *acquire(Semaphore *s, int64_t deadline, int cancel)
{
    G *g = self();
    Wait *w;
    int failed, fired;

    if (deadline == -1 || (cancel && check_cancelled(g) < 0))
        return NULL;
    if (s->value > 0) {
        s->value--;
        Py_RETURN_TRUE;
    }
    w = wait_new(1);
    if (w == NULL)
        return NULL;
    wait_enter(w, 0, &s->waiters, NULL);
    if (!cancel)
        gmp_shield_enter();
    failed = wait_block(w, deadline, "semaphore") < 0;
    if (!cancel)
        gmp_shield_leave();
    fired = w->fired;
    wait_free(w);
    if (!failed)
        Py_RETURN_TRUE;
    if (fired)
        give(s);
    if (!PyErr_ExceptionMatches(PyExc_TimeoutError))
        return NULL;
    PyErr_Clear();
    Py_RETURN_FALSE;
}

/* acquire(timeout=None, cancel=True): False if the time is over. */
static PyObject *s_acquire(Semaphore *s, PyObject *args, PyObject *kw)
{
    static char *names[] = {"timeout", "cancel", NULL};
    PyObject *timeout = NULL;
    int cancel = 1;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "|Op:acquire", names, &timeout,
                                     &cancel))
        return NULL;
    return acquire(s, deadline_of(timeout), cancel);
}

static PyObject *s_try(Semaphore *s, PyObject *unused)
{
    (void)unused;
    if (s->value == 0)
        Py_RETURN_FALSE;
    s->value--;
    Py_RETURN_TRUE;
}

static PyObject *s_release(Semaphore *s, PyObject *unused)
{
    (void)unused;
    if (s->value >= s->limit) {
        PyErr_SetString(PyExc_RuntimeError,
                        s->limit == 1 ? "release of what is not locked"
                                      : "released too many times");
        return NULL;
    }
    give(s);
    Py_RETURN_NONE;
}

static PyObject *s_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = {"value", "limit", NULL};
    Py_ssize_t value = 1, limit = PY_SSIZE_T_MAX;
    Semaphore *s;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "|nn:Semaphore", names, &value,
                                     &limit))
        return NULL;
    if (value < 0 || limit < value) {
        PyErr_SetString(PyExc_ValueError, "value must be from 0 to the limit");
        return NULL;
    }
    s = (Semaphore *)type->tp_alloc(type, 0);
    if (s != NULL) {
        s->value = value;
        s->limit = limit;
    }
    return (PyObject *)s;
}

static void s_dealloc(Semaphore *s)
{
    if (s->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)s);
    queue_forget(&s->waiters);
    Py_TYPE(s)->tp_free(s);
}

static PyObject *s_value(Semaphore *s, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(s->value);
}

static PyMethodDef s_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))s_acquire,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"try_acquire", (PyCFunction)s_try, METH_NOARGS, NULL},
    {"release", (PyCFunction)s_release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef s_fields[] = {
    {"value", (getter)s_value, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject SemaphoreType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "gmprt._core.Semaphore",
    .tp_basicsize = sizeof(Semaphore),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = s_new,
    .tp_dealloc = (destructor)s_dealloc,
    .tp_methods = s_methods,
    .tp_getset = s_fields,
    .tp_weaklistoffset = offsetof(Semaphore, weak),
};
