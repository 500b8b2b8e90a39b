"""A family and its link as Bambi wants them."""

from __future__ import annotations

from typing import Any

import numpy as np

from expfam_glm.errors import ArgumentError, need
from expfam_glm.spec import links
from expfam_glm.spec.domain import Domain
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

_bambi = need("bambi", "bambi")

# Links of the same equation that Bambi has under the same name.
_SHARED = ("cloglog", "identity", "inverse", "inverse_squared", "log", "logit", "probit")


def to_bambi(family: Family, link: str | Link | None = None) -> Any:
    """A family of Bambi whose likelihood is the declared density.

    Parameters
    ----------
    family : Family
        With a density.
    link : str or Link, optional
        Of the mean; the family's own if not given.

    Returns
    -------
    bambi.Family
        For `bambi.Model("y ~ x + (1|g)", data, family=…)`. The parent parameter is "mu"; a free
        dispersion is "phi", and shape parameters have their names; all of them can have formulas
        of their own.

    Raises
    ------
    MissingPackageError
        If Bambi is not installed.
    ArgumentError
        For a quasi family, which has no likelihood.

    Notes
    -----
    Default priors: HalfCauchy(1) for φ and positive shapes, uniform for shapes between two finite
    bounds, Normal(0, 1) for real ones; `priors=` of `bambi.Model` replaces them. Links with the
    equation of one of Bambi's are Bambi's. Responses are on the scale of the mean: the binomial
    here takes 0 and 1; Bambi's own takes `p(y, n)`.

    References
    ----------
    Capretto et al. (2022), Bambi: A simple interface for fitting Bayesian linear models in
    Python, Journal of Statistical Software 103(15).

    Examples
    --------
    >>> import expfam_glm as eg
    >>> eg.families.gamma.to_bambi("log").likelihood.params
    ['mu', 'phi']
    """
    if family.is_quasi:
        raise ArgumentError(
            f"the quasi family {family.name!r} has no density, which a likelihood of Bambi needs."
        )
    chosen = family.link if link is None else links.named(link)
    domains = dict(family.shape)
    if family.phi is None:
        domains = {"phi": Domain(0.0, np.inf, "neither", False), **domains}
    likelihood = _bambi.Likelihood(
        family.name, params=["mu", *domains], parent="mu", dist=_Distribution(family)
    )
    hosts = {"mu": _host_link(chosen)}
    priors = {}
    for name, domain in domains.items():
        hosts[name], priors[name] = _auxiliary(family, name, domain)
    host = _bambi.Family(family.name, likelihood, hosts)
    host.set_default_priors(priors)
    return host


class _Distribution:
    """The family where Bambi expects a class of PyMC."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def __call__(self, name: str, **keywords: Any) -> Any:
        return self.family.dist(name, **keywords)

    def dist(self, **keywords: Any) -> Any:
        """An unregistered variable."""
        return self.family.dist(**keywords)

    def __repr__(self) -> str:
        return repr(self.family)


def _host_link(link: Link) -> Any:
    if link.name in _SHARED and link == links.named(link.name):
        return _bambi.families.Link(link.name)
    name = f"{link.name} (expfam_glm)" if link.name in _SHARED else link.name
    return _bambi.families.Link(
        name, link=link.link, linkinv=link.inverse, linkinv_backend=link.inverse
    )


def _auxiliary(family: Family, name: str, domain: Domain) -> tuple[Any, Any]:
    """The link and the default prior of a parameter beside the mean."""
    low, high = domain.low, domain.high
    if (low, high) == (0.0, np.inf):
        return "log", _bambi.Prior("HalfCauchy", beta=1)
    if np.isinf(low) and np.isinf(high):
        return "identity", _bambi.Prior("Normal", mu=0, sigma=1)
    if (low, high) == (0.0, 1.0):
        return "logit", _bambi.Prior("Uniform", lower=0, upper=1)
    if np.isfinite(low) and np.isfinite(high):
        return "identity", _bambi.Prior("Uniform", lower=low, upper=high)
    raise ArgumentError(
        f"the shape parameter {name!r} of {family.name!r} lives on {domain}, for which there is no "
        "default prior; declare it on Positive, Real or a bounded interval, or fix it."
    )
