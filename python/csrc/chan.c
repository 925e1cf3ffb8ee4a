/* Channels of Python objects, and select.
 *
 * The buffer is a ring that grows up to the capacity. A channel holds one
 * reference to each object in its buffer, and a wait holds one to what it
 * sends; a receive takes the reference over.
 *
 * Invariants:
 * 1. Receivers wait only while the buffer is empty and no sender waits.
 * 2. Senders wait only while the buffer is full.
 * 3. Nobody waits at a closed channel.
 * A watcher is a function that is called once, when somebody may receive: for
 * an event loop, which then tries again.
 */
#include "core.h"

typedef struct Channel {
    PyObject_HEAD
    PyObject **ring;
    Py_ssize_t size, first, count; /* of the ring */
    Py_ssize_t capacity;
    Queue senders, receivers;
    PyObject *watchers;            /* a list, or NULL */
    int closed;
    PyObject *weak;
} Channel;

/* A send that nobody sleeps in. */
typedef struct Watch {
    PyObject_HEAD
    Wait *wait;
    PyObject *channel;
} Watch;

static int grow(Channel *ch)
{
    Py_ssize_t i, size = ch->size < 8 ? 8 : ch->size * 2;
    PyObject **ring = PyMem_New(PyObject *, size);

    if (ring == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (i = 0; i < ch->count; i++)
        ring[i] = ch->ring[(ch->first + i) % ch->size];
    PyMem_Free(ch->ring);
    ch->ring = ring;
    ch->size = size;
    ch->first = 0;
    return 0;
}

/* Puts an owned reference at the end, where there is room. */
static void push(Channel *ch, PyObject *value)
{
    ch->ring[(ch->first + ch->count++) % ch->size] = value;
}

static PyObject *pop(Channel *ch)
{
    PyObject *value = ch->ring[ch->first];

    ch->first = (ch->first + 1) % ch->size;
    ch->count--;
    return value;
}

/* The channel may be used by others inside. */
static void call_watchers(Channel *ch)
{
    PyObject *list = ch->watchers;
    Py_ssize_t i;

    if (list == NULL)
        return;
    ch->watchers = NULL;
    for (i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *result = PyObject_CallNoArgs(PyList_GET_ITEM(list, i));

        if (result == NULL)
            PyErr_WriteUnraisable(PyList_GET_ITEM(list, i));
        Py_XDECREF(result);
    }
    Py_DECREF(list);
}

/* 1: sent; 0: it would have to wait; -1: an exception. */
static int try_send(Channel *ch, PyObject *value)
{
    Entry *e;

    if (ch->closed) {
        PyErr_SetString(ClosedError, "send on a closed channel");
        return -1;
    }
    e = queue_head(&ch->receivers);
    if (e != NULL) {
        Py_INCREF(value);
        e->wait->value = value;
        wait_fire(e);
        return 1;
    }
    if (ch->count >= ch->capacity)
        return 0;
    if (ch->count == ch->size && grow(ch) < 0)
        return -1;
    Py_INCREF(value);
    push(ch, value);
    call_watchers(ch);
    return 1;
}

static PyObject *take_from(Entry *e)
{
    PyObject *value = e->value;

    e->value = NULL;
    return value;
}

/* 1: received, with an owned reference; 0: it would have to wait; -1. */
static int try_recv(Channel *ch, PyObject **value)
{
    Entry *e = queue_head(&ch->senders);

    if (ch->count > 0) {
        *value = pop(ch);
        if (e != NULL && ch->count < ch->capacity) {
            push(ch, take_from(e));
            wait_fire(e);
        }
        return 1;
    }
    if (e != NULL) {
        *value = take_from(e);
        wait_fire(e);
        return 1;
    }
    if (!ch->closed)
        return 0;
    PyErr_SetString(ClosedError, "the channel is closed");
    return -1;
}

/* A signal's handler has raised after the receive: the object goes back to the
 * front. The exception stays. */
static void unrecv(Channel *ch, PyObject *value)
{
    PyObject *type, *error, *trace;
    Entry *e = queue_head(&ch->receivers);

    PyErr_Fetch(&type, &error, &trace);
    if (e != NULL) {
        e->wait->value = value;
        wait_fire(e);
    } else if (ch->count < ch->size || grow(ch) == 0) {
        ch->first = (ch->first + ch->size - 1) % ch->size;
        ch->ring[ch->first] = value;
        ch->count++;
    } else {
        PyErr_Clear();
        Py_DECREF(value);
    }
    PyErr_Restore(type, error, trace);
}

/* Waits for the cases of `w`, which it frees. The index of the case, with what
 * was received; or -1. `back` is where an interrupted receive returns to. */
static int block(Wait *w, int64_t deadline, const char *reason,
                 PyObject **value, Channel **back)
{
    int failed = wait_block(w, deadline, reason) < 0;
    int index = w->fired - 1;

    *value = w->value;
    w->value = NULL;
    if (failed) {
        if (*value != NULL)
            unrecv(back[index], *value);
        index = -1;
    } else if (w->closed) {
        PyErr_SetString(ClosedError, w->entries[index].value
                        ? "send on a closed channel" : "the channel is closed");
        index = -2 - index;
    }
    wait_free(w);
    return index;
}

static PyObject *ch_send(Channel *ch, PyObject *args, PyObject *kw)
{
    static char *names[] = {"value", "timeout", NULL};
    PyObject *value, *timeout = NULL, *none;
    int64_t deadline;
    int done;
    Wait *w;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|O:send", names, &value,
                                     &timeout))
        return NULL;
    deadline = deadline_of(timeout);
    if (deadline == -1 || check_cancelled(self()) < 0)
        return NULL;
    done = try_send(ch, value);
    if (done < 0)
        return NULL;
    if (done == 0) {
        w = wait_new(1);
        if (w == NULL)
            return NULL;
        wait_enter(w, 0, &ch->senders, value);
        call_watchers(ch);
        if (block(w, deadline, "chan send", &none, &ch) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *receive(Channel *ch, int64_t deadline)
{
    PyObject *value;
    int done;
    Wait *w;

    if (check_cancelled(self()) < 0)
        return NULL;
    done = try_recv(ch, &value);
    if (done != 0)
        return done < 0 ? NULL : value;
    w = wait_new(1);
    if (w == NULL)
        return NULL;
    wait_enter(w, 0, &ch->receivers, NULL);
    return block(w, deadline, "chan receive", &value, &ch) < 0 ? NULL : value;
}

static PyObject *ch_recv(Channel *ch, PyObject *args, PyObject *kw)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    int64_t deadline;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "|O:recv", names, &timeout))
        return NULL;
    deadline = deadline_of(timeout);
    return deadline == -1 ? NULL : receive(ch, deadline);
}

