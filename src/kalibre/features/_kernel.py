"""Kernels that Python calls: a plain function, compiled with all that it calls and kept in the cache of machine code.

The key of the cache is made from the bytecode of the function and of every kernel it calls, as they are loaded, with
the constants that they refer to; so an edit in a file that the kernel's file only imports is seen. Numba is imported to
compile, and by machine code that allocates memory; else loading and calling does without it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from hashlib import sha256
from itertools import count
from struct import Struct
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import FeatureError
from kalibre.features._compile import UNWRAPPED, machine_code

_NUMBERS = {float: "f", int: "i", bool: "b"}
_PACKED = {"f": "d", "i": "q", "b": "?7x"}
"""How a number stands in a row of eight bytes each."""
_PLAIN = (bool, int, float, str, bytes, type(None), np.generic)

Types = tuple[Any, ...]
"""Of each array of a call: type, number of dimensions, whether it is contiguous."""


class Kernel:
    """A function that compiles when it is first called from Python, and into any kernel that calls it.

    Its parameters are annotated: `float`, `int`, `bool`, a NamedTuple, or else an array, whose type and number of
    dimensions are those of the call (a call with others compiles anew). It returns nothing, a number or a tuple of
    numbers. No fastmath: all who call it get the same floats. Other threads run meanwhile.

    Parameters
    ----------
    function
        Plain Python that numba can compile, without closure; it refers to kernels, modules and constants only.
    inline
        Whether it becomes part of whoever calls it.
    folder
        The cache's folder for it.

    Examples
    --------
    >>> def doubled(x: float) -> float:
    ...     return 2.0 * x
    >>> Kernel(doubled, folder="examples")(1.5)
    3.0
    """

    def __init__(self, function: Callable[..., Any], *, folder: str, inline: bool = False) -> None:
        self.function, self.inline = cast(FunctionType, function), inline
        self.__doc__, self.__name__, self.__module__ = function.__doc__, function.__name__, function.__module__
        self._folder = folder
        self._dispatcher: Any = None

    def __call__(self, *values: Any) -> Any:
        """Call the machine code.

        Raises
        ------
        FeatureError
            If an array is not contiguous, or the kernel fails within (too little memory).
        """
        return self._caller(*values)

    def bind(self, *arrays: NDArray[Any]) -> Callable[..., Any]:
        """Return the kernel with its first parameters bound to arrays: what is left is called in less time."""
        return self._call_with(arrays)

    def bind_alone(self, *arrays: NDArray[Any]) -> Callable[..., Any]:
        """Bind as `bind` does, for one caller at a time: row and results are kept, so a call takes half the time.

        Two threads must not call it at once. Everything that is left has to be a number.
        """
        kept, numbers = len(arrays), [said for said, kind in self._leaves if kind != "a"]
        if len(self._leaves) - len(numbers) != kept:
            raise FeatureError(f"kernel {self.__name__} has other arrays than the {kept} bound: bind all of them")
        types = tuple(told for one in arrays for told in (one.dtype, one.ndim, one.flags.c_contiguous))
        known = [number for one in arrays for number in (one.ctypes.data, *one.shape)]
        begin, free = Struct("q" * len(known)), Struct("".join(_PACKED[k] for _, k in self._leaves if k != "a"))
        row = (ctypes.c_double * (len(known) + len(numbers)))()
        out = (ctypes.c_double * len(self._results))()
        begin.pack_into(row, 0, *known)
        scope: dict[str, Any] = {"bound": arrays, "row": row, "out": out, "pack": free.pack_into, "skip": begin.size}

        def first(*addresses: int) -> int:
            scope["run"], _ = self._prepared(types)
            return int(scope["run"](*addresses))

        made = "unpack(out)[0]" if self._returns_one else "unpack(out)" if self._results else "None"
        text = (
            f"def call({', '.join(f'x{place}' for place in range(kept, len(self._parameters)))}):\n"
            f"    pack({', '.join(['row', 'skip', *numbers])})\n"
            "    if run(at, at, to, to):\n"
            "        failed()\n"
            f"    return {f'named(*{made})' if _is_named(self._hints['return']) else made}\n"
        )
        scope |= {"run": first, "at": ctypes.addressof(row), "to": ctypes.addressof(out), "failed": self._failed}
        scope |= {
            "named": self._hints["return"],
            "unpack": Struct("".join(_PACKED[kind] for kind in self._results)).unpack,
        }
        exec(compile(text, "<kalibre call>", "exec"), scope)  # noqa: S102  (text written here)
        return cast(Callable[..., Any], scope["call"])

    # --- parameters and results ---------------------------------------------------------------------------------------

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.function)

    @cached_property
    def _parameters(self) -> tuple[str, ...]:
        code = self.function.__code__
        names = code.co_varnames[: code.co_argcount]
        if missing := [name for name in (*names, "return") if name not in self._hints]:
            raise FeatureError(f"kernel {self.__name__}: annotate {missing}, its machine code is typed by that")
        return names

    @cached_property
    def _leaves(self) -> list[tuple[str, str]]:
        """Every array and number of a call, as (expression, kind)."""
        hints = (self._hints[name] for name in self._parameters)
        return [leaf for place, hint in enumerate(hints) for leaf in _leaves(f"x{place}", hint)]

    @cached_property
    def _results(self) -> str:
        hint = self._hints["return"]
        if hint is type(None):
            return ""
        parts = _fields(hint) if _is_named(hint) else get_args(hint) if get_origin(hint) is tuple else (hint,)
        if unknown := [part for part in parts if part not in _NUMBERS]:
            raise FeatureError(f"kernel {self.__name__} returns {unknown[0]}: return numbers or a tuple of numbers")
        return "".join(_NUMBERS[part] for part in parts)

    @property
    def _returns_one(self) -> bool:
        return self._hints["return"] in _NUMBERS

    # --- calling ------------------------------------------------------------------------------------------------------

    @cached_property
    def _caller(self) -> Callable[..., Any]:
        return self._call_with(())

    def _call_with(self, bound: tuple[NDArray[Any], ...]) -> Callable[..., Any]:
        """Write the Python side of a call.

        Everything travels in one packed row, addresses and shapes of arrays too, and the results come back in another:
        that costs a fraction of what as many arguments of a foreign function do.
        """
        arrays = [said for said, kind in self._leaves if kind == "a"]
        numbers = [said for said, kind in self._leaves if kind != "a"]
        # What is bound is told once; the arrays stay alive with the function that knows their addresses.
        head = tuple(told for array in bound for told in (array.dtype, array.ndim, array.flags.c_contiguous))
        known = tuple(number for array in bound for number in (array.ctypes.data, *array.shape))
        free = arrays[len(bound) :]
        types = "".join(f"{said}.dtype, {said}.ndim, {said}.flags.c_contiguous, " for said in free)
        row = [f"address({said}), *{said}.shape" for said in free]
        runs: dict[Types, tuple[Callable[..., int], Callable[..., bytes]]] = {}

        def prepared(types: Types) -> tuple[Callable[..., int], Callable[..., bytes]]:
            run, pack = self._prepared(head + types)
            runs[types] = run, partial(pack, *known) if known else pack
            return runs[types]

        scope: dict[str, Any] = {"bound": bound, "runs": runs, "prepared": prepared}
        made = "unpack(out)[0]" if self._returns_one else "unpack(out)" if self._results else "None"
        text = (
            f"def call({', '.join(f'x{place}' for place in range(len(bound), len(self._parameters)))}):\n"
            f"    types = ({types})\n"
            f"    run, pack = runs.get(types) or prepared(types)\n"
            f"    row, out = pack({', '.join([*row, *numbers])}), results()\n"
            f"    if run(row, row, out, out):\n"
            f"        failed()\n"
            f"    return {f'named(*{made})' if _is_named(self._hints['return']) else made}\n"
        )
        scope |= {"failed": self._failed, "address": _address}
        scope |= {"named": self._hints["return"], "results": ctypes.c_double * len(self._results)}
        scope["unpack"] = Struct("".join(_PACKED[kind] for kind in self._results)).unpack
        exec(compile(text, "<kalibre call>", "exec"), scope)  # noqa: S102  (text written here)
        return cast(Callable[..., Any], scope["call"])

    def _prepared(self, types: Types) -> tuple[Callable[..., int], Callable[..., bytes]]:
        if not all(types[2::3]):
            raise FeatureError(f"kernel {self.__name__}: an array is not contiguous, pass np.ascontiguousarray of it")
        text = self._entry(types)
        address = machine_code(
            sha256(f"{self.digest}\n{text}\n{types}".encode()).hexdigest(),
            lambda: self._compiled(text, types),
            folder=self._folder,
        )
        run = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 4)(address)
        pack = Struct("q" * _places(types) + "".join(_PACKED[kind] for _, kind in self._leaves if kind != "a")).pack
        return run, pack

    def _failed(self) -> None:
        raise FeatureError(
            f"kernel {self.__name__} failed: there is too little memory, or an array has a size that does not fit"
        )

    # --- compiling ----------------------------------------------------------------------------------------------------

    @cached_property
    def digest(self) -> str:
        """Digest of everything that the kernel's machine code is made from."""
        told = sha256()
        for part in _sources(self, set()):
            told.update(part.encode() + b"\0")
        return told.hexdigest()

    @property
    def _options(self) -> dict[str, Any]:
        # error_model: a division by zero is inf or NaN as in NumPy.
        return {"error_model": "numpy", **UNWRAPPED, **({"inline": "always"} if self.inline else {"nogil": True})}

    def _entry(self, types: Types) -> str:
        """Return the text of the function that unpacks a row and calls the kernel."""
        dimensions, numbers = iter(types[1::3]), count(_places(types))
        places, arrays = count(), count()

        def said(hint: Any) -> str:
            if _is_named(hint):
                return f"{hint.__name__}({', '.join(map(said, _fields(hint)))})"
            if hint in _NUMBERS:
                place = next(numbers)
                return {"f": f"floats[{place}]", "i": f"ints[{place}]", "b": f"ints[{place}] != 0"}[_NUMBERS[hint]]
            where = f"pointer(ints[{next(places)}])"
            shape = "".join(f"ints[{next(places)}], " for _ in range(next(dimensions)))
            return f"carray({where}, ({shape}), dtype{next(arrays)})"

        call = f"kernel({', '.join(said(self._hints[name]) for name in self._parameters)})"
        lines = [f"result = {call}" if self._results else call]
        for k, kind in enumerate(self._results):
            target = "out_floats" if kind == "f" else "out_ints"
            lines.append(f"{target}[{k}] = result" + ("" if self._returns_one else f"[{k}]"))
        body = "".join(f"        {line}\n" for line in lines)
        return (
            "def entry(ints, floats, out_ints, out_floats):\n"
            f"    try:\n{body}    except Exception:\n        return 1\n    return 0\n"
        )

    def _compiled(self, text: str, types: Types) -> Any:
        from numba import carray, cfunc
        from numba import types as nb
        from numba.core.cgutils import voidptr_t
        from numba.extending import intrinsic

        @intrinsic  # type: ignore[untyped-decorator]
        def pointer(context: Any, address: Any) -> Any:
            """Take a number for the address that it is."""
            return nb.voidptr(address), lambda _, builder, __, given: builder.inttoptr(given[0], voidptr_t)

        scope: dict[str, Any] = {"kernel": self.dispatcher(), "carray": carray, "pointer": pointer}
        scope |= {f"dtype{place}": dtype.type for place, dtype in enumerate(types[::3])}
        scope |= {named.__name__: named for name in self._parameters for named in _named(self._hints[name])}
        exec(compile(text, "<kalibre kernel>", "exec"), scope)  # noqa: S102  (text written by _entry)
        rows = (nb.CPointer(nb.int64), nb.CPointer(nb.float64))
        return cfunc(nb.int64(*rows, *rows), error_model="numpy")(scope["entry"])

    def dispatcher(self) -> Any:
        """Return what numba compiles: this function, with the same of every kernel that it calls."""
        if self._dispatcher is None:
            from numba import njit

            code, known = self.function.__code__, dict(self.function.__globals__)
            known |= {name: known[name].dispatcher() for name in code.co_names if isinstance(known.get(name), Kernel)}
            function = FunctionType(code, known, self.__name__, self.function.__defaults__)
            self._dispatcher = njit(**self._options)(function)
        return self._dispatcher


