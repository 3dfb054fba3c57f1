"""Compile once for each machine, and keep the machine code in a cache that follows its every source.

Numba's own cache looks at one file and misses edits in what that file imports; it also pickles. Here the machine code
itself is kept, under a key made from the program's text, the bytecode of every kernel as it is loaded, and the
versions and processor it was compiled for. Loading it needs no compiler, and numba only where it allocates memory, so
it takes milliseconds. A file that is torn or altered does not match its digest and is compiled anew; a file appears by
an atomic rename, so two processes do not disturb each other; where nothing can be written, it is compiled for this
process alone.
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
import threading
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kalibre.features._program import Program

_logger = logging.getLogger(__name__)

POINTERS = 18
"""Arguments of the compiled function after the number of rows, each an address."""
_INT_ARGUMENTS = frozenset({0, 11, 12, 13, 16})
_MAGIC = b"kalibre machine code 2\n"
_UNREACHED = ("numba_gil_ensure", "numba_gil_release", "NRT_MemInfo_call_dtor")
"""What numba's wrapper calls to report a Python exception, or to free memory: never, where none is allocated."""
_RUNTIME = ("NRT_", "numba_")
"""How the symbols begin that only numba has."""

UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of what only other machine code calls: with no way in from Python or C it compiles in an eighth less time."""

Run = Callable[..., int]
_kept: list[Any] = []
"""Engines and objects that hold machine code in use; they live as long as the process."""
_loaded: dict[str, int] = {}
_loading = threading.RLock()


def cache_folder(name: str = "features") -> Path:
    """Return the folder of machine code of a kind: in `KALIBRE_CACHE_DIR`, or in the user's own cache folder.

    Examples
    --------
    >>> cache_folder().name
    'features'
    """
    chosen = os.environ.get("KALIBRE_CACHE_DIR")
    if chosen:
        return Path(chosen) / name
    if sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "kalibre" / name


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
    address = machine_code(program.digest, lambda: _compile(program), folder="features")
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * POINTERS)(address)


def machine_code(digest: str, compiled: Callable[[], Any], *, folder: str) -> int:
    """Return the address of a function: from this process, from the cache, or compiled now.

    Parameters
    ----------
    digest
        Of everything that the function is made from, but for the tools that make it.
    compiled
        Makes it: numba's `cfunc`.
    folder
        Where in the cache it is kept.
    """
    key = sha256(f"{_MAGIC!r}\n{digest}\n{toolchain()}".encode()).hexdigest()
    with _loading:
        if key not in _loaded:
            path = cache_folder(folder) / f"{key}.bin"
            content = _read(path)
            address = None if content is None else _link(content)
            if address is None:
                made = compiled()
                _kept.append(made)
                address = int(made.address)
                _write(path, _content(made))
            _loaded[key] = address
        return _loaded[key]


def _read(path: Path) -> bytes | None:
    """Return the machine code of a cache file, or None where there is none that is whole."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    if stored[: len(_MAGIC)] != _MAGIC or sha256(stored[start:]).digest() != stored[len(_MAGIC) : start]:
        _logger.warning("machine code in %s is damaged: compiling it anew", path)
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
        "machine code cannot be kept in %s (%s): every start compiles anew; set KALIBRE_CACHE_DIR", folder, reason
    )


def _content(compiled: Any) -> bytes:
    """Return the machine code of a `cfunc`, with its name and what it needs of numba at run time."""
    library = compiled._library
    outside = [one.name for one in library._final_module.functions if one.is_declaration]
    needs = sorted(name for name in outside if name.startswith(_RUNTIME) and name not in _UNREACHED)
    head = json.dumps({"name": compiled.native_name, "needs": needs}).encode()
    return len(head).to_bytes(4, "little") + head + bytes(library._get_compiled_object())


def _compile(program: Program) -> Any:
    """Compile a program with numba."""
    from numba import cfunc, njit, types

    # error_model="numpy": a division by zero is inf or NaN as in NumPy, and no kernel can raise.
    scope: dict[str, Any] = {
        name: njit(error_model="numpy", forceinline=True, **UNWRAPPED)(kernel)
        for name, kernel in program.kernels.items()
    }
    scope |= {"nan": math.nan, "inf": math.inf, "sqrt": math.sqrt, "log": math.log, "sin": math.sin, "cos": math.cos}
    exec(compile(program.text, "<kalibre features>", "exec"), scope)  # noqa: S102  (text written by compose)
    ints, floats = types.CPointer(types.int64), types.CPointer(types.float64)
    signature = types.int64(types.int64, *(ints if k in _INT_ARGUMENTS else floats for k in range(POINTERS)))
    return cfunc(signature, error_model="numpy")(scope["run"])


def _link(content: bytes) -> int | None:
    """Bring machine code into this process and return its address; None if it needs what is not there."""
    import llvmlite.binding as llvm

    size = int.from_bytes(content[:4], "little")
    head, code = json.loads(content[4 : 4 + size]), content[4 + size :]
    if head["needs"]:
        _start_numba()
        if any(llvm.address_of_symbol(name) is None for name in head["needs"]):
            return None
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    unreachable = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for symbol in _UNREACHED:
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
    engine.set_object_cache(lambda *_: None, lambda module: code if module.name == "kalibre" else None)
    engine.add_module(stub)
    engine.finalize_object()
    _kept.append((engine, code))
    return int(engine.get_function_address(head["name"]))


def _start_numba() -> None:
    """Make numba's memory known to the linker: what allocates takes it from there."""
    from numba.core.registry import cpu_target
    from numba.core.runtime import rtsys

    rtsys.initialize(cpu_target.target_context)
