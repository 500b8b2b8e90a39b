"""Tests of hypotheses, analyses of deviance and profile intervals against R."""

import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.errors import ArgumentError, FitWarning, RankError, ResultError
from expfam_glm.results.contrasts import contrasts_of
from tests.problems import problem
from tests.references import array, cases, model_of
from tests.tolerances import RELATIVE

CASES = cases("hypotheses")
TIGHT = {"tol": 1e-11, "draws": 10, "chains": 2}
LABELS = ("Intercept", "age", "age2", "C(g)[b, c]", "age:C(g)[b, c]", "poly(x, 2)[1]", "x-y")


def fit_of(case, **options):
    return model_of("hypotheses", case).fit(**TIGHT, **options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_hypotheses_agree_with_r(case):
    tree = fit_of(case)
    for test, expected in case["tests"].items():
        found = eg.hypotheses(tree, case["hypothesis"], test=test)
        assert found.df == case["df"]
        assert found.df_denominator == (case["df_denominator"] or np.inf)
        # a p-value in the tail changes by the statistic's own error times its size
        in_tail = RELATIVE * max(1.0, found.statistic * found.df)
        assert found.statistic == pytest.approx(expected["statistic"], rel=RELATIVE), test
        assert found.p_value == pytest.approx(expected["p_value"], rel=in_tail), test
    if case["htz"] is not None:
        robust = fit_of(case, cov=["fisher", "CR2"], groups=case["groups"])
        found = eg.hypotheses(robust, case["hypothesis"], cov_type="CR2")
        expected = case["htz"]
        for name in ("statistic", "df_denominator", "p_value"):
            assert getattr(found, name) == pytest.approx(expected[name], rel=RELATIVE)
        np.testing.assert_allclose(found.table["df"], expected["each"], rtol=RELATIVE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_sequential_table_agrees_with_r(case):
    expected = case["sequential"]
    tree = fit_of(case)
    table = eg.deviance_table(tree).table
    for name in ("deviance", "df_residual"):
        np.testing.assert_allclose(table[name], array(expected[name]), rtol=RELATIVE)
    df = array(expected["df"])
    np.testing.assert_allclose(table["df"].iloc[1:], df)
    per = df if case["df_denominator"] else 1
    size = expected["deviance"][0]
    np.testing.assert_allclose(
        table["statistic"].iloc[1:], array(expected["change"]) / expected["phi"] / per,
        rtol=RELATIVE, atol=1e-10 * size / expected["phi"],
    )  # fmt: skip
    np.testing.assert_allclose(
        eg.deviance_table(tree, test="score").table["statistic"].iloc[1:],
        array(expected["score"]) / expected["phi"] / per, rtol=RELATIVE,
    )  # fmt: skip


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["intervals"] is not None], ids=lambda case: case["id"]
)
def test_profile_intervals_agree_with_r(case):
    tree = fit_of(case)
    found = eg.profile(tree, ci_prob=0.95)
    assert found["coef"].values.tolist() == case["coef"]
    gap = (found["interval"].values - array(case["intervals"])) / found["se"].values[:, None]
    # R's root of the deviance is known to √ of its rounding
    assert np.max(np.abs(gap)) < 1e-7
    level = found.attrs["level"]
    # the stored profile is increasing, 0 at the estimate, and reaches beyond the level
    root = found["root"].values
    assert np.all(np.diff(root, axis=1) > 0)
    assert np.all(root[:, 0] < -level) and np.all(root[:, -1] > level)


def test_profile_inverts_the_likelihood_ratio():
    p = problem("zero_truncated_poisson")
    family = p.family
    tree = eg.GLM.from_arrays(p.y, p.X, family=family, labels=["one", "x"]).fit()
    found = eg.profile(tree, family=family)
    for end in found["interval"].sel(coef="x").values:
        lr = eg.hypotheses(tree, [[0, 1]], rhs=[end], test="lr", family=family)
        assert lr.p_value == pytest.approx(1 - found.attrs["ci_prob"], rel=1e-7)
    with pytest.raises(ArgumentError, match="pass it as family="):
        eg.profile(tree)


