"""The names of which an opinion exists: what is harmless in a pickle, and what is bad besides picklescan's list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final


def _set(*words: str | Iterable[str]) -> frozenset[str]:
    """Names from strings of several, divided by blanks, and from iterables of single ones."""
    return frozenset(name for part in words for name in (part.split() if isinstance(part, str) else part))


_TYPES: Final = "Double Float Half BFloat16 Long Int Short Char Byte Bool"
_STORAGES: Final = _set(f"{kind}{what}" for kind in _TYPES.split() for what in ("Storage", "Tensor"))

ALLOWED: Final[dict[str, frozenset[str]]] = {
    # what torch.load(weights_only=True) of torch 2.13 takes for data, but for sparse classes and the odd widths
    "torch": _set(
        _STORAGES,
        "QInt8Storage QInt32Storage QUInt8Storage QUInt4x2Storage QUInt2x4Storage",
        "ComplexFloatStorage ComplexDoubleStorage Size Tensor device",
        "bfloat16 float16 float32 float64 complex32 complex64 complex128 bool uint8 uint16 uint32 uint64 int8 int16",
        "int32 int64 qint8 qint32 quint8 quint4x2 quint2x4 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz",
        "float8_e8m0fnu float4_e2m1fn_x2",
        "per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric",
        "per_channel_affine_float_qparams",
    ),
    "torch.cuda": _STORAGES,
    "torch._utils": _set(
        "_rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor _rebuild_tensor _rebuild_tensor_v2",
        "_rebuild_tensor_v3 _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_nested_tensor",
        "_rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor _rebuild_wrapper_subclass",
    ),
    "torch._tensor": _set("_rebuild_from_type_v2"),
    "torch.nn.parameter": _set("Parameter"),
    "torch.serialization": _set("_get_layout"),
    "torch.storage": _set("TypedStorage UntypedStorage"),
    # the records that a distributed checkpoint's .metadata is made of
    "torch.distributed.checkpoint.metadata": _set(
        "Metadata MetadataIndex StorageMeta TensorStorageMetadata BytesStorageMetadata ChunkStorageMetadata",
        "TensorProperties _MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": _set("_StorageInfo _StoragePrefix"),
    # containers and numbers; a defaultdict calls only what is judged as well
    "collections": _set("OrderedDict Counter defaultdict deque"),
    "builtins": _set("object set frozenset dict list tuple int float bool str bytes bytearray complex slice range"),
    # how protocols 0 to 2 write bytes and plain objects
    "_codecs": _set("encode"),
    "copyreg": _set("_reconstructor"),
    # arrays, scalars, random states; objects in them are part of the same pickle
    "numpy": _set(
        "dtype ndarray bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64",
        "complex64 complex128 str_ bytes_ longlong ulonglong intc uintc",
    ),
    "numpy.dtypes": _set(
        "BoolDType Int8DType Int16DType Int32DType Int64DType UInt8DType UInt16DType UInt32DType UInt64DType",
        "Float16DType Float32DType Float64DType Complex64DType Complex128DType StrDType BytesDType ObjectDType",
    ),
    "numpy.core.multiarray": _set("_reconstruct scalar"),
    "numpy._core.multiarray": _set("_reconstruct scalar"),
    "numpy.core.numeric": _set("_frombuffer"),
    "numpy._core.numeric": _set("_frombuffer"),
    "numpy.random._pickle": _set("__randomstate_ctor __bit_generator_ctor"),
    "numpy.random._mt19937": _set("MT19937"),
    # what training scripts keep among their arguments; picklescan takes all of uuid for bad, its class is data
    "datetime": _set("date datetime time timedelta timezone"),
    "pathlib": _set("Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"),
    "argparse": _set("Namespace"),
    "uuid": _set("UUID"),
}
"""Module → names whose import and call do nothing but make an object, whatever they are called with."""

_MODULES: Final = _set(
    "_ctypes _posixsubprocess _posixshmem _socket _sqlite3 _ssl _thread _winapi _xxsubinterpreters antigravity",
    "asyncore atexit bsddb cffi cloudpickle code codeop commands compileall dbm dill distutils doctest ensurepip",
    "faulthandler fcntl ftplib http.client http.server httplib httpx idlelib imaplib imp importlib IPython",
    "lib2to3 linecache logging.config marshal mmap modulefinder msvcrt multiprocess multiprocessing nntplib nose",
    "numpy.ctypeslib numpy.distutils numpy.f2py numpy.lib._npyio_impl numpy.lib.npyio numpy.testing paramiko pipes",
    "pkg_resources pkgutil poplib popen2 py_compile pytest _pytest readline requests rlcompleter setuptools shelve",
    "site smtpd smtplib socketserver sqlite3 telnetlib torch.hub torch.multiprocessing torch.package",
    "torch.distributed.rpc torch.utils.bottleneck torch.utils.collect_env torch.utils.cpp_extension trace unittest",
    "urllib.request urllib2 urllib3 winreg wsgiref xmlrpc xmlrpclib zipapp zipimport",
)
DANGEROUS_MODULES: Final = re.compile("(?:" + "|".join(map(re.escape, sorted(_MODULES))) + r")(?:\.|\Z)")
"""Modules of which everything is bad, and everything below them."""

_BUILTINS: Final = _set(
    "__import__ apply breakpoint compile delattr eval exec execfile exit file getattr globals input locals open quit",
    "raw_input reload setattr super vars",
)
_POWERS: Final[dict[str, str]] = {
    "functools": "partial partialmethod reduce",
    "operator": "attrgetter itemgetter methodcaller",
    "types": "CodeType FunctionType LambdaType MethodType ModuleType",
    "io": "FileIO open open_code",
    "codecs": "open",
    "threading": "Thread Timer",
    "platform": "popen _syscmd_file",
    "psutil": "Popen",
    "tempfile": "NamedTemporaryFile mkstemp mktemp",
    "yaml": "load load_all unsafe_load unsafe_load_all full_load",
    "joblib": "load",
    "joblib.numpy_pickle": "load",
    "numpy": "load fromfile memmap save savez savez_compressed savetxt loadtxt genfromtxt fromregex",
    "pandas": "read_pickle eval",
    "pandas.io.pickle": "read_pickle",
    "pandas.core.computation.eval": "eval",
    "torch": "load save from_file compile",
    "torch.serialization": "load save",
    "torch.jit": "load",
    "torch.jit._serialization": "load",
    "torch._ops": "load_library",
    "torch.ops": "load_library",
    "torch.classes": "load_library",
}
DANGEROUS_NAMES: Final = frozenset(
    [(module, name) for module in ("builtins", "__builtin__") for name in _BUILTINS]
    + [(module, name) for module, names in _POWERS.items() for name in names.split()]
    + [(f"_{module}", name) for module in ("functools", "operator", "io") for name in _POWERS[module].split()]
)
"""(module, name) of what calls anything, reaches anything, or reads and writes files."""
