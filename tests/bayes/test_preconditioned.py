"""β = β̂ + Lz as a transform of PyMC: the same posterior, in coordinates that are nearly N(0, I)."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy import stats

import expfam_glm as eg
from expfam_glm.bayes.preconditioned import Whitened
from expfam_glm.bayes.prior import Prior
from expfam_glm.bayes.priors import apply
from expfam_glm.bayes.sample import _adaptation

QUICK = Mode(linker="py", optimizer="fast_compile")
SAME = 1e-10


def model_of(**columns: np.ndarray) -> eg.GLM:
    """Counts on two columns of very different size, nearly collinear with the intercept."""
    rng = np.random.default_rng(4)
    x = 100 + rng.normal(size=60)
    data = {"x": x, "z": 1e-3 * rng.normal(size=60), "y": rng.poisson(np.exp(0.5 * (x - 100)))}
    return eg.GLM("y ~ x + z", data | columns, family="poisson")


def test_forward_undoes_backward_and_the_jacobian_is_that_of_the_density() -> None:
    rng = np.random.default_rng(1)
    covariance = np.cov(rng.normal(size=(3, 9)))
    transform = Whitened(np.array([1.0, -2.0, 30.0]), covariance)
    z = pt.vector("z")
    beta = transform.backward(z)
    at = rng.normal(size=3)
    parts = [beta, transform.forward(beta), transform.log_jac_det(z)]
    value, again, jacobian = (part.eval({z: at}, mode=QUICK) for part in parts)
    np.testing.assert_allclose(again, at, rtol=SAME)
    law = stats.multivariate_normal(transform.centre, covariance)
    expected = stats.norm.logpdf(at).sum() - law.logpdf(value)
    assert jacobian.shape == (3,) and jacobian.sum() == pytest.approx(expected, rel=SAME)


@pytest.mark.slow
@pytest.mark.parametrize(
    "priors", ["default", "flat", {"x": Prior("StudentT", nu=4, mu=0, sigma=1)}]
)
def test_the_density_is_that_of_the_plain_model(priors: object) -> None:
    """log p(z) = log p(β) + log |L|, and its curvature at the mode is the identity, nearly."""
    model = model_of()
    plain, moved = model.to_pymc(priors), model.to_pymc(priors, whitened=True)
    transforms = {v.name: moved.rvs_to_transforms[v] for v in moved.free_RVs}
    assert {v.name for v in plain.free_RVs} == set(transforms)
    rng = np.random.default_rng(2)
    of_plain = plain.compile_logp(mode=QUICK)
    of_moved = moved.compile_logp(mode=QUICK)
    for _ in range(3):
        z = {name: rng.normal(size=t.centre.size) for name, t in transforms.items()}
        beta = {name: t.centre + t.root @ z[name] for name, t in transforms.items()}
        level = sum(np.log(t.root.diagonal()).sum() for t in transforms.values())
        found = of_moved({f"{name}_whitened__": value for name, value in z.items()})
        assert found == pytest.approx(of_plain(beta) + level, rel=SAME)
    if set(transforms) == {"beta"}:
        for _ in range(3):
            step = rng.normal(size=3)
            step *= 0.05 / np.linalg.norm(step)
            around = [of_moved({"beta_whitened__": k * step}) for k in (-1, 0, 1)]
            assert -np.diff(around, 2)[0] / 0.05**2 == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_bounded_coefficients_stay_as_they_are() -> None:
    model = model_of().to_pymc({"z": pm.HalfNormal.dist(1000.0)}, whitened=True)
    kinds = {v.name: type(model.rvs_to_transforms[v]).__name__ for v in model.free_RVs}
    assert sorted(kinds.values()) == ["LogTransform", "Whitened"]


@pytest.mark.slow
def test_a_users_extension_samples_in_few_steps() -> None:
    """Columns like these take trees of depth 8 and more where the sampler moves in β."""
    with model_of().to_pymc(whitened=True) as model:
        pm.Potential("more", -0.5 * (model["beta"][1] - 0.5) ** 2)
        tree = pm.sample(
            draws=400, tune=400, chains=2, cores=1, random_seed=1, progressbar=False,
            compute_convergence_checks=False,
        )  # fmt: skip
    assert int(tree["sample_stats"]["depth"].max()) <= 4
    assert tree["posterior"]["beta"].dims == ("chain", "draw", "coef")


@pytest.mark.parametrize(
    ("priors", "chosen", "draws"),
    [
        ("default", "kernels", 200),
        ("default", "graph", 400),
        ("default", "pymc", 1000),
        ({"z": pm.HalfNormal.dist(1.0)}, "graph", 1000),
        (Prior("Horseshoe", nonzero=1), "kernels", 1000),
        (Prior("Horseshoe", nonzero=1), "graph", 1000),
    ],
)
def test_adaptation_is_short_where_all_coordinates_are_whitened(priors, chosen, draws) -> None:
    problem = model_of().problem
    assert _adaptation(problem, apply(problem, priors), chosen) == draws
