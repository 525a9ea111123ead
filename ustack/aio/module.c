/* SPDX-License-Identifier: BSD-3-Clause */
/* ustack._aio, a second module in the shared object of ustack._ustack (see
 * aio/__init__.py for how it is loaded), and small helpers.                 */
#include "aio.h"

#include <arpa/inet.h>

struct names names;
PyObject *protocol_class, *stream_face, *datagram_face;

static int intern_names(void)
{
    const struct {
        PyObject **slot;
        const char *text;
    } table[] = {
        {&names.attach, "_attach"},
        {&names.buffer_updated, "buffer_updated"},
        {&names.call_exception_handler, "call_exception_handler"},
        {&names.call_soon, "call_soon"},
        {&names.cancelled, "cancelled"},
        {&names.connection_lost, "connection_lost"},
        {&names.connection_made, "connection_made"},
        {&names.data_received, "data_received"},
        {&names.datagram_received, "datagram_received"},
        {&names.detach, "_detach"},
        {&names.done, "done"},
        {&names.eof_received, "eof_received"},
        {&names.error_received, "error_received"},
        {&names.get_buffer, "get_buffer"},
        {&names.lost, "_connection_lost"},
        {&names.pause_writing, "pause_writing"},
        {&names.ready, "_ready"},
        {&names.resume_writing, "resume_writing"},
        {&names.set_exception, "set_exception"},
        {&names.set_result, "set_result"},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!(*table[i].slot = PyUnicode_InternFromString(table[i].text)))
            return -1;
    return 0;
}

/* Whether *found is that attribute now. */
static bool import_name(PyObject **found, const char *from, const char *name)
{
    PyObject *imported = PyImport_ImportModule(from);

    *found = imported ? PyObject_GetAttrString(imported, name) : NULL;
    Py_XDECREF(imported);
    return *found != NULL;
}

static int import_classes(void)
{
    return import_name(&protocol_class, "asyncio.protocols", "Protocol") &&
                   import_name(&stream_face, "ustack.aio.faces", "Stream") &&
                   import_name(&datagram_face, "ustack.aio.faces", "Datagrams")
             ? 0
             : -1;
}

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ustack._aio",
    .m_doc = "Transports and their dispatcher, in C.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__aio(void)
{
    PyObject *m;

    if (intern_names() < 0 || import_classes() < 0 || !(m = PyModule_Create(&module)))
        return NULL;
    if (PyModule_AddType(m, &dispatcher_type) < 0 || PyModule_AddType(m, &listener_type) < 0 ||
        PyModule_AddType(m, &transport_type) < 0 || PyModule_AddType(m, &datagrams_type) < 0 ||
        PyModule_AddType(m, &watch_type) < 0) {
        Py_DECREF(m);
        return NULL;
    }
    return m;
}

PyObject *os_error(int64_t err)
{
    /* OSError(errno, text) picks its subclass: ConnectionRefusedError, … */
    return PyObject_CallFunction(PyExc_OSError, "is", (int)-err, strerror((int)-err));
}

PyObject *raise_os_error(int64_t err)
{
    PyObject *exc = os_error(err);

    if (exc) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return NULL;
}

PyObject *take_exception(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

PyObject *address_tuple(const struct ust_addr *addr, uint16_t port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];

    if (memcmp(addr->b, mapped, sizeof mapped) == 0) {
        inet_ntop(AF_INET, addr->b + sizeof mapped, text, sizeof text);
        return Py_BuildValue("(si)", text, (int)port);
    }
    inet_ntop(AF_INET6, addr->b, text, sizeof text);
    return Py_BuildValue("(siii)", text, (int)port, 0, 0);
}

int parse_address(PyObject *bytes, struct ust_addr *addr)
{
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != sizeof addr->b) {
        PyErr_SetString(PyExc_TypeError, "an address is 16 bytes");
        return -1;
    }
    memcpy(addr->b, PyBytes_AS_STRING(bytes), sizeof addr->b);
    return 0;
}

int parse_host(const char *host, struct ust_addr *addr)
{
    *addr = (struct ust_addr){.b = {[10] = 0xff, [11] = 0xff}};
    if (inet_pton(AF_INET, host, addr->b + 12) == 1 || inet_pton(AF_INET6, host, addr->b) == 1)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s is no IP address; resolve names first", host);
    return -1;
}

int parse_port(PyObject *number, uint16_t *port)
{
    long value = PyLong_AsLong(number);

    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < 0 || value > UINT16_MAX) {
        PyErr_Format(PyExc_OverflowError, "port must be 0..65535, got %ld", value);
        return -1;
    }
    *port = (uint16_t)value;
    return 0;
}