static PyObject *ch_next(Channel *ch)
{
    PyObject *value = receive(ch, FOREVER);

    if (value == NULL && PyErr_ExceptionMatches(ClosedError))
        PyErr_Clear();
    return value;
}

static PyObject *would_wait(void)
{
    PyErr_SetString(PyExc_BlockingIOError, "it would have to wait");
    return NULL;
}

static PyObject *ch_try_send(Channel *ch, PyObject *value)
{
    int done = try_send(ch, value);

    if (done < 0)
        return NULL;
    return PyBool_FromLong(done);
}

static PyObject *ch_try_recv(Channel *ch, PyObject *unused)
{
    PyObject *value;
    int done = try_recv(ch, &value);

    (void)unused;
    return done == 0 ? would_wait() : done < 0 ? NULL : value;
}

static PyObject *ch_close(Channel *ch, PyObject *unused)
{
    Entry *e;

    (void)unused;
    if (ch->closed) {
        PyErr_SetString(ClosedError, "close of a closed channel");
        return NULL;
    }
    ch->closed = 1;
    while ((e = queue_head(&ch->receivers)) || (e = queue_head(&ch->senders))) {
        e->wait->closed = 1;
        wait_fire(e);
    }
    call_watchers(ch);
    Py_RETURN_NONE;
}

