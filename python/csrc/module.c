/* The module gmprt._core. */
#include "core.h"

PyObject *core_current(PyObject *, PyObject *), *core_yield(PyObject *,
    PyObject *), *core_shield(PyObject *, PyObject *),
    *core_lock_thread(PyObject *, PyObject *), *core_call_c(PyObject *,
    PyObject *), *core_finalize(PyObject *, PyObject *),
    *core_states_move(PyObject *, PyObject *), *core_sleep(PyObject *,
    PyObject *);

#define FIELD(name) {#name, offsetof(gmp_stats, name)}

static const struct {
    const char *name;
    size_t at;
} fields[] = {
    FIELD(uptime_ns),
    FIELD(goroutines),
    FIELD(goroutines_running),
    FIELD(goroutines_runnable),
    FIELD(goroutines_waiting),
    FIELD(goroutines_without_p),
    FIELD(goroutines_starved),
    FIELD(goroutines_created),
    FIELD(goroutines_ended),
    FIELD(goroutines_starved_ever),
    FIELD(procs),
    FIELD(procs_idle),
    FIELD(switches),
    FIELD(runq_global),
    FIELD(runq_local),
    FIELD(runq_longest),
    FIELD(steal_attempts),
    FIELD(stolen),
    FIELD(handoffs),
    FIELD(retaken_blocked),
    FIELD(retaken_busy),
    FIELD(yields_requested),
    FIELD(threads),
    FIELD(threads_idle),
    FIELD(threads_spinning),
    FIELD(threads_locked),
    FIELD(threads_detached),
    FIELD(threads_begun),
    FIELD(threads_ended),
    FIELD(threads_refused),
    FIELD(thread_sleeps),
    FIELD(thread_wakeups),
    FIELD(host_threads_waiting),
    FIELD(timers_pending),
    FIELD(timers_fired),
    FIELD(netpoll_waiting),
    FIELD(netpoll_polls),
    FIELD(netpoll_events),
    FIELD(stack_in_use_bytes),
    FIELD(stack_cached_bytes),
    FIELD(stack_idle_bytes),
    FIELD(stack_released_bytes),
    FIELD(stack_mapped_bytes),
    FIELD(stacks_unguarded),
};

static PyObject *stats(PyObject *module, PyObject *unused)
{
    PyObject *dict = PyDict_New();
    gmp_stats all;
    size_t i;

    (void)module, (void)unused;
    if (dict == NULL)
        return NULL;
    gmp_get_stats(&all, sizeof all);
    for (i = 0; i < sizeof fields / sizeof *fields; i++) {
        uint64_t number;
        PyObject *value;

        memcpy(&number, (char *)&all + fields[i].at, sizeof number);
        value = PyLong_FromUnsignedLongLong(number);
        if (value == NULL ||
            PyDict_SetItemString(dict, fields[i].name, value) < 0) {
            Py_XDECREF(value);
            Py_DECREF(dict);
            return NULL;
        }
        Py_DECREF(value);
    }
    return dict;
}

