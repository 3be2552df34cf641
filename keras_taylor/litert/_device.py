"""What a latency was taken on."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

_INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sme", "sme2")
"""Those by which LiteRT chooses its kernels, and with them the numbers of channels that it pads to."""


@functools.cache
def device_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What this machine calls its processor, and the instructions for products of matrices that it has.

    Args:
        cpuinfo: the file that Linux describes processors in; elsewhere there is none, and Python's own name is given.
    """
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    has = (facts.get("flags") or facts.get("Features") or "").split()
    name = facts.get("model name") or platform.processor() or platform.machine()
    found = [instruction for instruction in _INSTRUCTIONS if instruction in has]
    return f"{name} ({' '.join(found)})" if found else name