static PyObject *ch_watch(Channel *ch, PyObject *callback)
{
    if (ch->watchers == NULL && (ch->watchers = PyList_New(0)) == NULL)
        return NULL;
    if (PyList_Append(ch->watchers, callback) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Takes a watcher out, if it has not been called. */
static PyObject *ch_unwatch(Channel *ch, PyObject *callback)
{
    Py_ssize_t i, n = ch->watchers ? PyList_GET_SIZE(ch->watchers) : 0;

    for (i = 0; i < n; i++) {
        if (PyList_GET_ITEM(ch->watchers, i) != callback)
            continue;
        if (PyList_SetSlice(ch->watchers, i, i + 1, NULL) < 0)
            return NULL;
        break;
    }
    Py_RETURN_NONE;
}

/* _ready(send): whether that would not wait. */
static PyObject *ch_ready(Channel *ch, PyObject *send)
{
    int sends = PyObject_IsTrue(send), ready;

    if (sends < 0)
        return NULL;
    if (sends)
        ready = ch->count < ch->capacity || queue_head(&ch->receivers);
    else
        ready = ch->count > 0 || queue_head(&ch->senders);
    return PyBool_FromLong(ready || ch->closed);
}

/* _offer(value, callback): a send that calls back once it is done or the
 * channel is closed; None if it is done at once. */
static PyObject *ch_offer(Channel *ch, PyObject *args)
{
    PyObject *value, *callback;
    Watch *watch;
    int done;

    if (!PyArg_ParseTuple(args, "OO:_offer", &value, &callback))
        return NULL;
    done = try_send(ch, value);
    if (done < 0)
        return NULL;
    if (done > 0)
        Py_RETURN_NONE;
    watch = PyObject_New(Watch, &WatchType);
    if (watch == NULL)
        return NULL;
    watch->channel = NULL;
    watch->wait = wait_new(1);
    if (watch->wait == NULL) {
        Py_DECREF(watch);
        return NULL;
    }
    Py_INCREF(callback);
    watch->wait->callback = callback;
    Py_INCREF(ch);
    watch->channel = (PyObject *)ch;
    wait_enter(watch->wait, 0, &ch->senders, value);
    call_watchers(ch);
    return (PyObject *)watch;
}

static void watch_dealloc(Watch *watch)
{
    if (watch->wait != NULL)
        wait_free(watch->wait);
    Py_XDECREF(watch->channel);
    PyObject_Free(watch);
}

/* withdraw(): None: it was not taken; True: it was; False: closed. */
static PyObject *watch_withdraw(Watch *watch, PyObject *unused)
{
    Wait *w = watch->wait;
    int fired = w->fired, closed = w->closed;

    (void)unused;
    if (fired)
        return PyBool_FromLong(!closed);
    wait_free(w);
    watch->wait = NULL;
    Py_RETURN_NONE;
}

static PyMethodDef watch_methods[] = {
    {"withdraw", (PyCFunction)watch_withdraw, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject WatchType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "gmprt._core.Watch",
    .tp_basicsize = sizeof(Watch),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)watch_dealloc,
    .tp_methods = watch_methods,
};

/* --- Select ------------------------------------------------------------------
 */

typedef struct Case {
    Channel *ch;                   /* NULL: never ready */
    PyObject *value;               /* NULL: receive */
} Case;

static uint32_t any(uint32_t n)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state % n);
}

static PyObject *chosen(int index, PyObject *value, int open)
{
    PyObject *result;

    if (value == NULL) {
        value = Py_None;
        Py_INCREF(value);
    }
    result = Py_BuildValue("iNO", index, value, open ? Py_True : Py_False);
    return result;
}

/* Runs a case that can run: 1 with *result, or an exception; 0 if none can. */
static int run_one(Case *cases, int n, PyObject **result)
{
    int i, done, from = (int)any((uint32_t)n);

    for (i = 0; i < n; i++) {
        int at = (from + i) % n;
        Case *c = &cases[at];
        PyObject *value = NULL;

        if (c->ch == NULL)
            continue;
        done = c->value ? try_send(c->ch, c->value) : try_recv(c->ch, &value);
        if (done == 0)
            continue;
        if (done < 0 && !c->value && PyErr_ExceptionMatches(ClosedError)) {
            PyErr_Clear();
            *result = chosen(at, NULL, 0);
        } else {
            *result = done < 0 ? NULL : chosen(at, value, 1);
        }
        return 1;
    }
    return 0;
}