def test_wald_without_the_model_from_a_file(tmp_path):
    import xarray as xr

    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
    tree = model.fit(cov=["CR2", "fisher", "HC3", "CR0", "HAC"], groups="patient", time="visit")
    tree.to_netcdf(tmp_path / "tree.nc")
    again = xr.open_datatree(tmp_path / "tree.nc")
    text = "age = 0.02, lbase = 1"
    for options in ({}, {"cov_type": "fisher", "test": "lr"}, {"cov_type": "HC3"},
                    {"cov_type": "CR0", "test": "score"}, {"cov_type": "CR2", "test": "score"},
                    {"cov_type": "HAC", "test": "score"},
                    {"cov_type": "fisher", "test": "score"}):  # fmt: skip
        first, second = (eg.hypotheses(t, text, **options) for t in (tree, again))
        assert first.statistic == pytest.approx(second.statistic, rel=1e-12)
        assert 0 < first.p_value < 1
    np.testing.assert_allclose(eg.profile(tree)["interval"], eg.profile(again)["interval"])


def test_robust_score_is_near_the_robust_wald_test():
    """Both are quadratic forms of the same sandwich, at the two ends of the same path."""
    quine = eg.load_data("quine")
    tree = eg.GLM("days ~ sex + ethnicity", quine, family="poisson").fit(cov=["HC0", "fisher"])
    estimate = float(tree["fit"]["beta"].sel(coef="sex[M]"))
    near = estimate + 1e-4
    wald, score = (eg.hypotheses(tree, f"sex[M] = {near}", test=t).statistic
                   for t in ("wald", "score"))  # fmt: skip
    assert score == pytest.approx(wald, rel=1e-2)
    fisher = eg.hypotheses(tree, f"sex[M] = {near}", cov_type="fisher", test="score").statistic
    assert fisher > 3 * score


def test_gee_trees_have_wald_tests():
    seizures = eg.load_data("seizures")
    tree = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson").gee("patient")
    found = eg.hypotheses(tree, "age = 0", cov_type="naive")
    assert found.statistic == pytest.approx(float(found.table["statistic"].iloc[0]) ** 2)
    for call in (lambda: eg.hypotheses(tree, "age", test="lr"), lambda: eg.profile(tree)):
        with pytest.raises(ResultError, match="tree of fit"):
            call()


def test_nested_models():
    budworm = eg.load_data("budworm")
    roles = {"family": "binomial", "trials": "number"}
    small, large, other = (
        eg.GLM(f"killed ~ {right}", budworm, **roles).fit(**TIGHT)
        for right in ("log(dose)", "sex * log(dose)", "sex")
    )
    for test in ("lr", "score"):
        table = eg.deviance_table({"small": small, "large": large}, test=test).table
        joint = eg.hypotheses(large, "sex[male] = 0, sex[male]:log(dose) = 0", test=test)
        assert table["statistic"].iloc[1] == pytest.approx(joint.statistic, rel=1e-8)
        assert table["p_value"].iloc[1] == pytest.approx(joint.p_value, rel=1e-8)
    with pytest.raises(ResultError, match="'model 1' is not nested in 'model 2'"):
        eg.deviance_table([other, small])
    with pytest.raises(ResultError, match="not nested"):
        eg.deviance_table([large, small])
    probit = eg.GLM("killed ~ sex * log(dose)", budworm, link="probit", **roles).fit()
    with pytest.raises(ResultError, match="differ in the link"):
        eg.deviance_table([small, probit])
    fewer = eg.GLM("killed ~ log(dose)", budworm.head(8), **roles).fit()
    with pytest.raises(ResultError, match="differ in the response"):
        eg.deviance_table([fewer, large])


def test_aliased_terms_take_no_degrees_of_freedom():
    from expfam_glm.errors import AliasWarning

    quine = eg.load_data("quine")
    with pytest.warns(AliasWarning):
        tree = eg.GLM("days ~ age * learner", quine, family="poisson").fit()
    table = eg.deviance_table(tree).table
    assert table["df"].iloc[1:].tolist() == [3, 1, 2]
    aliased = str(tree["fit"]["coef"].values[np.isnan(tree["fit"]["beta"].values)][0])
    with pytest.raises(ArgumentError, match="aliased"):
        eg.hypotheses(tree, f"{aliased} = 0")
    assert aliased not in eg.profile(tree)["coef"].values