def _places(types: Types) -> int:
    """Return how many places of a row the arrays take: an address and the dimensions of each."""
    return sum(1 + dimensions for dimensions in types[1::3])


def _address(array: NDArray[Any]) -> int:
    try:
        # A tenth of the time of `array.ctypes.data`, which is left for what is empty or may only be read.
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        return int(array.ctypes.data)


def _is_named(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


def _fields(named: Any) -> list[Any]:
    hints = get_type_hints(named)
    return [hints[name] for name in named._fields]


def _leaves(said: str, hint: Any) -> Iterator[tuple[str, str]]:
    if _is_named(hint):
        for place, part in enumerate(_fields(hint)):
            yield from _leaves(f"{said}[{place}]", part)
    else:
        yield said, _NUMBERS.get(hint, "a")


def _named(hint: Any) -> Iterator[Any]:
    if _is_named(hint):
        yield hint
        for part in _fields(hint):
            yield from _named(part)


def _sources(kernel: Kernel, seen: set[Kernel]) -> Iterator[str]:
    """Yield everything that a kernel and those it calls are made from, as it is loaded (not as a file has it now)."""
    if kernel in seen:
        return
    seen.add(kernel)
    function = kernel.function
    if function.__closure__:
        raise FeatureError(f"kernel {kernel.__name__} has a closure: pass {function.__code__.co_freevars} to it")
    yield repr((kernel.__name__, kernel._options, function.__defaults__, sorted(map(str, kernel._hints.items()))))
    for code in _codes(function.__code__):
        constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
        yield repr((code.co_name, code.co_code.hex(), constants, code.co_names, code.co_varnames))
        for name in code.co_names:
            if name in function.__globals__:
                yield name
                yield from _told(kernel, name, function.__globals__[name], seen)


def _told(kernel: Kernel, name: str, value: Any, seen: set[Kernel]) -> Iterator[str]:
    if isinstance(value, Kernel):
        yield from _sources(value, seen)
    elif isinstance(value, ModuleType):
        if value.__name__.startswith("kalibre"):
            raise FeatureError(f"kernel {kernel.__name__} refers to module {name}: import what it needs by name")
        yield value.__name__
    elif _is_named(value):
        yield repr((value.__name__, value._fields, list(map(str, _fields(value)))))
    elif isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(one, _PLAIN) for one in value)):
        yield repr(value)
    else:
        raise FeatureError(
            f"kernel {kernel.__name__} refers to {name} = {value!r:.80}, which its cache cannot follow: make it a "
            "kernel, or pass it"
        )


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
