"""Generalised estimating equations against R's geepack and gee on published data."""

import numpy as np
import pandas as pd
import pytest

import expfam_glm as eg
from expfam_glm.data import source
from tests.references import array, cases, data_of, model_of
from tests.tolerances import BETA_IN_SE, RELATIVE


@pytest.mark.parametrize("case", cases("gee"), ids=lambda case: case["id"])
def test_gee_agrees_with_r(case):
    agrees_with_r(case, model_of("gee", case))


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("gee")[::7], ids=lambda case: case["id"])
def test_gee_in_batches_agrees_with_r(case, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BATCH_ROWS", 300)
    rows = pd.DataFrame(dict(data_of("gee", case))).sample(frac=1, random_state=1)
    if case["time"] is None:  # the order of the rows tells it
        rows = rows.sort_index()
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    agrees_with_r(case, model_of("gee", case, tmp_path / "rows.parquet"))


def agrees_with_r(case, model):
    """The fit of a model has the numbers of a case."""
    correlation = case["correlation"]
    if correlation == "fixed":
        correlation = eg.correlation.Fixed(case["alpha"], times=case["times"])
    tree = model.gee(case["groups"], correlation, time=case["time"], ddof=case["ddof"])
    fit, stats = tree["fit"], tree["fit_stats"]
    assert fit["coef"].values.tolist() == case["coef"]
    se = array(case["se"])
    assert np.max(np.abs(fit["beta"].values - array(case["beta"])) / se) < BETA_IN_SE
    np.testing.assert_allclose(fit["se"].values, se, rtol=RELATIVE)
    for covariance, name in zip(fit["covariance"].values, ("robust", "naive"), strict=True):
        scale = np.sqrt(np.diag(array(case[name])))
        gap = (covariance - array(case[name])) / np.outer(scale, scale)
        assert np.max(np.abs(gap)) < RELATIVE
    assert float(fit["phi"]) == pytest.approx(case["phi"], rel=RELATIVE)
    if "times" in case:
        assert fit["working_correlation"].coords["time"].values.tolist() == case["times"]
        np.testing.assert_allclose(
            fit["working_correlation"].values, array(case["alpha"]), atol=RELATIVE
        )
    elif case["alpha"]:
        assert float(fit["alpha"]) == pytest.approx(case["alpha"][0], abs=RELATIVE)
    else:
        assert "alpha" not in fit
    assert int(stats["n_observations"]) == case["n"]
    assert int(stats["n_clusters"]) == case["n_groups"]
