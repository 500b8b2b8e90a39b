"""From text in the language of LLVM to a function that Python can call."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import mmap
import os
import platform
import threading
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import metadata
from typing import Any

from expfam_glm.kernels.machine.code import DECLARED
from expfam_glm.spec.memory import Home

_lock = threading.Lock()  # two threads are not to compile the same at once


def _begin_anew() -> None:
    """In a process forked from this one the lock may be held for ever."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


@cache
def is_wide() -> bool:
    """Whether the processor has vectors of 512 bits, and all instructions that are used here."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    there = all(features.get(name, False) for name in ("avx512f", "avx512dq", "avx512vl"))
    return there and _may_execute()


def _may_execute() -> bool:
    """Whether the system lets a process write code of its own; LLVM does not ask."""
    if not hasattr(mmap, "PROT_EXEC"):
        return True
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=everything).close()
    except OSError:
        return False
    return True


def function(text: str, name: str) -> Callable[[int], None]:
    """The compiled function of a module, which takes one address; other threads run meanwhile.

    Machine code is remembered between processes, for the same processor.
    """
    with _lock:
        return _function(text, name)


@lru_cache(maxsize=256)
def _function(text: str, name: str) -> Callable[[int], None]:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    machine = binding.Target.from_default_triple().create_target_machine(cpu=cpu, features=features)
    made_for = f"{metadata.version('llvmlite')} {cpu} {features} {text}"
    home = Home(f"machine-code-{hashlib.sha256(made_for.encode()).hexdigest()[:32]}")
    kept = home.recall("object")
    if kept is None:
        module = binding.parse_assembly(f"{DECLARED}\n{text}")
        module.triple = machine.triple
        compiled = machine.emit_object(module)
        home.keep("object", base64.b64encode(compiled).decode())
    else:
        compiled = base64.b64decode(kept)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(compiled))
    engine.finalize_object()
    found: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address(name))
    found.engine = engine  # the owner of the code
    return found