def test_a_model_without_intercept():
    clotting = eg.load_data("clotting")
    tree = eg.GLM("time ~ 0 + C(lot) + log(u)", clotting, family="normal").fit()
    table = eg.deviance_table(tree).table
    assert table.index.tolist() == ["none", "C(lot)", "log(u)"]
    y = clotting["time"].to_numpy(float)
    assert table["deviance"].iloc[0] == pytest.approx(np.sum(y**2))


@pytest.mark.parametrize(
    ("text", "C", "r"),
    [
        ("age = 1.5", [[0, 1, 0, 0, 0, 0, 0]], [1.5]),
        ("age2", [[0, 0, 1, 0, 0, 0, 0]], [0]),
        ("age = age2 = 0", [[0, 1, -1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]], [0, 0]),
        ("C(g)[b, c] = 2*age:C(g)[b, c] - 1e-1",
         [[0, 0, 0, 1, -2, 0, 0]], [-0.1]),
        ("poly(x, 2)[1]=0,x-y = 3 ; -age+ 2 age2*3 = .5",
         [[0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0, -1, 6, 0, 0, 0, 0]], [0, 3, 0.5]),
        (["age = 0", "age2 = 0"], [[0, 1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]], [0, 0]),
        ("2 + age = 3 * 2", [[0, 1, 0, 0, 0, 0, 0]], [4]),
    ],
)  # fmt: skip
def test_hypotheses_are_read_by_label(text, C, r):
    found = contrasts_of(text, LABELS)
    np.testing.assert_allclose(found.C, C)
    np.testing.assert_allclose(found.r, r)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("agge = 0", ArgumentError, "did you mean 'age'"),
        ("age = ", ArgumentError, "at 'the end'"),
        ("age ** 2 = 0", ArgumentError, "should stand"),
        ("agex = 0", ArgumentError, "at 'agex'"),
        ("", ArgumentError, "should stand"),
        ([], ArgumentError, "no hypothesis"),
        ("age = 0, 2*age = 1", RankError, "follows from the earlier"),
        ("2 = 3", RankError, "says nothing"),
        ([[1.0, 2.0]], ArgumentError, "one column for each of the 7"),
        ("age, age2 = x", ArgumentError, "at 'x'"),
        ([[np.nan] * 7], ArgumentError, "finite"),
        (3, ArgumentError, "must be text"),
    ],
)
def test_unreadable_hypotheses(text, error, message):
    with pytest.raises(error, match=message):
        contrasts_of(text, LABELS)


def test_levels_with_colons_and_reference_levels():
    levels = ["1st: x", "2nd: y", "3rd z: w"]
    data = {"y": [1, 2, 3, 4, 5, 7], "region": levels * 2}
    tree = eg.GLM("y ~ region", data, family="poisson").fit()
    gap = eg.hypotheses(tree, "region[2nd: y] = region[3rd z: w]").table["estimate"].iloc[0]
    assert gap == pytest.approx(np.log(7 / 10), rel=1e-8)
    with pytest.raises(ArgumentError, match="'1st: x' is the reference level of region"):
        eg.hypotheses(tree, "region[1st: x] = 0")
    with pytest.raises(ArgumentError, match="begins with no level of region"):
        eg.hypotheses(tree, "region[4th] = 0")


def test_another_shape_names_the_family_of_the_fit():
    family = eg.families.negative_binomial(0.748338)
    tree = eg.GLM("y ~ 1", {"y": [0, 3, 9, 1]}, family=family).fit()
    call = r"expfam_glm\.families\.negative_binomial\(alpha=0\.748338\)"
    with pytest.raises(ArgumentError, match=call):
        eg.deviance_table(tree, family="negative_binomial")


@pytest.mark.slow
def test_an_estimated_shape_is_held_in_wald_tests():
    quine = eg.load_data("quine")
    tree = eg.GLM("days ~ sex + age", quine, family="negative_binomial").fit(
        cov=["CR2", "fisher"], groups=np.arange(len(quine)) // 2
    )
    alpha = float(tree["fit"]["alpha"])
    held = eg.GLM("days ~ sex + age", quine, family=eg.families.negative_binomial(alpha)).fit(
        cov="CR2", groups=np.arange(len(quine)) // 2
    )
    first, second = (eg.hypotheses(t, "age[F1] = age[F2] = 0") for t in (tree, held))
    assert first.df_denominator == pytest.approx(second.df_denominator, rel=1e-6)