static int parse_cases(PyObject *list, Case *cases, Channel **channels)
{
    Py_ssize_t i;

    for (i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *item = PyList_GET_ITEM(list, i), *ch;
        PyObject *value = NULL;

        if (PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2) {
            ch = PyTuple_GET_ITEM(item, 0);
            value = PyTuple_GET_ITEM(item, 1);
        } else {
            ch = item;
        }
        if (ch != Py_None && !PyObject_TypeCheck(ch, &ChannelType)) {
            PyErr_SetString(PyExc_TypeError, "a case of select() is a channel "
                            "to receive from, or (channel, value) to send");
            return -1;
        }
        cases[i].ch = channels[i] = ch == Py_None ? NULL : (Channel *)ch;
        cases[i].value = value;
    }
    return 0;
}

static PyObject *select_wait(Case *cases, Channel **channels, int n,
                             int64_t deadline)
{
    Wait *w = wait_new(n);
    PyObject *value;
    int i, index;

    if (w == NULL)
        return NULL;
    for (i = 0; i < n; i++) {
        Channel *ch = cases[i].ch;

        if (ch != NULL)
            wait_enter(w, i, cases[i].value ? &ch->senders : &ch->receivers,
                       cases[i].value);
    }
    for (i = 0; i < n; i++)
        if (cases[i].ch != NULL && cases[i].value)
            call_watchers(cases[i].ch);
    index = block(w, deadline, "select", &value, channels);
    if (index < -1 && cases[-2 - index].value == NULL) {
        PyErr_Clear();
        return chosen(-2 - index, NULL, 0);
    }
    return index < 0 ? NULL : chosen(index, value, 1);
}

/* select(cases, timeout, default): (index, value, open), or None. `cases` is a
 * list of our own, so nobody changes it meanwhile. */
PyObject *core_select(PyObject *module, PyObject *args)
{
    PyObject *list, *timeout, *result = NULL;
    Channel **channels;
    int64_t deadline;
    int n, has_default;
    Case *cases;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!Op:select", &PyList_Type, &list, &timeout,
                          &has_default))
        return NULL;
    if (PyList_GET_SIZE(list) > 65536) {
        PyErr_SetString(PyExc_ValueError, "more than 65536 cases");
        return NULL;
    }
    n = (int)PyList_GET_SIZE(list);
    deadline = deadline_of(timeout);
    if (deadline == -1 || check_cancelled(self()) < 0)
        return NULL;
    cases = PyMem_New(Case, n + 1);
    channels = PyMem_New(Channel *, n + 1);
    if (cases == NULL || channels == NULL)
        PyErr_NoMemory();
    else if (parse_cases(list, cases, channels) == 0 &&
             (n == 0 || !run_one(cases, n, &result))) {
        if (has_default) {
            result = Py_None;
            Py_INCREF(result);
        } else {
            result = select_wait(cases, channels, n, deadline);
        }
    }
    PyMem_Free(cases);
    PyMem_Free(channels);
    return result;
}

/* --- The type ----------------------------------------------------------------
 */

static PyObject *ch_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = {"capacity", NULL};
    Py_ssize_t capacity = 0;
    Channel *ch;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "|n:Channel", names, &capacity))
        return NULL;
    if (capacity < 0) {
        PyErr_SetString(PyExc_ValueError, "capacity must not be negative");
        return NULL;
    }
    ch = (Channel *)type->tp_alloc(type, 0);
    if (ch != NULL)
        ch->capacity = capacity;
    return (PyObject *)ch;
}

static int ch_traverse(Channel *ch, visitproc visit, void *arg)
{
    Py_ssize_t i;

    for (i = 0; i < ch->count; i++)
        Py_VISIT(ch->ring[(ch->first + i) % ch->size]);
    Py_VISIT(ch->watchers);
    return 0;
}

