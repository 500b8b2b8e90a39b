"""The built-in links; a string names each of them too."""

from typing import Any

from expfam_glm.spec import links as _built_in
from expfam_glm.spec.links import power

__all__ = [  # noqa: F822 - all but one are traced when first used
    "cauchit",
    "cloglog",
    "identity",
    "inverse",
    "inverse_squared",
    "log",
    "logit",
    "loglog",
    "power",
    "probit",
    "sqrt",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(_built_in, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
