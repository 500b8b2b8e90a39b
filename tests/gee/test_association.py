"""Standard errors of α and φ against the moment equations written out pair by pair."""

from itertools import combinations

import numpy as np
import pytest

import expfam_glm as eg
from tests.gee.trial import fit_of, with_gaps


def custom(alpha, times):
    apart = np.abs(np.subtract.outer(times, times))
    return np.where(apart > 0, alpha[0] * alpha[1] ** apart, 1.0)


def structures():
    """Working correlation, and ρ of (α, s, t)."""
    pairs = list(combinations(range(1, 5), 2))
    return {
        "exchangeable": ("exchangeable", lambda a, s, t: a[0]),
        "ar1": ("ar1", lambda a, s, t: a[0] ** abs(s - t)),
        "toeplitz": ("toeplitz", lambda a, s, t: a[abs(s - t) - 1]),
        "1-dependent": (
            eg.correlation.MDependent(1), lambda a, s, t: a[0] if abs(s - t) == 1 else 0.0
        ),
        "unstructured": (
            "unstructured", lambda a, s, t: a[pairs.index((min(s, t), max(s, t)))]
        ),
        "nested": (
            eg.correlation.Nested("half"), lambda a, s, t: a[int((s > 2) == (t > 2))]
        ),
        "custom": (
            eg.correlation.Custom(custom, [0.5, 0.8], bounds=(0.01, 0.99)),
            lambda a, s, t: a[0] * a[1] ** abs(s - t),
        ),
    }  # fmt: skip


def literal(model, data, tree, rho, ddof):
    """Parts of each cluster in φ̂ and α̂, derivatives by differences."""
    y, X = model.problem.y, model.problem.X
    groups, time = data["patient"].to_numpy(), data["visit"].to_numpy()
    fit = tree["fit"]
    beta, phi = fit["beta"].values, float(fit["phi"])
    alpha = np.atleast_1d(fit["alpha"].values)
    n, p = X.shape
    rows = [np.flatnonzero(groups == g) for g in np.unique(groups)]

    def residuals(b):
        mu = np.exp(X @ b)
        return (y - mu) / np.sqrt(mu)

    def slope(s, t):
        h = 1e-6
        return np.array([
            (rho(alpha + h * e, s, t) - rho(alpha - h * e, s, t)) / (2 * h)
            for e in np.eye(alpha.size)
        ])  # fmt: skip

    pairs = [(k, i, j) for k, own in enumerate(rows) for i, j in combinations(own, 2)]
    weights = np.array([slope(time[i], time[j]) for _, i, j in pairs])
    model_rho = np.array([rho(alpha, time[i], time[j]) for _, i, j in pairs])
    lost = p if ddof == "p" else 0
    binary = np.isin(np.round(weights, 8), (0, 1)).all()
    count = np.rint(weights.sum(axis=0)) if binary else len(pairs)
    gain = count / (count - lost)

    def sums(b, by_cluster=False):
        r = residuals(b)
        product = np.array([r[i] * r[j] for _, i, j in pairs])[:, None] * weights * gain
        if not by_cluster:
            return product.sum(axis=0)
        total = np.zeros((len(rows), alpha.size))
        np.add.at(total, [k for k, _, _ in pairs], product)
        return total

    def derivative(function):
        h = 1e-5
        return np.array([(function(beta + h * e) - function(beta - h * e)) / (2 * h)
                         for e in np.eye(p)])  # fmt: skip

    mu = np.exp(X @ beta)
    bread, scores = np.zeros((p, p)), []
    for own in rows:
        R = np.array([[1.0 if i == j else rho(alpha, time[i], time[j]) for j in own] for i in own])
        V = R * np.sqrt(np.outer(mu[own], mu[own]))
        half = np.linalg.solve(V, X[own] * mu[own][:, None])
        bread += half.T @ (X[own] * mu[own][:, None])
        scores.append(half.T @ (y - mu)[own])
    onto = np.linalg.solve(bread, np.transpose(scores))
    divisor = n if ddof == "geepack" else n - p
    r = residuals(beta)
    own_phi = np.array([np.sum(r[k] ** 2) - k.size * phi * divisor / n for k in rows])
    phi_parts = (own_phi + derivative(lambda b: np.sum(residuals(b) ** 2)) @ onto) / divisor
    parts = sums(beta, by_cluster=True) / phi
    expected = np.zeros_like(parts)
    np.add.at(expected, [k for k, _, _ in pairs], model_rho[:, None] * weights)
    parts = parts - expected + (derivative(sums).T @ onto).T / phi
    parts -= np.outer(phi_parts, sums(beta)) / phi**2
    alpha_parts = parts @ np.linalg.inv(weights.T @ weights)
    return np.sqrt(phi_parts @ phi_parts), np.sqrt(np.sum(alpha_parts**2, axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("ddof", ["none", "p", "geepack"])
@pytest.mark.parametrize("name", list(structures()))
def test_every_structure(name, ddof):
    data = with_gaps().assign(half=lambda d: d["visit"] > 2)
    working, rho = structures()[name]
    formula = "seizures ~ lbase + treatment"
    model = eg.GLM(formula, data, family="poisson")
    tree = fit_of(data, working, formula=formula, ddof=ddof, tol=1e-11)
    found = eg.association(tree, correlation=None if isinstance(working, str) else working)
    se_phi, se_alpha = literal(model, data, tree, rho, ddof)
    assert float(found["se_phi"]) == pytest.approx(se_phi, rel=1e-6)
    np.testing.assert_allclose(np.atleast_1d(found["se_alpha"].values), se_alpha, rtol=1e-5)
    assert found["alpha"].dims == tree["fit"]["alpha"].dims


def test_what_was_given_has_no_standard_error():
    data = with_gaps()
    found = eg.association(fit_of(data, alpha=0.3, phi=4.0))
    assert np.isnan(found["se_phi"])
    assert np.isnan(found["se_alpha"])
    alone = eg.association(fit_of(data, "independence"))
    assert "se_alpha" not in alone
    assert float(alone["se_phi"]) > 0


@pytest.mark.slow
def test_standard_errors_are_those_of_repeated_samples():
    rng = np.random.default_rng(2)
    estimates, errors = [], []
    for _ in range(150):
        e = np.sqrt(0.4) * rng.normal(size=100)[:, None] + np.sqrt(0.6) * rng.normal(size=(100, 4))
        model = eg.GLM.from_arrays(e.reshape(-1), np.ones((400, 1)), family="normal")
        found = eg.association(model.gee(np.repeat(np.arange(100), 4), draws=2))
        estimates.append([float(found["phi"]), float(found["alpha"])])
        errors.append([float(found["se_phi"]), float(found["se_alpha"])])
    np.testing.assert_allclose(np.mean(errors, axis=0), np.std(estimates, axis=0), rtol=0.15)
