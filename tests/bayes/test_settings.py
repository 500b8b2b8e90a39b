"""What the samplers can be told, refused before anything is sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expfam_glm.bayes.sample import sample
from expfam_glm.bayes.settings import check_settings
from expfam_glm.errors import ArgumentError
from tests.problems import problem


@pytest.mark.parametrize(
    ("sampler", "keywords", "message"),
    [
        ("nutpie", {"prior": "flat"}, "did you mean 'priors'"),
        ("nutpie", {"seed": 1}, "did you mean 'random_seed'"),
        ("nutpie", {"max_depth": 3}, "did you mean 'maxdepth'"),
        ("nutpie", {"unknown": 3}, "takes no argument 'unknown'"),
        ("nutpie", {"save_warmup": True}, "takes no argument 'save_warmup'"),
        ("nutpie", {"maxdepth": 2.5}, "maxdepth=2.5 cannot be used"),
        ("nutpie", {"target_accept": 1.5}, r"must be a number in \(0, 1\)"),
        ("nutpie", {"cores": 0}, "cores=0 must be a whole number"),
        ("nutpie", {"maxdepth": 0}, "maxdepth=0 must be a whole number from 1"),
        ("nutpie", {"maxdepth": -1}, "maxdepth=-1 cannot be used"),
        ("nutpie", {"log_likelihood": "no"}, "log_likelihood='no' must be True or False"),
        ("nutpie", {"posterior_predictive": 1}, "posterior_predictive=1 must be True or False"),
        ("nutpie", {"progressbar": "a"}, "progressbar='a' must be True or False"),
        ("nutpie", {"draws": 1, "chains": 1}, "one draw in all has no spread"),
        ("nutpie", {"adaptation": "flow"}, "adaptation='flow' is not known"),
        ("nutpie", {"max_step_size": -1.0}, "max_step_size=-1.0 must be a positive number"),
        ("nutpie", {"initial_step": 0.0}, "initial_step=0.0 must be a positive number"),
        ("nutpie", {"progress_rate": "x"}, "progress_rate='x' must be a whole number from 1"),
        ("nutpie", {"tune": 2**70}, "tune=1180591620717411303424 for .* takes for ever"),
        ("nutpie", {"max_energy_error": float("nan")}, "max_energy_error=nan must be a positive"),
        ("nutpie", {"mindepth": 5, "maxdepth": 2}, "mindepth=5 must not exceed maxdepth, 2"),
        ("nutpie", {"progress_callback": 3}, "progress_callback must be a function"),
        ("pymc", {"maxdepth": 3}, "takes no argument 'maxdepth'"),
        ("pymc", {"initvals": {}}, "takes no argument 'initvals'"),
    ],
)
def test_what_no_sampler_takes_is_refused_with_a_hint(
    sampler: str, keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        sample(problem("poisson"), nuts_sampler=sampler, **keywords)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::expfam_glm.errors.SamplingWarning")  # compared, not trusted
def test_a_seed_of_more_than_64_bits() -> None:
    quick = {"draws": 30, "tune": 50, "chains": 2, "progressbar": False}
    first, again, other = (
        sample(problem("poisson"), random_seed=seed, **quick)["posterior"]["beta"].values
        for seed in (2**70, 2**70, 2**70 + 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


class Asked(Exception):
    """Raised in place of sampling, with what the sampler was asked."""


@pytest.mark.parametrize(("given", "cores"), [({}, 1), ({"cores": 2}, 2)])
def test_chains_on_row_kernels_run_one_after_another_unless_asked_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, int], cores: int
) -> None:
    def asked(compiled: Any, applied: Any, settings: dict[str, Any]) -> None:
        raise Asked(settings)

    monkeypatch.setattr("expfam_glm.bayes.roads._run_nutpie", asked)
    with pytest.raises(Asked) as found:
        sample(problem("poisson"), maxdepth=8, **given)
    assert found.value.args[0]["cores"] == cores
    assert found.value.args[0]["maxdepth"] == 8


def test_what_a_sampler_takes_is_passed_on() -> None:
    given = {"target_accept": 0.9, "maxdepth": 8, "adaptation": "low_rank"}
    assert check_settings("nutpie", given) == given
    assert check_settings("pymc", {"max_treedepth": 8, "cores": 3})["cores"] == 3
