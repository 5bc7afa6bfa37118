"""Glue: a weaver's own WebAssembly between the models of a workflow. JSON in, JSON out.

A module exports its `memory`, `alloc(size) -> pointer`, and functions `(pointer, length) -> pointer << 32 | length`. It
may import one function, `tollway.fail(pointer, length)`, which ends the run with a reason. It has no clock, network,
files or randomness: the same module with the same input uses the same fuel and returns the same bytes on every machine.
Each run has its own instance and memory. Fuel is metered and limited; bulk copies count by the byte.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import orjson
from wasmtime import (
    Config,
    Engine,
    ExportType,
    Func,
    FuncType,
    ImportType,
    Instance,
    Memory,
    MemoryType,
    Module,
    Store,
    Trap,
    ValType,
    WasmtimeError,
)

from gateway import bounds
from gateway.errors import Refusal
from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected

MAX_MODULE_BYTES: Final = 256 * 1024
MAX_MEMORY_BYTES: Final = 16 * 1024 * 1024
MAX_OUTPUT_BYTES: Final = 1024 * 1024
MAX_FUEL: Final = 50_000_000
"""About a tenth of a second of one core, and the most that one step can take of the gateway."""
MAX_REASON_BYTES: Final = 200
KEPT_MODULES: Final = 256
THREADS: Final = 2

T = TypeVar("T")

_I32, _I64 = ValType.i32(), ValType.i64()


class GlueError(Rejected):
    """A glue run that ended without an answer. `fuel` is what it used until then."""


@dataclass(frozen=True, slots=True)
class GlueResult:
    """The output of a run, and the fuel it used: the `fuel` meter of the root call."""

    output: Json
    fuel: int


@dataclass(frozen=True, slots=True)
class Glue:
    """A compiled module, its SHA-256, and its exports with their types."""

    digest: bytes
    module: Module
    shapes: Mapping[str, str]


class Workshop:
    """Compiled modules by digest, and the engine that runs them. Safe to use from several threads."""

    def __init__(self, kept: int = KEPT_MODULES) -> None:
        self._engine = Engine(_config())
        self._modules: OrderedDict[bytes, Glue] = OrderedDict()
        self._kept = kept
        self._threads = ThreadPoolExecutor(THREADS, "glue")

    async def do(self, work: Callable[[], T]) -> T:
        """Compile or run something in a thread of glue's own: those of others wait for nothing that a weaver wrote."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def load(self, body: bytes) -> Glue:
        """Compile a module. Rejected when it is too large, not valid, or imports what is not provided."""
        known = self.find(hashlib.sha256(body).digest())
        if known is not None:
            return known
        glue = self._compile(body)
        self._modules[glue.digest] = glue
        while len(self._modules) > self._kept:
            self._modules.popitem(last=False)
        return glue

    def find(self, digest: bytes) -> Glue | None:
        """Glue compiled before, if it is still kept."""
        glue = self._modules.get(digest)
        if glue is not None:
            self._modules.move_to_end(digest)
        return glue

    @staticmethod
    def check(glue: Glue, exports: frozenset[str] = frozenset()) -> None:
        """Rejected unless the module has these exports, `memory` and `alloc`, with the right types."""
        wanted = {"memory": "memory", "alloc": "(i32) -> (i32)"} | dict.fromkeys(exports, "(i32, i32) -> (i64)")
        for name, shape in wanted.items():
            if glue.shapes.get(name) != shape:
                raise Rejected(f"glue must export {name!r} as {shape}, not {glue.shapes.get(name)}", export=name)

    def run(self, glue: Glue, export: str, given: Json, fuel: int) -> GlueResult:
        """Call one export with `given` and at most `fuel`. GlueError when it traps, fails, or does not return JSON."""
        self.check(glue, frozenset({export}))
        run = _Run(self._engine, min(fuel, MAX_FUEL))
        try:
            return GlueResult(run.call(glue.module, export, given), run.used)
        except (Trap, WasmtimeError) as error:
            raise GlueError(_reason(error), export=export, fuel=run.used) from error

    def _compile(self, body: bytes) -> Glue:
        if len(body) > MAX_MODULE_BYTES:
            raise Rejected(f"glue has {len(body)} bytes, more than {MAX_MODULE_BYTES}", size=len(body))
        try:
            module = Module(self._engine, body)
        except WasmtimeError as error:
            raise Rejected(f"glue is not a valid WebAssembly module: {_reason(error)}") from error
        for wanted in module.imports:
            if (wanted.module, wanted.name, _shape(wanted)) != ("tollway", "fail", "(i32, i32) -> ()"):
                raise Rejected(
                    f"glue imports {wanted.module}.{wanted.name}; it may import only tollway.fail(i32, i32)",
                    imports=f"{wanted.module}.{wanted.name}",
                )
        return Glue(hashlib.sha256(body).digest(), module, {export.name: _shape(export) for export in module.exports})


