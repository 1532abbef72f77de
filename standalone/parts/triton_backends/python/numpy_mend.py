"""Lets a stub that was built against numpy 1 make arrays of texts with numpy 2.

The stub reads how large an item is from the place where numpy 1 has it; of numpy 2 it reads 0. So
it asks for arrays whose every stride is 0, and reading the first item fails. Strides that are all
0 are never meant here: they are left for numpy to compute.
"""

import ctypes
from typing import Any

import numpy as np

# As numpy's C interface counts its functions (numpy_api.py): PyArray_NewFromDescr.
NEW_FROM_DESCR = 94
POINTER = ctypes.c_void_p
SIGNATURE = ctypes.PYFUNCTYPE(
    POINTER,
    POINTER,  # type
    POINTER,  # its descr
    ctypes.c_int,  # dimensions
    POINTER,  # shape
    ctypes.POINTER(ctypes.c_ssize_t),  # strides
    POINTER,  # data
    ctypes.c_int,  # flags
    POINTER,  # owner
)


def mend() -> None:
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        return
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = POINTER, (ctypes.py_object, ctypes.c_char_p)
    functions = ctypes.cast(
        pointer_of(np._core.multiarray._ARRAY_API, None), ctypes.POINTER(POINTER)
    )
    original = SIGNATURE(functions[NEW_FROM_DESCR])

    def new(kind: Any, descr: Any, dims: int, shape: Any, strides: Any, *others: Any) -> Any:
        if strides and dims and not any(strides[axis] for axis in range(dims)):
            strides = None
        return original(kind, descr, dims, shape, strides, *others)

    mended = SIGNATURE(new)
    functions[NEW_FROM_DESCR] = ctypes.cast(mended, POINTER).value
    mend.kept = mended  # while the process lives
