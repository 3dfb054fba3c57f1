"""Compile a program once for each machine, and keep the machine code in a cache that follows its every source.

Numba's own cache looks at one file and misses edits in what that file imports; it also pickles. Here the machine code
itself is kept, under a key made from the program's text, the bytecode of every kernel as it is loaded, and the
versions and processor it was compiled for. Loading it needs neither numba nor a compiler, so it takes milliseconds. A
file that is torn or altered does not match its digest and is compiled anew; a file appears by an atomic rename, so two
processes do not disturb each other; where nothing can be written, the program is compiled for this process alone.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kalibre.features._program import Program

_logger = logging.getLogger(__name__)

POINTERS = 16
"""Arguments of the compiled function after the number of rows, each an address."""
_INT_ARGUMENTS = frozenset({0, 9, 10, 11, 14})
_MAGIC = b"kalibre machine code 1\n"

Run = Callable[..., int]
_kept: list[Any] = []
"""Engines and objects that hold machine code in use; they live as long as the process."""
_loaded: dict[str, Run] = {}


def cache_folder() -> Path:
    """Return the folder of compiled steps: `KALIBRE_CACHE_DIR`, or the user's own cache folder.

    Examples
    --------
    >>> cache_folder().name
    'features'
    """
    chosen = os.environ.get("KALIBRE_CACHE_DIR")
    if chosen:
        return Path(chosen) / "features"
    if sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "kalibre" / "features"


@cache
def toolchain() -> str:
    """Describe what besides the program shapes its machine code: versions and processor."""
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    parts = {
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "triple": llvm.get_process_triple(),
        "cpu": llvm.get_host_cpu_name(),
        "cpu_features": llvm.get_host_cpu_features().flatten(),
    }
    return json.dumps(parts, sort_keys=True)


def load(program: Program) -> Run:
    """Return the program as a callable: from this process, from the cache, or compiled now."""
    key = sha256(f"{program.digest}\n{toolchain()}".encode()).hexdigest()
    if key not in _loaded:
        path = cache_folder() / f"{key}.bin"
        content = _read(path)
        if content is None:
            run, content = _compile(program)
            _write(path, content)
        else:
            run = _link(content)
        _loaded[key] = run
    return _loaded[key]


def _read(path: Path) -> bytes | None:
    """Return the machine code of a cache file, or None where there is none that is whole."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    if stored[: len(_MAGIC)] != _MAGIC or sha256(stored[start:]).digest() != stored[len(_MAGIC) : start]:
        _logger.warning("compiled features in %s are damaged: compiling them anew", path)
        return None
    return stored[start:]


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(_MAGIC + sha256(content).digest() + content)
                file.flush()
                os.fsync(file.fileno())
                file.close()
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        _warn_once(str(path.parent), str(error))


@cache
def _warn_once(folder: str, reason: str) -> None:
    _logger.warning(
        "compiled features cannot be kept in %s (%s): every start compiles anew; set KALIBRE_CACHE_DIR", folder, reason
    )


def _compile(program: Program) -> tuple[Run, bytes]:
    """Compile with numba; return the callable and its machine code."""
    from numba import cfunc, njit, types

    # error_model="numpy": a division by zero is inf or NaN as in NumPy, and no kernel can raise.
    scope: dict[str, Any] = {
        name: njit(error_model="numpy", forceinline=True)(kernel) for name, kernel in program.kernels.items()
    }
    scope |= {"nan": math.nan, "inf": math.inf, "sqrt": math.sqrt, "log": math.log, "sin": math.sin, "cos": math.cos}
    exec(compile(program.text, "<kalibre features>", "exec"), scope)  # noqa: S102  (text written by compose)
    ints, floats = types.CPointer(types.int64), types.CPointer(types.float64)
    signature = types.int64(types.int64, *(ints if k in _INT_ARGUMENTS else floats for k in range(POINTERS)))
    compiled = cfunc(signature, error_model="numpy")(scope["run"])
    _kept.append(compiled)
    machine_code = bytes(compiled._library._get_compiled_object())
    name = compiled.native_name.encode()
    return _callable(compiled.address), len(name).to_bytes(4, "little") + name + machine_code


def _link(content: bytes) -> Run:
    """Bring machine code into this process without numba."""
    import llvmlite.binding as llvm

    size = int.from_bytes(content[:4], "little")
    name = content[4 : 4 + size].decode()
    machine_code = content[4 + size :]
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # numba's wrapper reports a Python exception through these; no kernel raises, so they are never reached.
    unreachable = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for symbol in ("numba_gil_ensure", "numba_gil_release", "NRT_MemInfo_call_dtor"):
        if llvm.address_of_symbol(symbol) is None:
            llvm.add_symbol(symbol, unreachable)
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        opt=3,
        jit=True,
        cpu=llvm.get_host_cpu_name(),
        reloc="static" if platform.machine() in ("x86_64", "AMD64") else "default",
        codemodel="jitdefault",
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    # MCJIT asks the object cache before it compiles a module: the stored code takes the stub's place.
    stub = llvm.parse_assembly("define i64 @kalibre_stub() { ret i64 0 }")
    stub.name = "kalibre"
    engine.set_object_cache(lambda *_: None, lambda module: machine_code if module.name == "kalibre" else None)
    engine.add_module(stub)
    engine.finalize_object()
    _kept.append((engine, machine_code))
    return _callable(engine.get_function_address(name))


def _callable(address: int) -> Run:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * POINTERS)(address)