class _Run:
    """One run: a store with limits and one instance, discarded afterwards."""

    def __init__(self, engine: Engine, fuel: int) -> None:
        self._fuel = fuel
        self._store = Store(engine)
        self._store.set_limits(memory_size=MAX_MEMORY_BYTES, table_elements=4096, instances=1, tables=4, memories=1)
        self._store.set_fuel(fuel)
        self._memory: Memory | None = None

    @property
    def used(self) -> int:
        return self._fuel - self._store.get_fuel()

    def call(self, module: Module, export: str, given: Json) -> Json:
        fail = Func(self._store, FuncType([_I32, _I32], []), self._fail)
        instance = Instance(self._store, module, [fail] * len(module.imports))
        exports = instance.exports(self._store)
        memory, alloc, function = exports["memory"], exports["alloc"], exports[export]
        assert isinstance(memory, Memory) and isinstance(alloc, Func) and isinstance(function, Func)  # noqa: PT018
        self._memory = memory
        text = json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        argument = text.encode("utf-8", "replace")
        at = int(alloc(self._store, len(argument))) & 0xFFFFFFFF
        if at + len(argument) > memory.data_len(self._store):
            raise GlueError("glue allocated no room for its input", export=export, fuel=self.used)
        memory.write(self._store, argument, at)
        packed = int(function(self._store, at, len(argument))) & 0xFFFFFFFFFFFFFFFF
        answered = self._read(packed >> 32, packed & 0xFFFFFFFF, MAX_OUTPUT_BYTES)
        try:
            bounds.check_whole(answered)
            return orjson.loads(answered)
        except (ValueError, Refusal) as error:
            raise GlueError(f"glue did not return JSON: {error}", export=export, fuel=self.used) from error

    def _read(self, at: int, size: int, most: int) -> bytes:
        assert self._memory is not None
        if size > most or at + size > self._memory.data_len(self._store):
            raise GlueError(f"glue returned {size} bytes at {at}, outside its memory or its limit", fuel=self.used)
        return bytes(self._memory.read(self._store, at, at + size))

    def _fail(self, at: int, size: int) -> None:
        reason = b"" if self._memory is None else self._read(at & 0xFFFFFFFF, size & 0xFFFFFFFF, MAX_REASON_BYTES)
        raise GlueError(f"glue failed: {reason.decode('utf-8', 'replace')}", fuel=self.used)


def _config() -> Config:
    """Deterministic: what differs between machines, or is not needed, is off."""
    config = Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd_deterministic = True
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_gc = False
    config.max_wasm_stack = 256 * 1024
    return config


def _shape(item: ImportType | ExportType) -> str:
    kind = item.type
    if isinstance(kind, FuncType):
        return f"({', '.join(map(str, kind.params))}) -> ({', '.join(map(str, kind.results))})"
    return "memory" if isinstance(kind, MemoryType) else type(kind).__name__


def _reason(error: Trap | WasmtimeError) -> str:
    """The last line of wasmtime's message: the cause, without paths of this machine."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1].removeprefix("wasm trap: ") if lines else "it trapped"
    return "glue ran out of fuel" if "all fuel consumed" in reason else f"glue stopped: {reason}"
