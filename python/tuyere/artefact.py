"""Runs deployed models (``tuyere compile model.pt2 -o model``) without PyTorch: ``tuyere.load("model.so")(array, ..)``.

A deployed model brings its own runtime; this module calls it, and needs NumPy only.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

_RANK = 12
# In the order of tuyere_dtype. NumPy has no bfloat16: its bits come as uint16, and go in so, or as ml_dtypes has them.
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


class _Artefact(ctypes.Structure):  # the fields that stay in all versions, see src/rt/artefact_abi.h
    _fields_ = [("magic", ctypes.c_char * 8), ("format", ctypes.c_int), ("ncalls", ctypes.c_int), ("calls", ctypes.POINTER(ctypes.c_void_p))]


class _Dim(ctypes.Structure):
    _fields_ = [("size", ctypes.c_int64), ("text", ctypes.c_char_p), ("min", ctypes.c_int64), ("max", ctypes.c_int64)]


class _Info(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("rank", ctypes.c_int), ("dims", ctypes.POINTER(_Dim))]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_int),
        ("shape", ctypes.c_int64 * _RANK),
        ("strides", ctypes.c_int64 * _RANK),
    ]


_pointer, _int = ctypes.c_void_p, ctypes.c_int
# name, result, arguments: in the order of ty_entry_calls.
_CALLS = (
    ("context_create", _pointer, (_pointer, _pointer)),
    ("context_destroy", None, (_pointer,)),
    ("error", ctypes.c_char_p, (_pointer,)),
    ("load", _int, (_pointer, _pointer, ctypes.c_char_p, _pointer)),
    ("model_destroy", None, (_pointer,)),
    ("num_inputs", _int, (_pointer,)),
    ("num_outputs", _int, (_pointer,)),
    ("input", _int, (_pointer, _int, _pointer)),
    ("output", _int, (_pointer, _int, _pointer)),
    ("session_create", _int, (_pointer, _pointer, _pointer)),
    ("session_destroy", None, (_pointer,)),
    ("bind_input", _int, (_pointer, _int, _pointer)),
    ("bind_output", _int, (_pointer, _int, _pointer)),
    ("run", _int, (_pointer,)),
    ("session_output", _int, (_pointer, _int, _pointer)),
    ("set_threads", None, (_int,)),
)


class Tensor(NamedTuple):
    """What an input or output is: sizes that vary are texts, as in ``("batch", 128)``."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class _Calls:
    def __init__(self, table):
        for i, (name, result, args) in enumerate(_CALLS):
            setattr(self, name, ctypes.CFUNCTYPE(result, *args)(table[i]))


class _Session:
    """A context and a session: one a thread."""

    def __init__(self, calls: _Calls, model: ctypes.c_void_p):
        self.calls, self.session = calls, ctypes.c_void_p()
        self.context = calls.context_create(None, None)
        if not self.context:
            raise MemoryError
        self.check(calls.session_create(self.context, model, ctypes.byref(self.session)))

    def check(self, status: int) -> None:
        if status:
            raise _error(status, self.calls.error(self.context))

    def __del__(self):
        if self.context:
            self.calls.session_destroy(self.session)
            self.calls.context_destroy(self.context)


def _error(status: int, text: bytes) -> Exception:
    kind = {1: ValueError, 3: MemoryError, 4: OSError}.get(status, RuntimeError)
    return kind(text.decode(errors="replace"))


def _array(value: Any) -> numpy.ndarray:
    if isinstance(value, (numpy.ndarray, numpy.generic)) or not hasattr(value, "__dlpack__"):
        return numpy.asarray(value)
    return numpy.from_dlpack(value)


