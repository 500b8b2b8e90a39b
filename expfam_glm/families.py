"""The built-in families; a string names each of them too."""

from typing import TYPE_CHECKING, Any

from expfam_glm.spec import families as _built_in
from expfam_glm.spec.families import negative_binomial, tweedie

if TYPE_CHECKING:
    from expfam_glm.spec.quasi import quasi

__all__ = [  # noqa: F822 - most are made when first used
    "binomial",
    "gamma",
    "gaussian",
    "hyperbolic_secant",
    "inverse_gaussian",
    "negative_binomial",
    "normal",
    "poisson",
    "quasi",
    "quasi_binomial",
    "quasi_poisson",
    "tweedie",
]


def __getattr__(name: str) -> Any:
    if name == "quasi":
        from expfam_glm.spec.quasi import quasi

        return quasi
    if name in __all__:
        return getattr(_built_in, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
