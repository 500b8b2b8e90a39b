"""`pytensor.tensor` under the name `pt`, loaded when one of its functions is first asked for.

The built-in declarations are written with it, and most processes need none of them traced.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class _Tensor:
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("pytensor.tensor"), name)


pt = _Tensor()