class LoadedModel:
    """A deployed model. Call it with arrays in order, or by name; from any number of threads."""

    def __init__(self, path: str | os.PathLike, weights: str | os.PathLike | None = None):
        path = os.path.abspath(os.fspath(path))
        self._library = ctypes.CDLL(path)
        try:
            artefact = _Artefact.in_dll(self._library, "tuyere_artefact")
        except ValueError:
            raise ValueError(f"{path}: a shared object, but no deployed model") from None
        if artefact.magic != b"TYMODEL" or artefact.ncalls < len(_CALLS):
            raise ValueError(f"{path}: not a deployed model of a version that is known here")
        self._calls = calls = _Calls(artefact.calls)
        self._model = ctypes.c_void_p()
        self._local = threading.local()
        file = os.fspath(weights) if weights is not None else f"{path.removesuffix('.so')}.weights"
        context = calls.context_create(None, None)
        if not context:
            raise MemoryError
        try:
            status = calls.load(context, ctypes.addressof(artefact), os.fsencode(file), ctypes.byref(self._model))
            if status:
                raise _error(status, calls.error(context))
        finally:
            calls.context_destroy(context)
        self.inputs = [self._info(calls.input, i) for i in range(calls.num_inputs(self._model))]
        self.outputs = [self._info(calls.output, i) for i in range(calls.num_outputs(self._model))]

    def _info(self, call, i: int) -> Tensor:
        info = _Info()
        call(self._model, i, ctypes.byref(info))
        shape = tuple(info.dims[d].size if info.dims[d].size >= 0 else info.dims[d].text.decode() for d in range(info.rank))
        return Tensor(info.name.decode(), _DTYPES[info.dtype], shape)

    def __del__(self):
        if getattr(self, "_model", None):
            self._calls.model_destroy(self._model)

    def __repr__(self) -> str:
        def text(tensors: Sequence[Tensor]) -> str:
            return ", ".join(f"{t.name}: {t.dtype}[{', '.join(map(str, t.shape))}]" for t in tensors)

        return f"<tuyere model ({text(self.inputs)}) -> ({text(self.outputs)})>"

    def _ordered(self, args: tuple, kwargs: dict) -> list:
        names = [t.name for t in self.inputs]
        unknown = [name for name in kwargs if name not in names[len(args) :]]
        if unknown:
            raise TypeError(f"no input named {unknown[0]!r} is left: the inputs are {', '.join(names)}")
        missing = [name for name in names[len(args) :] if name not in kwargs]
        if missing or len(args) > len(names):
            raise TypeError(f"{len(names)} inputs are needed ({', '.join(names)}), {len(args) + len(kwargs)} were given")
        return [*args, *(kwargs[name] for name in names[len(args) :])]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """NumPy arrays, or anything with DLPack (tensors on the CPU), in; one array, or a tuple of them, out."""
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _Session(self._calls, self._model)
        held = []
        for i, value in enumerate(self._ordered(args, kwargs)):
            array = _array(value)
            dtype = self.inputs[i].dtype
            if array.dtype.name != dtype and not (dtype == "bfloat16" and array.dtype.str in ("<u2", "<V2", "|V2")):
                raise ValueError(f"input {i} ({self.inputs[i].name}) is {array.dtype.name}, and should be {dtype}")
            if any(step % array.itemsize for step in array.strides) or (array.size > 1 and not any(array.strides)) or array.ndim > _RANK:
                array = numpy.ascontiguousarray(array)
            held.append(array)
            tensor = _Tensor(array.ctypes.data, _DTYPES.index(dtype), array.ndim)
            for d in range(array.ndim):
                tensor.shape[d], tensor.strides[d] = array.shape[d], array.strides[d] // array.itemsize
            session.check(self._calls.bind_input(session.session, i, ctypes.byref(tensor)))
        session.check(self._calls.run(session.session))
        results = tuple(self._result(session, i) for i in range(len(self.outputs)))
        return results[0] if len(results) == 1 else results

    def _result(self, session: _Session, i: int) -> numpy.ndarray:
        tensor = _Tensor()
        session.check(self._calls.session_output(session.session, i, ctypes.byref(tensor)))
        name = _DTYPES[tensor.dtype]
        result = numpy.empty(tuple(tensor.shape[: tensor.rank]), "uint16" if name == "bfloat16" else name)
        ctypes.memmove(result.ctypes.data, tensor.data, result.nbytes)  # contiguous: the session's own memory
        return result

    def set_threads(self, n: int) -> None:
        """Threads of this model's runs; 0: the cores that the process may use."""
        self._calls.set_threads(n)


def load(path: str | os.PathLike, weights: str | os.PathLike | None = None) -> LoadedModel:
    """Loads a deployed model, whose weights lie beside it unless their path is given. It is code: load what you trust."""
    return LoadedModel(path, weights)
