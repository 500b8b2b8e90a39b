"""Run in a process of its own: digests of what every built-in declaration computes, as JSON.

A family's own link has all outputs; the others have them too with the argument "all".
"""

import hashlib
import json
import sys

import numpy as np

from expfam_glm.errors import DeclarationError
from expfam_glm.kernels.row import row_kernel
from expfam_glm.mle.penalty import _curvatures
from expfam_glm.mle.saturated import _factors, _parts, _slopes
from expfam_glm.mle.shape_profile import row_derivatives
from expfam_glm.results.mean import bend_of, slope_of
from expfam_glm.spec import families, links
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

OUTPUTS = (
    ("score", "weight", "kernel"),
    ("mu", "pearson", "score", "variance"),
    ("mu", "slope", "weight", "pearson", "weighted_deviance"),
    ("observed_weight", "weight_slope", "bias_weight"),
)
SOLVED = ("tweedie", "hyperbolic_secant")  # what they call is no text: they are traced anew
GRID = 7
ETA = np.linspace(-3.1, 2.9, GRID) ** 3


def digest(*arrays: object) -> str:
    """The bits of arrays."""
    bits = b"".join(np.asarray(v, dtype=float).tobytes() for v in arrays)
    return hashlib.sha256(bits).hexdigest()


def of_family(family: Family) -> dict[str, str]:
    """Digests of the family's functions, on a grid, and of their graphs."""
    mu = np.linspace(0.05, 0.95, GRID)
    y = np.ones(GRID) if family.support.discrete else mu[::-1].copy()
    shapes = {name: 1.5 for name in family.shape}
    theta = np.asarray(family.theta(mu, **shapes))
    found = {
        "digest": family.digest,
        "means": digest(family.mean(theta, **shapes), family.variance(mu, **shapes)),
        "dispersion": digest(family.a(2.0), family.a.is_identity),
        "deviance": digest(family.deviance(y, mu, **shapes)),
        "variance": digest(family.variance_at(theta, **shapes)),
    }
    if not family.is_quasi:
        rest = tuple(shapes.values())
        found["density"] = digest(family.logpdf(y, mu, 1.0, **shapes))
        found["saturated"] = digest(*family.saturated.function(1)(y, 0.5, *rest))
        found["slopes"] = digest(*_slopes(family)(y, 0.5, *rest))
        parts = _parts(family)
        if parts is not None:
            found["parts"] = digest(*parts(y, *rest), *_factors(family)(0.5, *rest))
        if not family.shape:
            found["curvatures"] = digest(*_curvatures(family)(y, 2.0))
    return found


def of_link(link: Link) -> dict[str, str]:
    """Digests of the link's functions."""
    mu = np.linspace(0.05, 0.95, GRID)
    eta = link(mu)
    return {
        "digest": link.link.digest + link.inverse.digest,
        "values": digest(eta, link.inverse(eta), slope_of(link, eta), bend_of(link, eta)),
    }


def of_pair(family: Family, link: Link, whole: bool) -> dict[str, str]:
    """Digests of the row kernels, of all outputs or of one set."""
    image = link.image(family.mean_space)
    eta = ETA[(ETA > image.low) & (ETA < image.high)]
    y, shapes = np.ones(eta.shape), (1.5,) * len(family.shape)
    found = {"image": str(image)}
    for outputs in OUTPUTS if whole else OUTPUTS[:1]:
        rows = row_kernel(family, link, outputs)(eta, y, 0.5, *shapes)
        found[str(outputs)] = digest(*rows)
    if not whole:
        return found
    found["canonical"] = str(family.is_canonical(link))
    found["unit"] = digest(*row_kernel(family, link, OUTPUTS[0], True)(eta, y, 1.0, *shapes))
    if not family.is_quasi:
        found["density"] = digest(*row_kernel(family, link, ("loglik",))(eta, y, 1.0, *shapes))
    if family.shape:
        derivatives = row_derivatives(family, link, family.phi is None)
        found["shapes"] = digest(*derivatives(eta, y, 1.0, *shapes))
    return found


def main(everything: bool) -> None:
    """Print the digests."""
    found: dict[str, dict[str, str]] = {link.name: of_link(link) for link in links.built_in()}
    traced = {}
    for name in sorted(families._DECLARED, key=SOLVED.__contains__):
        family = families.named(name)
        found[name] = of_family(family)
        for link in links.built_in():
            try:
                link.image(family.mean_space)
            except DeclarationError:
                continue
            whole = everything or link == family.link
            found[f"{name} {link.name}"] = of_pair(family, link, whole)
        traced[name] = "pytensor" in sys.modules
    print(json.dumps({"found": found, "traced": traced}))


if __name__ == "__main__":
    main("all" in sys.argv)
