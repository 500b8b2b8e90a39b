"""The model: one formula, one family, and a thin method for each road."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import xarray as xr
from numpy.typing import ArrayLike

from expfam_glm.data.collapse import collapse
from expfam_glm.data.compress import Compressed, compress, uncompressed
from expfam_glm.data.design import Frame, from_arrays, from_formula
from expfam_glm.data.response import Problem, prepare
from expfam_glm.data.source import is_source, open_source
from expfam_glm.data.stream import Streamed, streamed
from expfam_glm.spec import families, links
from expfam_glm.spec.family import Family
from expfam_glm.spec.link import Link

if TYPE_CHECKING:
    from expfam_glm.gee.base import Correlation


class GLM:
    """A generalized linear model, g(μ) = Xβ + offset, for one exponential family.

    Parameters
    ----------
    formula : str
        `"y ~ x + C(group)"`; see the formulaic package for the grammar. `offset(x)` and
        `cbind(successes, failures)` are understood.
    data : data frame
        pandas, polars, pyarrow.Table, xarray.Dataset or a mapping of names to arrays, n rows; or
        the path of a Parquet file or folder, a pyarrow dataset or a dask DataFrame, read in batches
        and never whole; with a running `distributed.Client` its workers compute the sums.
    family : str or Family
        A name such as "poisson", or a declaration.
    link : str or Link, optional
        The family's own link if not given.
    weights : str or array_like, shape (n,), optional
        Prior (precision) weights w: Var(y) = V(μ) a(φ)/w.
    freq_weights : str or array_like, shape (n,), optional
        How many rows each row stands for.
    sampling_weights : str or array_like, shape (n,), optional
        Inverse probabilities of selection, in any unit: they weight the estimating equations, are
        no part of a likelihood, and leave robust covariances only.
    trials : str or array_like, shape (n,), optional
        Numbers of trials; the response is then the number of successes.
    offset : str or array_like, shape (n,), optional
        Added to the linear predictor, link scale.
    exposure : str or array_like, shape (n,), optional
        Under a log link its logarithm joins the offset; for the Poisson family under another link
        the response becomes y/exposure with weight exposure.
    missing : {"raise", "drop"}
        What to do with rows that lack a value; dropped rows are counted in the result, and its
        `obs_id` are the numbers of the rows that are left, in the data as given, from 0.
    allow_code : bool
        Whether the formula may run Python code beyond the known transforms, as in `{x % 2}`; give
        False for the formulas of strangers.

    Raises
    ------
    DataError
        For unknown columns, wrong lengths, missing or infinite values, responses outside the
        support, negative weights, or trials below successes.
    FormulaError
        If the formula cannot be parsed or evaluated, or runs code that is not allowed.
    ArgumentError
        For unknown families, links or words.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, 2nd ed.

    Examples
    --------
    >>> import expfam_glm as eg
    >>> rings = eg.load_data("oring")
    >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
    >>> mle = model.fit()
    >>> mle["fit"]["beta"].values.round(4).tolist()
    [5.085, -0.1156]
    """

    family: Family
    link: Link
    problem: Problem
    _again: Callable[..., Any] | None = None  # reads the data anew, where rows may be dropped

    def __init__(
        self,
        formula: str,
        data: Any,
        *,
        family: str | Family,
        link: str | Link | None = None,
        weights: str | ArrayLike | None = None,
        freq_weights: str | ArrayLike | None = None,
        sampling_weights: str | ArrayLike | None = None,
        trials: str | ArrayLike | None = None,
        offset: str | ArrayLike | None = None,
        exposure: str | ArrayLike | None = None,
        missing: str = "raise",
        allow_code: bool = True,
    ) -> None:
        roles = _roles(weights, freq_weights, sampling_weights, trials, offset, exposure)
        if is_source(data):
            self._name(family, link)
            batches = partial(streamed, formula, open_source(data), roles, self.family, self.link,
                              missing, allow_code=allow_code)  # fmt: skip
            self.problem = batches()
            self._again = batches if missing == "drop" else None
            return
        read = partial(from_formula, formula, data, roles, missing,
                       allow_code=allow_code, coded=True)  # fmt: skip
        self._name(family, link)
        self._read(read, missing)

    @classmethod
    def from_arrays(
        cls,
        y: ArrayLike,
        X: Any,
        *,
        family: str | Family,
        link: str | Link | None = None,
        labels: Sequence[str] | None = None,
        weights: ArrayLike | None = None,
        freq_weights: ArrayLike | None = None,
        sampling_weights: ArrayLike | None = None,
        trials: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
        missing: str = "raise",
    ) -> GLM:
        """A model from a response and a design matrix; no intercept is added.

        Parameters
        ----------
        y : array_like, shape (n,)
            Response.
        X : array_like or data frame, shape (n, p)
            Design matrix.
        labels : sequence of str, optional
            Names of the columns; those of the data frame or DataArray, or x0, x1, … if not given.
        family, link, weights, freq_weights, sampling_weights, trials, offset, exposure, missing
            As for `GLM`, arrays only.

        Returns
        -------
        GLM

        Raises
        ------
        DataError
            As for `GLM`.

        Examples
        --------
        >>> import numpy as np
        >>> import expfam_glm as eg
        >>> X = np.column_stack([np.ones(4), [0.0, 1.0, 2.0, 3.0]])
        >>> model = eg.GLM.from_arrays([1, 2, 4, 9], X, family="poisson", labels=["one", "x"])
        >>> model.fit()["fit"]["beta"].coef.values.tolist()
        ['one', 'x']
        """
        model = cls.__new__(cls)
        roles = _roles(weights, freq_weights, sampling_weights, trials, offset, exposure)
        model._name(family, link)
        model._read(partial(from_arrays, y, X, roles, labels, missing), missing)
        return model

    def _read(self, read: Callable[..., Frame], missing: str) -> None:
        self.problem = prepare(read(), self.family, self.link)
        if missing == "drop":
            self._again = read

    def _complete(self, groups: Any, time: Any) -> Problem:
        """The problem, where rows are dropped without those that lack a cluster or a time."""
        from expfam_glm.mle.layout import sources_of

        problem = uncompressed(self.problem)
        if isinstance(problem, Streamed):
            return self._complete_batches(problem, [*sources_of(problem, groups), time])
        asked = [(source, "groups") for source in sources_of(problem, groups)]
        asked += [] if time is None else [(time, "time")]
        if self._again is None or not any(problem.frame.lacks(*one) for one in asked):
            return self.problem
        fewer = self._again(complete=[source for source, _ in asked])
        found = prepare(fewer, self.family, self.link)
        return compress(found) if isinstance(self.problem, Compressed) else found

    def _complete_batches(self, problem: Streamed, asked: Sequence[Any]) -> Problem:
        """The same of data that are read in batches."""
        known = problem.frame.table.names
        names = [name for name in asked if isinstance(name, str) and name in known]
        if self._again is None or not problem.lacks(names):
            return problem
        return replace(self._again(complete=names), held=problem.held)

    def _name(self, family: str | Family, link: str | Link | None) -> None:
        self.family = families.named(family)
        self.link = self.family.link if link is None else links.named(link)

    def compress(self) -> GLM:
        """The same model on the distinct rows of its covariates, exact and often much faster.

        Raises
        ------
        DataError
            If data that are read in batches have too many distinct rows.
        ArgumentError
            If the model has group effects.

        Returns
        -------
        GLM
            Rows with the same covariates, offset and weights are one cell of the computation;
            groups of `fit` keep their rows apart. Results have all rows, and in the attribute
            `cells` the number of cells.

        Notes
        -----
        With W = Σ f w, ȳ = Σ f w y/W and s = Σ f w (y − ȳ)² of a cell,

            Σ f w d(y, μ) = W d(ȳ, μ) + Σ f w d(y, ȳ)       X² = W (ȳ − μ)²/V(μ) + s/V(μ)

        and the base measure c is summed over the distinct responses; so β, φ, HC and CR covariances
        and the posterior are those of the rows. HAC covariances and `gee` use the rows themselves.
        `sample` and `laplace` compress by themselves where at least four rows fall on a cell.

        Of data that are read in batches the distinct rows (y, x, weights, offset) are brought into
        memory with their frequencies, where there are few enough; the results have these rows, so
        that `sample`, `laplace` and whatever else needs rows can be used.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> model = eg.GLM("days ~ sex + age", eg.load_data("quine"), family="quasi_poisson")
        >>> model.compress().fit().attrs["cells"]
        8
        """
        model = type(self).__new__(type(self))
        model.family, model.link = self.family, self.link
        model._again = None if isinstance(self.problem, Streamed) else self._again
        rows = collapse(self.problem) if isinstance(self.problem, Streamed) else self.problem
        model.problem = compress(rows)
        return model

    def fit(
        self,
        *,
        cov: str | Sequence[str] | None = None,
        groups: Any = None,
        time: str | ArrayLike | None = None,
        lags: int | None = None,
        information: str = "expected",
        dispersion: str | float = "pearson",
        penalty: Any = None,
        start: ArrayLike | None = None,
        tol: float = 1e-8,
        max_iterations: int = 100,
        ci_prob: float | None = None,
        chains: int = 4,
        draws: int = 1000,
        random_seed: int | None = 0,
    ) -> xr.DataTree:
        """Maximum likelihood by iteratively reweighted least squares.

        Parameters
        ----------
        cov : str or sequence of str, optional
            Covariances of the estimate: "fisher" (the default; "HC0" with sampling weights), robust
            to a wrong variance "HC0", "HC1", "HC2", "HC3", to dependence within groups "CR0",
            "CR1", "CR1S", "CR2", "CR3", to serial correlation "HAC". All are stored along
            `cov_type`; the first is used for tests, intervals and draws.
        groups : str, array_like (n,), or a list of them, optional
            The cluster of each row, for CR0 to CR3, or several ways of clustering at once for
            CR0, CR1 and CR1S; with "HAC" the series that a row belongs to.
        time : str or array_like (n,), optional
            The order of the rows for "HAC"; their order in the data if not given.
        lags : int, optional
            L, the longest lag of "HAC"; ⌊4 (n/100)^(2/9)⌋ if not given.
        information : {"expected", "observed"}
            Which information the standard errors come from, and the bread of robust ones.
        dispersion : {"pearson", "deviance", "ml"} or float
            How a free φ is estimated: X²/(n − p), D/(n − p), or by maximum likelihood. A number
            is used as given.
        penalty : {"firth", "jeffreys"}, float or Prior, optional
            "firth": the score adjusted to remove the bias of first order. "jeffreys": Jeffreys'
            prior. A number s: the prior Normal(0, s²) of every coefficient but that of a constant
            column (ridge). Or `Prior("Jeffreys")`, `Prior("Ridge", scale=s)`,
            `Prior("Conjugate", kappa=κ, mean=m)`: κ observations of mean m, spread over the rows.
        start : array_like, shape (p,), optional
            Coefficients to begin with, link scale.
        tol : float
            The iteration stops when the relative change of the deviance and √(UᵀI⁻¹U), the
            length of the step in standard errors, are below it.
        max_iterations : int
        ci_prob : float, optional
            Probability of the intervals; ArviZ's setting `stats.ci_prob` if not given.
        chains, draws, random_seed : int
            Shape and seed of the draws from the asymptotic normal distribution. Give the shape of
            the draws that NUTS made where ArviZ is to draw both in one plot.

        Returns
        -------
        xarray.DataTree
            Groups posterior, fit, fit_stats, observed_data and constant_data.

        Raises
        ------
        SeparationError
            If no finite maximum exists.
        ConvergenceError
            If the rule is not met, or the observed information is not positive definite.
        RankError
            If HC2, HC3 or CR3 does not exist: a row or cluster determines a coefficient by itself.
        DataError
            For missing groups or times, one cluster only, or times that occur twice.
        ArgumentError
            For unknown words, and for groups, time or lags that no covariance asked for uses.

        Warns
        -----
        FitWarning
            If the likelihood rises to the edge of the domain of a shape parameter, where the family
            becomes another one (the Poisson as α → 0), which is then fitted; or for a perfect fit.

        Notes
        -----
        β ← β + I(β)⁻¹U(β), halved while the likelihood falls or η leaves its domain. Tests from
        "fisher" are z tests where φ is known and t tests with n − p degrees of freedom where it is
        estimated. Robust covariances are I⁻¹ M I⁻¹, with h the leverage of a row, K clusters, and
        u_k the sum of a cluster's scores:

            HC0 M = Σ u_i²x_ixᵢᵀ   HC1 n/(n−p)   HC2 u²/(1−h)   HC3 u²/(1−h)²
            CR0 M = Σ u_k u_kᵀ   CR1 K/(K−1)   CR1S K/(K−1) · (n−1)/(n−p)
            CR2, CR3: residuals corrected by their expected covariance, or by (I − H_kk)⁻¹
            HAC M = Σ_j (1 − j/(L+1)) (Γ_j + Γ_jᵀ), Γ_j = Σ_t u_{t+j} x_{t+j} x_tᵀ u_t

        Their tests are z tests, but for CR2: t tests with Satterthwaite's degrees of freedom. With
        several groupings the covariances by every intersection are added and subtracted in turn.

        Penalties solve, with h the leverages and a = a(φ̂),

            firth       U(β)/a + ½ Σ hᵢ (μ″/μ′)(ηᵢ) xᵢ = 0
            jeffreys    ℓ(β) + ½ log det I(β) → max
            ridge       ℓ(β) − Σ βⱼ²/(2s²) → max, covariance (I + P)⁻¹
            conjugate   ℓ(β) + (κ/n) Σ [m θᵢ − b(θᵢ)]/a → max

        They are finite where separated data have no maximum. With dispersion="ml" φ too takes the
        adjusted score, or is at the mode under Jeffreys' prior of (β, φ).

        Shape parameters that have no value are estimated by maximum likelihood jointly with β (and
        φ). They are orthogonal to β in expectation, because the score (y − μ)θ′(η)/a of β has mean
        zero for every shape; so the expected information of β needs no correction, and the standard
        errors of the shapes come from the observed information with β held, as in R's `glm.nb`.
        `information="observed"` inverts the joint matrix. Standard errors of shapes are on the
        scale that their names and attributes say: `se_log_alpha`, `se_logit_power`.

        References
        ----------
        McCullagh and Nelder (1989), section 2.5; Zeileis (2006), Object-oriented computation of
        sandwich estimators, J. Stat. Softw. 16(9); Cameron, Gelbach and Miller (2011), J. Bus.
        Econ. Stat. 29, 238-249; Pustejovsky and Tipton (2018), J. Bus. Econ. Stat. 36, 672-683;
        Newey and West (1987), Econometrica 55, 703-708; Firth (1993), Biometrika 80, 27-38;
        Kosmidis and Firth (2009), Biometrika 96, 793-804; Chen and Ibrahim (2003), Stat. Sinica 13,
        461-476.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> clotting = eg.load_data("clotting")
        >>> mle = eg.GLM("time ~ log(u) + lot", clotting, family="gamma").fit()
        >>> bool(mle["fit_stats"]["converged"] == 1)
        True
        """
        from expfam_glm.mle.fit import fit

        return fit(self._complete(groups, time), cov=cov, groups=groups, time=time, lags=lags,
                   information=information, dispersion=dispersion, penalty=penalty, start=start,
                   tol=tol,
                   max_iterations=max_iterations, ci_prob=ci_prob, chains=chains,
                   draws=draws, random_seed=random_seed)  # fmt: skip

    def gee(
        self,
        groups: str | ArrayLike,
        correlation: str | Correlation = "exchangeable",
        *,
        time: str | ArrayLike | None = None,
        cov: str | Sequence[str] = "robust",
        df: str = "z",
        ddof: str = "none",
        phi: float | None = None,
        alpha: ArrayLike | None = None,
        start: ArrayLike | None = None,
        tol: float = 1e-8,
        max_iterations: int = 200,
        ci_prob: float | None = None,
        chains: int = 4,
        draws: int = 1000,
        random_seed: int | None = 0,
    ) -> xr.DataTree:
        """Fit by generalised estimating equations.

        Parameters
        ----------
        groups : str or array_like (n,)
            The cluster of each row: a column of the data, or labels of any type. Rows may stand in
            any order. Of data that are read in batches, rows of clusters that are not side by side
            are copied to temporary files while this runs.
        correlation : str or Correlation
            "independence", "exchangeable", "ar1", "toeplitz", "unstructured", or a value of
            `expfam_glm.correlation`.
        time : str or array_like (n,), optional
            When each row was observed: numbers or dates for "ar1", "toeplitz" and `MDependent`,
            labels of any type for the others that need it. The order of rows within a cluster, 0,
            1, 2, …, if not given.
        cov : str or sequence of str
            "robust", "naive", "mancl-derouen", "kauermann-carroll", "fay-graubard",
            "morel-bokossa-neerchal", "pan", "jackknife" (a fit without each cluster) or
            "jackknife-one-step". The first one is used for standard errors, tests, intervals and
            draws; all of them are stored, and "robust" and "naive" always.
        df : {"z", "t", "satterthwaite"}
            What tests and intervals refer to: the normal distribution, t with K − p degrees of
            freedom for K clusters, or t with Satterthwaite's degrees of freedom.
        ddof : {"none", "p", "geepack"}
            How moments are counted, see Notes.
        phi : float, optional
            The dispersion, if it is to be held instead of estimated.
        alpha : float or array_like, optional
            The association, if it is to be held: as `alpha` in the group `fit` of the result.
        start : array_like (p,), optional
            Where the fit under independence begins, link scale.
        tol : float
            The iteration stops when the step is below this many robust standard errors.
        max_iterations : int
        ci_prob : float, optional
            Probability of the intervals; ArviZ's setting `stats.ci_prob` if not given.
        chains, draws, random_seed : int
            Shape and seed of the draws from the asymptotic normal distribution. Give the shape of
            the draws that NUTS made where ArviZ is to draw both in one plot.

        Returns
        -------
        xarray.DataTree
            As from a likelihood fit, with `alpha` and `working_correlation` in the group `fit`. The
            matrix is over the distinct times or, where times have no meaning, over the rows of the
            largest cluster; the first 50 of them. In `fit_stats`: `qic`, `qicu`, `cic` and `rjc`
            instead of AIC and BIC; `last_step` is the length of the last step in robust standard
            errors.

        Raises
        ------
        DataError
            For one cluster only, missing groups or times, a time that occurs twice in a cluster; of
            data that are read in batches, for arrays as groups or time, for "jackknife" and
            `Custom`, which need all rows at once, and if there is no room for the copy.
        CorrelationError
            If the working correlation is not positive definite, or cannot be estimated.
        ConvergenceError
            If the equations are not solved within `max_iterations`.
        SeparationError
            If no finite estimate exists under independence.
        ArgumentError
            For unknown words; for `freq_weights`, which say nothing about clusters.

        Notes
        -----
        With D_k = ∂μ_k/∂β, A_k = diag(V(μ)/w) and V_k = φ A_k^½ R_k(α) A_k^½,

            Σ D_kᵀ V_k⁻¹ (y_k − μ_k) = 0,   B = Σ D_kᵀ V_k⁻¹ D_k,   naive = B⁻¹,
            robust = B⁻¹ [Σ D_kᵀ V_k⁻¹ S_k S_kᵀ V_k⁻¹ D_k] B⁻¹,   S_k = y_k − μ_k.

        From r = (y − μ)/√(V(μ)/w), by default φ = Σr²/(n − p), and α is the mean of r_i r_j/φ over
        its pairs; `ddof="p"` takes p off every count of pairs (for AR(1): off the count of all
        pairs), `ddof="geepack"` divides Σr² by n. Robust standard errors need the right model of
        the mean, many clusters, and values missing completely at random. Criteria of models with
        different estimates of φ cannot be compared: hold `phi`.

        References
        ----------
        Liang and Zeger (1986), Longitudinal data analysis using generalized linear models,
        Biometrika 73, 13-22.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> seizures = eg.load_data("seizures")
        >>> model = eg.GLM("seizures ~ lbase * treatment + age", seizures, family="poisson")
        >>> gee = model.gee(groups="patient", correlation="exchangeable")
        >>> gee["fit"]["se"].values.round(3).tolist()
        [0.339, 0.097, 0.432, 0.009, 0.178]
        """
        from expfam_glm.gee.arrangement import check_grouping
        from expfam_glm.gee.estimate import gee

        check_grouping(groups, self.problem.frame.table.names)
        rows = uncompressed(self._complete(groups, time))
        return gee(rows, groups, correlation, time=time, cov=cov, df=df, ddof=ddof,
                   phi=phi, alpha=alpha, start=start, tol=tol,
                   max_iterations=max_iterations,
                   ci_prob=ci_prob, chains=chains, draws=draws,
                   random_seed=random_seed)  # fmt: skip

    def to_pymc(self, priors: Any = "default", *, whitened: bool = False) -> Any:
        """The model as a `pymc.Model`, to sample, extend or inspect.

        Parameters
        ----------
        priors : {"default", "flat", "jeffreys"}, Prior or mapping
            Keys are labels of coefficients or terms of the formula (a factor's name reaches all its
            levels), "beta" for all coefficients, names of free shape parameters, and "phi",
            "sqrt(phi)" or "1/phi", whichever is the easiest to think about: √φ is the standard
            deviation of the normal and the coefficient of variation of the gamma family, 1/φ the
            gamma's shape. Values are `Prior`, a distribution such as `pm.Normal.dist(0, 1)`,
            "default" or "flat". The narrowest key counts; what is not named takes the default. A
            word or a Prior by itself is for all coefficients.
        whitened : bool
            Whether samplers shall move in z, β = β̂ + Lz with β̂ near the posterior mode and LLᵀ the
            inverse of Fisher information plus prior precision there: nearly N(0, I), so that short
            tuning does. The model and its draws show β. Coefficients with a bounded prior or one
            joint distribution stay as they are.

        Returns
        -------
        pymc.Model
            Coordinates `coef` and `obs_id`; `beta (coef)`; `phi` where the family leaves it free;
            the data `X (obs_id, coef)` and `offset (obs_id)`; and the observed `y (obs_id)` on the
            scale of the mean, which for trials is the proportion of successes. Where the priors of
            the coefficients are of several kinds, `beta` is a Deterministic made of the free
            variables `beta_<kind>`.

        Raises
        ------
        ArgumentError
            For unknown or impossible priors.
        RankError
            If coefficients with a flat prior are not determined by the data.
        SeparationError
            If the data are separated in the columns with a flat prior.
        SamplingError
            If φ has a flat prior and there are too few observations for a proper posterior.

        Warns
        -----
        AliasWarning
            If columns are linear combinations of others, so that only the prior tells them apart.

        Notes
        -----
        log p(β, φ | y) = log π(β) + log π(φ) + Σ f {[yθ − b(θ)]/a + c(y, a)}, the
        likelihood being the graph of the declaration; −∞ where a linear predictor leaves the domain
        of the link. For the default priors see `expfam_glm.bayes.scaling`. A quasi family has
        the quasi-posterior: φ is held at Pearson's estimate and Σ f w [yθ − b(θ)]/a(φ̂) is a
        potential of the model instead of an observed `y`.

        References
        ----------
        Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., chapter 16.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> rings = eg.load_data("oring")
        >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
        >>> model.to_pymc().basic_RVs
        [beta, y]
        """
        from expfam_glm.bayes.model import to_pymc

        return to_pymc(self.problem, priors, whitened=whitened)

    def sample(
        self,
        *,
        draws: int = 1000,
        tune: int | None = None,
        chains: int = 4,
        random_seed: int | None = None,
        priors: Any = "default",
        nuts_sampler: str = "nutpie",
        road: str = "auto",
        progressbar: bool = True,
        log_likelihood: bool = True,
        posterior_predictive: bool = True,
        **keywords: Any,
    ) -> xr.DataTree:
        """Sample the posterior of a model by NUTS.

        Parameters
        ----------
        draws, chains : int
            Draws kept in each chain, and the number of chains.
        tune : int, optional
            Draws spent on adaptation in each chain. If not given, 1,000, and where nutpie
            moves in coordinates that are nearly standard normal, 200 on the row kernels (400 with
            group effects) and 400 on the graph.
        random_seed : int, optional
            Seed of everything random; a fresh one, stored in the result, if not given.
        priors : {"default", "flat"} or mapping
            See `GLM.to_pymc`.
        nuts_sampler : {"nutpie", "pymc", "numpyro", "blackjax"}
            Which implementation of NUTS samples.
        road : {"auto", "kernels", "graph"}
            How nutpie gets the log-posterior: from the row kernels of the likelihood fit, which
            need no compilation but plain priors, or from the compiled graph of the PyMC model.
            "auto" takes the kernels where it can.
        progressbar : bool
        log_likelihood, posterior_predictive : bool
            Whether to add these groups. They are left out, with a warning, above 200 MB.
        **keywords
            For the sampler: `nutpie.sample` (such as target_accept, maxdepth, cores) or
            `pymc.sample`.

        Returns
        -------
        xarray.DataTree
            Groups posterior, sample_stats, log_prior, observed_data, constant_data, and on request
            log_likelihood and posterior_predictive. Responses are on the scale of the mean: with
            trials, proportions. With frequency weights log_likelihood holds each row as often as it
            counts, under the same obs_id, so that a single observation is left out by LOO.

        Raises
        ------
        ArgumentError
            For unknown words or priors, and for counts that are not positive.
        RankError, SeparationError, SamplingError
            If flat priors leave the posterior improper, or no starting point is found.

        Warns
        -----
        SamplingWarning
            If chains diverged or do not agree, or a group was left out.
        AliasWarning
            If only the prior tells some columns apart.

        Notes
        -----
        Chains start near the posterior mode, one posterior standard deviation away in a
        random direction, inside the domain of the link. A free φ is sampled on the log scale. The
        attribute `road` says how the log-posterior was computed; both ways are the same function.
        A quasi family has the quasi-posterior, see `to_pymc`: the attribute `held_phi` is the
        estimate at which its φ is held, and there is neither log_likelihood nor
        posterior_predictive.

        References
        ----------
        Hoffman and Gelman (2014), The No-U-Turn Sampler, JMLR 15, 1593-1623; Vehtari et al. (2021),
        Rank-normalization, folding, and localization, Bayesian Analysis 16, 667-718.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> rings = eg.load_data("oring")
        >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
        >>> bayes = model.sample(random_seed=1, progressbar=False)
        >>> bayes["posterior"]["beta"].dims
        ('chain', 'draw', 'coef')
        """
        from expfam_glm.bayes.sample import sample

        return sample(self.problem, draws=draws, tune=tune, chains=chains,
                      random_seed=random_seed, priors=priors, nuts_sampler=nuts_sampler,
                      road=road, progressbar=progressbar, log_likelihood=log_likelihood,
                      posterior_predictive=posterior_predictive, **keywords)  # fmt: skip

    def laplace(
        self,
        *,
        draws: int = 1000,
        chains: int = 4,
        random_seed: int | None = None,
        priors: Any = "default",
        log_likelihood: bool = True,
        posterior_predictive: bool = True,
    ) -> xr.DataTree:
        """Approximate the posterior by a normal distribution at its mode.

        Parameters
        ----------
        draws, chains : int
            Shape of the draws; independent ones, so that chains are for plots beside other trees.
        random_seed : int, optional
            Seed of the draws; a fresh one, stored in the result, if not given.
        priors : {"default", "flat", "jeffreys"}, Prior or mapping
            See `GLM.to_pymc`; univariate ones on the whole space of their parameter.
        log_likelihood, posterior_predictive : bool
            Whether to add these groups.

        Returns
        -------
        xarray.DataTree
            As from `sample`. `sample_stats` holds `log_weight`, the smoothed logarithms of the
            importance weights, which sum to one. The attribute `pareto_k` is the shape of their
            tail, `importance_ess` how many draws of the posterior they are worth.

        Raises
        ------
        ArgumentError
            For priors on a part of the line, and as in `sample`.
        SamplingError
            If there is no mode at which the posterior bends down in every direction.

        Warns
        -----
        SamplingWarning
            If the Pareto k is above min(1 − 1/log₁₀ S, 0.7), S the number of draws.

        Notes
        -----
        z = (β, u(ψ), log φ) ~ N(ẑ, H⁻¹), ẑ the mode of its log-posterior, −H the Hessian there;
        draws whose η leave the domain of the link are drawn again. The weights are posterior over
        normal density.

        References
        ----------
        Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 4.1. Vehtari et al. (2024),
        Pareto smoothed importance sampling, JMLR 25, 1-58.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> rings = eg.load_data("oring")
        >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
        >>> near = model.laplace(random_seed=1)
        >>> near.attrs["diagnosis"]
        'nothing to report'
        """
        from expfam_glm.bayes.laplace import laplace

        return laplace(self.problem, draws=draws, chains=chains, random_seed=random_seed,
                       priors=priors, log_likelihood=log_likelihood,
                       posterior_predictive=posterior_predictive)  # fmt: skip

    def prior_predictive(
        self,
        *,
        draws: int = 1000,
        chains: int = 1,
        random_seed: int | None = None,
        priors: Any = "default",
    ) -> xr.DataTree:
        """Draw parameters from the priors, and responses from the parameters.

        Parameters
        ----------
        draws, chains : int
            Shape of the draws.
        random_seed : int, optional
            Seed of the draws; a fresh one, stored in the result, if not given.
        priors : {"default"}, Prior or mapping
            See `GLM.to_pymc`; proper ones.

        Returns
        -------
        xarray.DataTree
            Groups prior (group effects with their standard deviations and correlations too),
            prior_predictive, observed_data and constant_data.

        Raises
        ------
        ArgumentError
            For flat, Jeffreys and conjugate priors, which cannot be drawn from, and quasi families.
        SamplingError
            If almost no draw of the coefficients has all its η in the domain of the link.

        Notes
        -----
        Where the link does not take every η the prior is the one given that all η are inside its
        domain, as in the posterior.

        References
        ----------
        Gabry et al. (2019), Visualization in Bayesian workflow, JRSS A 182, 389-402.

        Examples
        --------
        >>> import expfam_glm as eg
        >>> rings = eg.load_data("oring")
        >>> model = eg.GLM("damaged ~ temperature", rings, family="binomial", trials="rings")
        >>> before = model.prior_predictive(random_seed=1)
        >>> before["prior_predictive"]["y"].sizes["obs_id"]
        23
        """
        from expfam_glm.bayes.prior_predictive import prior_predictive

        return prior_predictive(
            uncompressed(self.problem), draws=draws, chains=chains, random_seed=random_seed,
            priors=priors,
        )  # fmt: skip

    def __repr__(self) -> str:
        what = self.problem.frame.formula or f"{len(self.problem.labels)} columns"
        return (
            f"<GLM {what}: {self.family.name}, link {self.link.name}, "
            f"{self.problem.described_rows}>"
        )

    def _repr_html_(self) -> str:
        from expfam_glm.results.facts import of_model

        return of_model(uncompressed(self.problem))._repr_html_()


def _roles(
    weights: Any, freq_weights: Any, sampling_weights: Any, trials: Any, offset: Any, exposure: Any
) -> Mapping:
    return {
        "weights": weights, "freq_weights": freq_weights, "sampling_weights": sampling_weights,
        "trials": trials, "offset": offset, "exposure": exposure,
    }  # fmt: skip