/* 0 and more are results; a negative errno is an OSError. */
static PyObject *result_of(int rc)
{
    if (rc >= 0)
        return PyLong_FromLong(rc);
    errno = -rc;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *dump(PyObject *module, PyObject *args)
{
    unsigned flags;
    int fd, rc;

    (void)module;
    if (!PyArg_ParseTuple(args, "iI:dump", &fd, &flags))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = gmp_dump(fd, flags);
    Py_END_ALLOW_THREADS
    return result_of(rc);
}

static PyObject *trace_start(PyObject *module, PyObject *path)
{
    PyObject *bytes = NULL;
    int rc;

    (void)module;
    if (path != Py_None && !PyUnicode_FSConverter(path, &bytes))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = gmp_trace_start(bytes ? PyBytes_AS_STRING(bytes) : NULL);
    Py_END_ALLOW_THREADS
    Py_XDECREF(bytes);
    return result_of(rc);
}

static PyObject *trace_stop(PyObject *module, PyObject *unused)
{
    int rc;

    (void)module, (void)unused;
    Py_BEGIN_ALLOW_THREADS
    rc = gmp_trace_stop();
    Py_END_ALLOW_THREADS
    return result_of(rc);
}

static PyObject *trace_save(PyObject *module, PyObject *fd)
{
    int rc, number = PyObject_AsFileDescriptor(fd);

    (void)module;
    if (number < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = gmp_trace_save(number);
    Py_END_ALLOW_THREADS
    return result_of(rc);
}

static PyObject *trace_mark(PyObject *module, PyObject *text)
{
    const char *s = PyUnicode_AsUTF8(text);

    (void)module;
    if (s == NULL)
        return NULL;
    gmp_trace_mark(s);
    Py_RETURN_NONE;
}

static PyObject *maxprocs(PyObject *module, PyObject *args)
{
    int n, rc;

    (void)module;
    if (!PyArg_ParseTuple(args, "i:maxprocs", &n))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = gmp_set_maxprocs(n);
    Py_END_ALLOW_THREADS
    return result_of(rc);
}

static PyObject *now(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyFloat_FromDouble((double)gmp_now() / 1e9);
}

static PyObject *in_child(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    state_in_child();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"start", start, METH_VARARGS, NULL},
    {"current", core_current, METH_NOARGS, NULL},
    {"yield_now", core_yield, METH_NOARGS, NULL},
    {"sleep", core_sleep, METH_O, NULL},
    {"shield", core_shield, METH_O, NULL},
    {"lock_thread", core_lock_thread, METH_O, NULL},
    {"call_c", core_call_c, METH_VARARGS, NULL},
    {"select", core_select, METH_VARARGS, NULL},
    {"stats", stats, METH_NOARGS, NULL},
    {"dump", dump, METH_VARARGS, NULL},
    {"trace_start", trace_start, METH_O, NULL},
    {"trace_stop", trace_stop, METH_NOARGS, NULL},
    {"trace_save", trace_save, METH_O, NULL},
    {"trace_mark", trace_mark, METH_O, NULL},
    {"maxprocs", maxprocs, METH_VARARGS, NULL},
    {"now", now, METH_NOARGS, NULL},
    {"finalize", core_finalize, METH_NOARGS, NULL},
    {"in_child", in_child, METH_NOARGS, NULL},
    {"states_move", core_states_move, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gmprt._core",
    .m_size = -1,
    .m_methods = functions,
};

static int add(PyObject *module, const char *name, PyObject *object)
{
    Py_XINCREF(object);
    if (object != NULL && PyModule_AddObject(module, name, object) == 0)
        return 0;
    Py_XDECREF(object);
    return -1;
}

PyMODINIT_FUNC PyInit__core(void)
{
    PyObject *module;

    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "gmprt works in the main interpreter only");
        return NULL;
    }
    if (PyType_Ready(&GType) < 0 || PyType_Ready(&ChannelType) < 0 ||
        PyType_Ready(&SemaphoreType) < 0 || PyType_Ready(&WatchType) < 0 ||
        state_init() < 0)
        return NULL;
    CancelledError = PyErr_NewExceptionWithDoc(
        "gmprt.Cancelled", "The goroutine is cancelled.", PyExc_BaseException,
        NULL);
    ClosedError = PyErr_NewExceptionWithDoc(
        "gmprt.Closed", "The channel is closed.", PyExc_Exception, NULL);
    module = PyModule_Create(&definition);
    if (module == NULL || add(module, "Cancelled", CancelledError) < 0 ||
        add(module, "Closed", ClosedError) < 0 ||
        add(module, "Channel", (PyObject *)&ChannelType) < 0 ||
        add(module, "Semaphore", (PyObject *)&SemaphoreType) < 0 ||
        add(module, "G", (PyObject *)&GType) < 0 ||
        PyModule_AddStringConstant(module, "version", GMPRT_VERSION) < 0)
        return NULL;
    return module;
}