def test_refusals():
    seizures = eg.load_data("seizures")
    model = eg.GLM("seizures ~ lbase + age", seizures, family="poisson")
    tree = model.fit(cov="HC0")
    with pytest.raises(ArgumentError, match="test='rao'"):
        eg.hypotheses(tree, "age", test="rao")
    with pytest.raises(ArgumentError, match="no HC0 covariance"):
        eg.hypotheses(tree, "age", test="lr")
    with pytest.raises(ArgumentError, match="cov_type='HC3'"):
        eg.hypotheses(tree, "age", cov_type="HC3")
    with pytest.raises(ArgumentError, match="goes with a matrix"):
        eg.hypotheses(tree, "age", rhs=[1])
    with pytest.raises(ArgumentError, match="'size' is not among"):
        eg.profile(tree, coefs=["size"])
    with pytest.raises(ResultError, match="takes a DataTree"):
        eg.hypotheses(model, "age")
    sampled = eg.GLM("seizures ~ lbase", seizures, family="poisson", sampling_weights="age").fit()
    with pytest.raises(ResultError, match="sampling weights"):
        eg.hypotheses(sampled, "lbase", test="score")
    with pytest.raises(ResultError, match="sampling weights"):
        eg.profile(sampled)
    few = "lbase = 0, age = 0, Intercept = 0"
    with pytest.warns(FitWarning, match="do not carry"):
        clustered = model.fit(cov="CR0", groups=seizures["age"].to_numpy() > 30)
    with pytest.raises(ResultError, match="singular"):
        eg.hypotheses(clustered, few)


@pytest.mark.slow
def test_a_profile_stops_where_the_domain_of_the_link_ends():
    """Under the identity link the rate of "b" cannot fall below zero, where its likelihood is."""
    data = {"y": [3, 5, 4, 6, 0, 1, 0, 0], "group": list("aaaabbbb")}
    tree = eg.GLM("y ~ 0 + group", data, family="poisson", link="identity").fit()
    found = eg.profile(tree, ci_prob=0.95)
    # −2{ℓ(m) − ℓ(1/4)} = 2{4m − log 4m − 1} is 3.84 on both sides of 1/4, and steep at 0
    ends = 4 * found["interval"].sel(coef="group[b]").values
    np.testing.assert_allclose(2 * (ends - np.log(ends) - 1), found.attrs["level"] ** 2, rtol=1e-9)
    data = {"y": [1, 0, 2, 3, 2, 5, 4, 8], "x": [0.0, 1, 2, 3, 4, 5, 6, 7]}
    wide = eg.profile(eg.GLM("y ~ x", data, family="poisson", link="identity").fit(), ci_prob=0.999)
    assert np.isfinite(wide["interval"]).all()
    data = {"y": [0, 3, 1, 3, 2, 5], "x": [0.0, 1, 2, 3, 4, 5]}
    model = eg.GLM("y ~ x", data, family="poisson", link="identity")
    with pytest.warns(FitWarning, match="upper end of x"):
        ends = eg.profile(model.fit(), ci_prob=0.999)["interval"].sel(coef="x").values
    assert np.isfinite(ends[0]) and np.isnan(ends[1])


def test_every_coefficient_fixed():
    """q = p: nothing is left to fit under the hypothesis."""
    p = problem("poisson")
    tree = eg.GLM.from_arrays(p.y, p.X[:, :2], family="poisson").fit()
    found = eg.hypotheses(tree, "x0 = 0.1, x1 = 0.9", test="lr")
    at = p.X[:, :2] @ [0.1, 0.9]
    expected = np.sum(p.family.deviance(p.y, np.exp(at))) - float(tree["fit_stats"]["deviance"])
    assert found.statistic == pytest.approx(expected, rel=1e-10)


def test_printed():
    tree = eg.GLM("y ~ x", {"y": [1, 3, 4, 9], "x": [0, 1, 2, 3]}, family="poisson").fit()
    text = str(eg.hypotheses(tree, "x = 0.5"))
    assert "x = 0.5" in text and "Wald test, fisher covariance: χ²(1)" in text
    assert "<pre>" in eg.hypotheses(tree, "x")._repr_html_()
    assert "<pre>" in eg.deviance_table(tree)._repr_html_()