static int ch_clear(Channel *ch)
{
    while (ch->count > 0) {
        PyObject *value = pop(ch);

        Py_DECREF(value);
    }
    Py_CLEAR(ch->watchers);
    return 0;
}

static void ch_dealloc(Channel *ch)
{
    PyTypeObject *type = Py_TYPE(ch);

    PyObject_GC_UnTrack(ch);
    if (ch->weak != NULL)
        PyObject_ClearWeakRefs((PyObject *)ch);
    ch_clear(ch);
    queue_forget(&ch->senders);
    queue_forget(&ch->receivers);
    PyMem_Free(ch->ring);
    type->tp_free(ch);
}

static Py_ssize_t ch_len(Channel *ch)
{
    return ch->count;
}

static int ch_bool(Channel *ch)
{
    (void)ch;
    return 1;
}

static PyObject *ch_get(Channel *ch, void *what)
{
    return what ? PyBool_FromLong(ch->closed)
                : PyLong_FromSsize_t(ch->capacity);
}

static PyObject *ch_iter(PyObject *ch)
{
    Py_INCREF(ch);
    return ch;
}

#define WITH_KEYWORDS(f) ((PyCFunction)(void (*)(void))(f))

/* Channels of another process cannot be reached. */
static PyObject *ch_reduce(PyObject *ch, PyObject *unused)
{
    (void)ch, (void)unused;
    PyErr_SetString(PyExc_TypeError, "a channel belongs to one process: to "
                    "reach another one, use multiprocessing.Queue");
    return NULL;
}

static PyMethodDef ch_methods[] = {
    {"send", WITH_KEYWORDS(ch_send), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("send($self, value, timeout=None)\n--\n\n"
               "Sends; Closed if the channel is, TimeoutError.")},
    {"recv", WITH_KEYWORDS(ch_recv), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("recv($self, timeout=None)\n--\n\n"
               "Receives; Closed once the channel is and its buffer is empty, "
               "TimeoutError.")},
    {"try_send", (PyCFunction)ch_try_send, METH_O,
     PyDoc_STR("try_send($self, value, /)\n--\n\n"
               "Sends if that need not wait; whether it did.")},
    {"try_recv", (PyCFunction)ch_try_recv, METH_NOARGS,
     PyDoc_STR("try_recv($self, /)\n--\n\n"
               "Receives if that need not wait, else raises "
               "BlockingIOError.")},
    {"close", (PyCFunction)ch_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\n"
               "Ends it: receivers get what is in the buffer, then Closed.")},
    {"__reduce_ex__", (PyCFunction)ch_reduce, METH_O, NULL},
    {"_watch", (PyCFunction)ch_watch, METH_O, NULL},
    {"_unwatch", (PyCFunction)ch_unwatch, METH_O, NULL},
    {"_ready", (PyCFunction)ch_ready, METH_O, NULL},
    {"_offer", (PyCFunction)ch_offer, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef ch_fields[] = {
    {"capacity", (getter)ch_get, NULL,
     PyDoc_STR("How many objects fit into its buffer."), NULL},
    {"closed", (getter)ch_get, NULL, PyDoc_STR("Whether close() was called."),
     (void *)1},
    {NULL, NULL, NULL, NULL, NULL},
};

static PySequenceMethods ch_sequence = {.sq_length = (lenfunc)ch_len};
static PyNumberMethods ch_number = {.nb_bool = (inquiry)ch_bool};

PyTypeObject ChannelType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "gmprt._core.Channel",
    .tp_basicsize = sizeof(Channel),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = ch_new,
    .tp_dealloc = (destructor)ch_dealloc,
    .tp_traverse = (traverseproc)ch_traverse,
    .tp_clear = (inquiry)ch_clear,
    .tp_iter = ch_iter,
    .tp_iternext = (iternextfunc)ch_next,
    .tp_methods = ch_methods,
    .tp_getset = ch_fields,
    .tp_as_sequence = &ch_sequence,
    .tp_as_number = &ch_number,
    .tp_weaklistoffset = offsetof(Channel, weak),
};
