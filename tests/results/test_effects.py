"""Effects on the response scale: emmeans, statsmodels, formulas by hand, and what draws say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
import xarray as xr
from scipy import stats

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, DataError
from tests.fabricated import sampled
from tests.references import array, read
from tests.tolerances import DEFAULT, RELATIVE

SEIZURES = eg.load_data("seizures")
BUDWORM = eg.load_data("budworm")
BIRTHS = read("glm")["data"]["birthwt"]


@cache
def fit_of(name: str) -> xr.DataTree:
    if name == "poisson":
        model = eg.GLM("seizures ~ lbase * treatment + age", SEIZURES, family="poisson")
    elif name == "binomial":
        model = eg.GLM("killed ~ sex * log(dose)", BUDWORM, family="binomial", trials="number")
    else:
        trees = read("effects")["data"]["trees"]
        model = eg.GLM("volume ~ poly(girth, 2) + height", trees, family="gamma", link="log")
    return model.fit()


DATA = {"poisson": SEIZURES, "binomial": BUDWORM, "gamma": read("effects")["data"]["trees"]}
GRIDS = {
    "poisson": ("treatment", {"lbase": [0.5] * 3, "age": read("effects")["ages"],
                              "treatment": ["placebo"] * 3}),
    "binomial": ("sex", {"dose": [1, 4, 16], "sex": ["female"] * 3}),
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_averages_over_a_grid_are_those_of_emmeans(name: str) -> None:
    variable, grid = GRIDS[name]
    expected = read("effects")["adjusted"][name]
    means = eg.adjusted_predictions(fit_of(name), variable, newdata=grid)
    assert means["estimate"].dims == (variable,)
    found = {
        "means": means,
        "difference": eg.comparisons(fit_of(name), variable, newdata=grid),
        "lnratio": eg.comparisons(fit_of(name), variable, newdata=grid, comparison="lnratio"),
    }
    for key, table in found.items():
        for quantity in ("estimate", "se"):
            np.testing.assert_allclose(table[quantity], array(expected[key][quantity]),
                                       rtol=RELATIVE, err_msg=f"{key} {quantity}")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "variable"),
    [("poisson", "lbase"), ("poisson", "age"), ("binomial", "dose"), ("gamma", "girth")],
)
def test_derivatives_are_those_of_formulas_by_hand(name: str, variable: str) -> None:
    expected = read("effects")["slopes"][name][variable]
    found = eg.marginal_effects(fit_of(name), variable, newdata=DATA[name])
    assert found["contrast"].values.tolist() == ["dY/dX"]
    assert found["estimate"].item() == pytest.approx(expected["estimate"], rel=RELATIVE)
    assert found["se"].item() == pytest.approx(expected["se"], rel=RELATIVE)


def test_any_covariance_of_the_tree() -> None:
    tree = fit_of("poisson").copy()
    fit = tree["fit"].to_dataset()
    robust = xr.DataArray(
        array(read("effects")["robust"])[None],
        dims=("cov_type", "coef", "coef2"),
        coords={"cov_type": ["HC0"]},
    )
    both = xr.concat([fit["covariance"], robust], "cov_type")
    tree["fit"] = fit.drop_dims("cov_type").assign(covariance=both)
    expected = read("effects")["slopes"]["robust"]["lbase"]
    found = eg.marginal_effects(tree, "lbase", cov_type="HC0")
    assert found["se"].item() == pytest.approx(expected["se"], rel=RELATIVE)
    assert found.attrs["cov_type"] == "HC0"
    for function in (eg.comparisons, eg.adjusted_predictions):
        how = {"treatment": None}
        se = {name: function(tree, how, cov_type=name)["se"] for name in ("fisher", "HC0")}
        assert not np.allclose(se["fisher"], se["HC0"])


@pytest.mark.slow
@pytest.mark.parametrize("link", ["logit", "probit"])
def test_statsmodels_with_factors_by_contrasts(link: str) -> None:
    model = eg.GLM("low ~ age + lwt + smoke", BIRTHS, family="binomial", link=link)
    flags = BIRTHS | {"smoke": np.array(BIRTHS["smoke"]) == 1}
    flagged = eg.GLM("low ~ age + lwt + smoke", flags, family="binomial", link=link)
    X = sm.add_constant(np.column_stack([BIRTHS[name] for name in ("age", "lwt", "smoke")]))
    theirs = {"logit": sm.Logit, "probit": sm.Probit}[link](np.array(BIRTHS["low"]), X)
    results = theirs.fit(disp=0, tol=1e-14, method="newton", maxiter=50)
    for own, dummy in ((model, False), (flagged, True)):
        expected = results.get_margeff(dummy=dummy)
        found = eg.marginal_effects(own.fit(tol=1e-12, information="observed"))
        np.testing.assert_allclose(found["estimate"], expected.margeff, rtol=1e-7)
        np.testing.assert_allclose(found["se"], expected.margeff_se, rtol=1e-7)
        np.testing.assert_allclose(found["p_value"], expected.pvalues, rtol=1e-6)
    assert found["effect"].values.tolist() == ["age", "lwt", "smoke: True - False"]


def test_single_rows_and_groups_average_to_the_whole() -> None:
    tree = fit_of("poisson")
    rows = eg.marginal_effects(tree, "lbase", average=False)["estimate"][0]
    assert rows.dims == ("obs_id",) and rows.size == 236
    treated = np.array(SEIZURES["treatment"]) == "progabide"
    by = eg.marginal_effects(tree, "lbase", by="treatment")["estimate"]
    assert by.dims == ("effect", "treatment")
    expected = [rows[~treated].mean(), rows[treated].mean()]
    np.testing.assert_allclose(by[0], expected, rtol=DEFAULT)
    weights = np.arange(236.0)
    whole = eg.marginal_effects(tree, "lbase", weights=weights)["estimate"].item()
    assert whole == pytest.approx(np.average(rows, weights=weights), rel=DEFAULT)
    eta = eg.predict(tree, kind="link")["estimate"].values
    slope = tree["fit"]["beta"].sel(coef="lbase").item()
    slope += treated * tree["fit"]["beta"].sel(coef="lbase:treatment[progabide]").item()
    np.testing.assert_allclose(rows, slope * np.exp(eta), rtol=DEFAULT)


def test_combinations_without_a_row_are_nan() -> None:
    data = {"y": [1, 2, 4, 3], "x": [0.0, 1.0, 2.0, 3.0], "g": list("aabb"), "h": list("uvvv")}
    tree = eg.GLM("y ~ x", data, family="poisson").fit()
    found = eg.adjusted_predictions(tree, newdata=data, by=["g", "h"])["estimate"]
    assert found.dims == ("g", "h")
    assert np.isnan(found.sel(g="b", h="u")) and np.isfinite(found).sum() == 3
    assert found.sel(g="a", h="v").item() == eg.predict(tree)["estimate"].values[1]


def test_what_is_compared() -> None:
    tree, data = fit_of("poisson"), SEIZURES
    age = np.array(data["age"], dtype=float)
    beta = tree["fit"]["beta"].sel(coef="age").item()
    mu = eg.predict(tree)["estimate"].values

    def average(to: Any) -> float:
        return float(np.mean(mu * np.exp(beta * (to - age))))

    q1, q3 = np.quantile(age, [0.25, 0.75])
    sd = age.std(ddof=1)
    for how, text, low, high in (
        (None, "+1", age, age + 1),
        (10, "+10", age, age + 10),
        ((30, 40), "40 - 30", 30, 40),
        ("sd", "(x + sd/2) - (x - sd/2)", age - sd / 2, age + sd / 2),
        ("iqr", "Q3 - Q1", q1, q3),
        ("minmax", "Max - Min", age.min(), age.max()),
    ):
        found = eg.comparisons(tree, {"age": how})
        assert found["effect"].values.tolist() == [f"age: {text}"]
        assert found["estimate"].item() == pytest.approx(average(high) - average(low), rel=DEFAULT)
    h, l = average(age + 1), average(age)  # noqa: E741
    for name, value in (
        ("ratio", h / l), ("lnratio", np.log(h / l)), ("lift", h / l - 1), ("difference", h - l),
    ):  # fmt: skip
        found = eg.comparisons(tree, "age", comparison=name)
        assert found["estimate"].item() == pytest.approx(value, rel=RELATIVE)
        assert found.attrs["comparison"] == name


@pytest.mark.parametrize("comparison", ["difference", "ratio", "lnratio", "lift", "lnor"])
def test_gradients_are_those_of_small_changes_of_the_coefficients(comparison: str) -> None:
    tree = fit_of("binomial")
    found = eg.comparisons(tree, {"dose": (2, 8)}, comparison=comparison, by="sex", newdata=BUDWORM)
    V = tree["fit"]["covariance"].values[0]
    moved = tree.copy(deep=True)
    gradient = np.empty((2, 4))
    for j in range(4):
        values = []
        for h in (1e-4, -1e-4):
            step = np.eye(4)[j] * h
            moved["fit"]["beta"] = tree["fit"]["beta"] + step
            again = eg.comparisons(moved, {"dose": (2, 8)}, comparison=comparison, by="sex",
                                   newdata=BUDWORM)  # fmt: skip
            values.append(again["estimate"].values[0])
        gradient[:, j] = (values[0] - values[1]) / 2e-4
    expected = np.sqrt(np.einsum("gi,ij,gj->g", gradient, V, gradient))
    np.testing.assert_allclose(found["se"][0], expected, rtol=1e-6)  # of central differences


def test_levels_are_compared_as_asked() -> None:
    quine = eg.load_data("quine")
    tree = eg.GLM("days ~ age + sex", quine, family="quasi_poisson").fit()
    expected = {
        "reference": ["F1 - F0", "F2 - F0", "F3 - F0"],
        "sequential": ["F1 - F0", "F2 - F1", "F3 - F2"],
        "pairwise": ["F1 - F0", "F2 - F0", "F3 - F0", "F2 - F1", "F3 - F1", "F3 - F2"],
        ("F3", "F1"): ["F1 - F3"],
    }
    levels = eg.adjusted_predictions(tree, "age")["estimate"]
    for how, texts in expected.items():
        found = eg.comparisons(tree, {"age": how})
        assert found["contrast"].values.tolist() == texts
        for text, value in zip(texts, found["estimate"].values, strict=True):
            high, low = text.split(" - ")
            exact = levels.sel(age=high) - levels.sel(age=low)
            assert value == pytest.approx(exact.item(), rel=DEFAULT)
    t = eg.comparisons(tree, {"age": ("F0", "F3")}, ci_prob=0.95)
    assert t["interval"].shape == (1, 2)
    by_default = eg.marginal_effects(tree)
    assert by_default["variable"].values.tolist() == ["age"] * 3 + ["sex"]


def test_on_the_linear_predictor_effects_are_coefficients() -> None:
    tree = fit_of("poisson")
    found = eg.marginal_effects(tree, "age", kind="link")
    beta = tree["fit"].to_dataset().sel(coef="age")
    assert found["estimate"].item() == pytest.approx(beta["beta"].item(), rel=RELATIVE)
    assert found["se"].item() == pytest.approx(beta["se"].item(), rel=RELATIVE)
    rebuilt = eg.comparisons(tree, {"age": (30, 40)}, kind="link")["estimate"].item()
    assert rebuilt == pytest.approx(10 * beta["beta"].item(), rel=RELATIVE)


def test_exposure_and_offsets_go_along() -> None:
    ships = eg.load_data("ships")
    model = eg.GLM("incidents ~ type + period", ships, family="poisson", exposure="service")
    tree = model.fit()
    with pytest.raises(DataError, match="exposure='service', and the new data have no column"):
        eg.adjusted_predictions(tree, "type", newdata={"type": ["A"], "period": [60]})
    per_month = eg.adjusted_predictions(tree, "type", newdata=ships, exposure=1.0)["estimate"]
    own = eg.adjusted_predictions(tree, "type")["estimate"]
    given = eg.adjusted_predictions(tree, "type", newdata=ships)["estimate"]
    np.testing.assert_allclose(own, given, rtol=DEFAULT)
    assert (own / per_month > 100).all()
    inside = eg.GLM("incidents ~ period + offset(log(service))", ships, family="poisson").fit()
    by_period = eg.marginal_effects(inside, "period", newdata=ships)["estimate"].item()
    mu, beta = eg.predict(inside)["estimate"], inside["fit"]["beta"].values[1]
    assert by_period == pytest.approx(float(np.mean(mu) * beta), rel=RELATIVE)
    with pytest.raises(ArgumentError, match=r"offset\(\); pass newdata="):
        eg.marginal_effects(inside)


def test_splines_at_the_ends_of_their_range_and_logarithms_near_zero() -> None:
    x = np.array([0.01, 0.5, 1.0, 2.0, 3.0, 10.0])
    data = {"y": [1.0, 2.0, 2.5, 4.0, 3.0, 6.0], "x": x}
    logs = eg.GLM("y ~ log(x)", data, family="normal").fit()
    slopes = eg.marginal_effects(logs, average=False, newdata=data)["estimate"][0]
    np.testing.assert_allclose(slopes, logs["fit"]["beta"].values[1] / x, rtol=RELATIVE)
    cubic = eg.GLM("y ~ bs(x, df=3)", data, family="normal").fit()  # one cubic on the whole range
    powers = eg.GLM("y ~ x + I(x**2) + I(x**3)", data, family="normal").fit()
    for tree in (cubic, powers):
        found = eg.marginal_effects(tree, average=False, newdata=data)["estimate"][0]
        b = powers["fit"]["beta"].values
        np.testing.assert_allclose(found, b[1] + 2 * b[2] * x + 3 * b[3] * x**2, rtol=1e-7)


# ---- draws -----------------------------------------------------------------------------------


def of_arrays(tree: xr.DataTree) -> xr.DataTree:
    """A made-up tree with a design of four columns."""
    tree.attrs |= {
        "design": '{"formula": null, "roles": {}, "labels": ["one", "age", "b", "c"]}',
        "family_digest": eg.families.poisson.digest,
        "link_digest": eg.links.log.link.digest,
        "link": "log",
        "family": "poisson",
    }
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(9), rng.uniform(20, 40, 9), rng.integers(0, 2, (9, 2))])
    tree["constant_data"] = xr.Dataset(
        {"X": (("obs_id", "coef"), X)}, {"obs_id": np.arange(9), "coef": tree["posterior"]["coef"]}
    )
    return tree


def test_a_posterior_gives_moments_and_quantiles_of_its_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = of_arrays(sampled(labels=("one", "age", "b", "c")))
    X, beta = tree["constant_data"]["X"].values, tree["posterior"]["beta"].values.reshape(-1, 4)
    monkeypatch.setattr("expfam_glm.results.averages.ENTRIES", 8000)
    slope = eg.marginal_effects(tree, "age", ci_prob=0.8)
    draws = (np.exp(X @ beta.T) * beta[:, 1]).mean(axis=0)
    assert set(slope.data_vars) == {"estimate", "se", "interval"}
    assert slope["estimate"].item() == pytest.approx(draws.mean(), rel=DEFAULT)
    assert slope["se"].item() == pytest.approx(draws.std(ddof=1), rel=DEFAULT)
    np.testing.assert_allclose(slope["interval"][0], np.quantile(draws, [0.1, 0.9]), rtol=DEFAULT)
    high, low = X.copy(), X.copy()
    high[:, 2], low[:, 2] = 1, 0
    ratio = np.exp(high @ beta.T).mean(axis=0) / np.exp(low @ beta.T).mean(axis=0)
    found = eg.comparisons(tree, {"b": (0, 1)}, comparison="ratio")
    assert found["estimate"].item() == pytest.approx(ratio.mean(), rel=DEFAULT)
    assert eg.marginal_effects(tree, "age", kind="link")["se"].item() == pytest.approx(
        beta[:, 1].std(ddof=1), rel=DEFAULT
    )


def test_normal_draws_of_a_fit_agree_with_the_delta_method() -> None:
    exact = eg.marginal_effects(fit_of("poisson"), "lbase")
    tree = fit_of("poisson")
    drawn = xr.DataTree.from_dict({"/": xr.Dataset(attrs=tree.attrs)})
    for name in ("posterior", "constant_data", "observed_data"):
        drawn[name] = tree[name]
    found = eg.marginal_effects(drawn, "lbase")
    assert found["se"].item() == pytest.approx(exact["se"].item(), rel=0.05)  # 4000 draws


# ---- data and refusals ---------------------------------------------------------------------------


def test_the_data_of_the_fit_are_read_back(tmp_path: Path) -> None:
    formula = "seizures ~ lbase * treatment + age + C(visit)"
    tree = eg.GLM(formula, SEIZURES, family="poisson").fit()
    tree.to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as again:
        own, given = eg.marginal_effects(again), eg.marginal_effects(tree, newdata=SEIZURES)
    assert own["effect"].equals(given["effect"])
    assert own["effect"].values.tolist()[-3:] == [f"visit: {k} - 1" for k in (2, 3, 4)]
    for name in ("estimate", "se", "p_value"):
        np.testing.assert_allclose(own[name], given[name], rtol=RELATIVE)
    table = pl.DataFrame({name: np.asarray(SEIZURES[name]) for name in SEIZURES})
    np.testing.assert_allclose(eg.marginal_effects(tree, newdata=table)["se"], given["se"])


def test_variables_that_the_tree_does_not_hold_are_asked_for() -> None:
    with pytest.raises(ArgumentError, match="does not hold the values of 'dose' themselves; pass"):
        eg.marginal_effects(fit_of("binomial"))


@pytest.mark.parametrize(
    ("function", "variables", "options", "message"),
    [
        (
            "marginal_effects",
            "weight",
            {},
            "which is not on the right side .* 'lbase', 'treatment'",
        ),
        ("marginal_effects", [], {}, "no variable"),
        ("marginal_effects", None, {"kind": "response"}, "kind='response' is not known"),
        ("marginal_effects", None, {"average": False, "by": "age"}, "are for averages"),
        ("comparisons", "age", {"comparison": "odds"}, "comparison='odds' is not known"),
        ("comparisons", "age", {"comparison": "ratio", "kind": "link"}, "goes with comparison='d"),
        ("comparisons", {"age": "big"}, {}, r"variables\['age'\]='big': a number is compared at"),
        ("comparisons", {"treatment": "up"}, {}, "levels are compared as one of 'reference'"),
        ("comparisons", {"treatment": ("a", "b")}, {}, "'treatment' has no level 'b'|no level 'a'"),
        ("adjusted_predictions", "age", {}, "'age' is a number: say to which values"),
        ("adjusted_predictions", {"age": ["old"]}, {}, "'age' holds numbers and cannot be set to"),
        ("adjusted_predictions", "treatment", {"by": "treatment"}, "is set to values and in by="),
    ],
)
def test_impossible_calls_are_refused(
    function: str, variables: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        getattr(eg, function)(fit_of("poisson"), variables, **options)


def test_impossible_data_are_refused() -> None:
    tree = fit_of("poisson")
    for weights, message in ((np.ones(3), "shape"), (-np.ones(236), "must not be negative")):
        with pytest.raises(DataError, match=message):
            eg.marginal_effects(tree, weights=weights)
    with pytest.raises(DataError, match="by 'clinic' is not in the data"):
        eg.marginal_effects(tree, by="clinic")
    with pytest.raises(ArgumentError, match="must be a data frame with the variables"):
        eg.marginal_effects(tree, newdata=np.ones((3, 2)))


def test_ratios_are_tested_against_one() -> None:
    model = eg.GLM("low ~ age + lwt + smoke", BIRTHS, family="binomial")
    tree = model.fit()
    for name, null in (("ratio", 1.0), ("lift", 0.0), ("lnratio", 0.0), ("lnor", 0.0)):
        found = eg.comparisons(tree, "smoke", comparison=name)
        z = (found["estimate"] - null) / found["se"]
        np.testing.assert_allclose(found["statistic"], z, rtol=1e-12)
        np.testing.assert_allclose(found["p_value"], 2 * stats.norm.sf(np.abs(z)), rtol=1e-9)
    # lift = ratio − 1: the same test
    ratio, lift = (eg.comparisons(tree, "smoke", comparison=name) for name in ("ratio", "lift"))
    np.testing.assert_allclose(ratio["p_value"], lift["p_value"], rtol=1e-9)


@pytest.mark.parametrize("comparison", ["lnratio", "lnor"])
def test_comparisons_that_do_not_exist(comparison: str) -> None:
    data = {"y": [-5.0, -3, -1.5, 0, -1, 2], "x": [0.0, 1, 2, 3, 4, 5]}
    tree = eg.GLM("y ~ x", data, family="normal").fit()
    with pytest.raises(ArgumentError, match=r"x: \+1: the average means of the family 'normal'"):
        eg.comparisons(tree, {"x": 1}, comparison=comparison)
