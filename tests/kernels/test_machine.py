"""Sums in machine code beside mpmath, NumPy's loops and extended precision."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import threading

import mpmath
import numpy as np
import pytest

import expfam_glm as eg
from expfam_glm.data.blocks import MemoryBlocks
from expfam_glm.kernels import sums as plain_sums
from expfam_glm.kernels.machine import block, elementary, load, sums
from expfam_glm.kernels.machine.block import Wanted
from expfam_glm.kernels.machine.code import WIDTH, Code
from expfam_glm.kernels.machine.sums import RowSums
from expfam_glm.kernels.row import row_kernel
from expfam_glm.mle.bare import _FEWEST_DOUBLES
from expfam_glm.mle.fitness import fitness

wide = pytest.mark.skipif(not load.is_wide(), reason="the processor has no such vectors")
ROUNDING = 1e-14  # relative to the sum of absolute terms
OUTPUTS = ("mu", "pearson", "score", "variance", "weight")
RNG = np.random.default_rng(0)


# ---- elementary functions -----------------------------------------------------------------------


def mapped(name: str, x: np.ndarray) -> np.ndarray:
    """A function of `elementary` at every x."""
    code = Code()
    code.do("%n = load i64, ptr %given, align 8")
    code.do(f"%x = load ptr, ptr {code.at('%given', 1)}, align 8")
    code.do(f"%out = load ptr, ptr {code.at('%given', 2)}, align 8")
    with code.loop("%n", step=WIDTH) as eight:
        value = getattr(elementary, name)(code, code.load(code.at("%x", eight.counter)))
        code.store(value, code.at("%out", eight.counter))
    run = load.function(code.text("mapped", ["ptr %given"], public=True), "mapped")
    padded = np.concatenate([x, np.zeros(-x.size % WIDTH)])
    out = np.empty_like(padded)
    given = np.array([padded.size, padded.ctypes.data, out.ctypes.data])
    run(given.ctypes.data)
    return out[: x.size]


def spread_out(*ends: tuple[float, float]) -> np.ndarray:
    """Values of all sizes between some ends."""
    parts = [RNG.uniform(low, high, 150) for low, high in ends]
    tiny = 10.0 ** RNG.uniform(-320, 0, 150)
    return np.concatenate([*parts, tiny])


EVERYWHERE = spread_out((-760, 720), (-40, 40), (-1, 1))
ARGUMENTS = {
    "exp": np.concatenate([EVERYWHERE, -EVERYWHERE[-150:]]),
    "expm1": np.concatenate([EVERYWHERE, -EVERYWHERE[-150:]]),
    "log": np.concatenate([spread_out((0.4, 2.5), (0, 1e3)), 10.0 ** RNG.uniform(-323, 308, 300)]),
    "log1p": np.concatenate(
        [spread_out((-1, 1), (-0.01, 0.01), (0, 1e9)), -(1 - 1e-15 * RNG.random(9))]
    ),
}


@wide
@pytest.mark.parametrize("name", ARGUMENTS)
def test_elementary_functions_are_right_to_two_units_in_the_last_place(name):
    x = ARGUMENTS[name]
    with mpmath.workdps(40):
        exact = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
        expected = np.array([float(v) for v in exact])
        found = mapped(name, x)
        infinite = np.isinf(expected)
        assert np.array_equal(found[infinite], expected[infinite])
        errors = [
            abs(mpmath.mpf(float(f)) - e) / mpmath.mpf(float(np.spacing(abs(v))))
            for f, e, v in zip(found, exact, expected, strict=True)
            if np.isfinite(v)
        ]
    assert max(errors) <= 2


@wide
@pytest.mark.parametrize("name", ARGUMENTS)
def test_edges_of_elementary_functions_are_those_of_numpy(name):
    edges = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 709.7, 709.8, -745.1, -745.2, -800.0,
             5e-324, -5e-324, 1e308, -1e308, -2.0]  # fmt: skip
    x = np.array(edges)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    np.testing.assert_allclose(mapped(name, x), expected, rtol=1e-15)


# ---- sums ---------------------------------------------------------------------------------------

FAMILIES = {
    "binomial": ("logit", eg.families.binomial),
    "cloglog": ("cloglog", eg.families.binomial),
    "poisson": ("log", eg.families.poisson),
    "gamma": ("log", eg.families.gamma),
    "inverse_gaussian": ("log", eg.families.inverse_gaussian),
    "negative_binomial": ("log", eg.families.negative_binomial(alpha=1.5)),
    "normal": ("identity", eg.families.normal),
    "quasi_poisson": ("sqrt", eg.families.quasi_poisson),
}


def problem(case: str, n: int, p: int):
    """A kernel, the names of its outputs, and rows for it."""
    link, family = FAMILIES[case]
    rng = np.random.default_rng(n + p)
    outputs = (*OUTPUTS, "kernel" if family.closed_deviance is None else "weighted_deviance")
    kernel = row_kernel(family, getattr(eg.links, link), outputs)
    X = rng.normal(size=(n, p))
    X[:, 0] = 3.0 if link == "sqrt" else 0.2
    beta = rng.normal(size=p) / (4 * np.sqrt(p))
    beta[0] = 1.0
    zero_one = family is eg.families.binomial
    y = rng.integers(0, 2, n) * 1.0 if zero_one else rng.poisson(2, n) + 0.5
    return kernel, X, beta, y, rng


def expected_sums(kernel, X, beta, y, offset=None, prior=None, outer=None):
    """The sums and the sums of absolute terms, in extended precision."""
    eta = X @ beta + (0 if offset is None else offset)
    values = kernel(eta, y, 1.0 if prior is None else prior)
    f = 1.0 if outer is None else outer
    mu, x2, u, _, W, q = (np.broadcast_to(v, eta.shape).astype(np.longdouble) for v in values)
    wide_X = X.astype(np.longdouble)
    weighted = (wide_X * (W * f)[:, None]).T
    score = ((u * f) @ wide_X, np.abs(u * f) @ np.abs(wide_X))
    information = (weighted @ wide_X, np.abs(weighted) @ np.abs(wide_X))
    with np.errstate(all="ignore"):
        squares = np.where(W > 0, u * u / W, 0)
    totals = [x2, q, np.abs(q), squares]
    return eta, mu, score, information, [((v * f).sum(), np.abs(v * f).sum()) for v in totals]


@wide
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("case", FAMILIES)
@pytest.mark.parametrize(
    ("n", "p"),
    [(1, 1), (7, 3), (8, 8), (9, 9), (127, 5), (128, 24), (129, 25), (700, 33), (2000, 2)],
)
def test_sums_are_those_of_the_numpy_function(case, n, p, order):
    kernel, X, beta, y, rng = problem(case, n, p)
    further = {}
    if n % 2:
        further = {"offset": rng.normal(size=n) / 9, "prior": rng.random(n) + 0.5}
    if p % 2:
        further["outer"] = rng.integers(1, 4, n) * 1.0
    wanted = Wanted(2, 4, totals=(1, 5), magnitudes=(5,), squares=True, extremes=(0,))
    found = RowSums(kernel.source, wanted).over(np.asarray(X, order=order), beta, y, **further)
    eta, mu, score, information, totals = expected_sums(kernel, X, beta, y, **further)
    for value, (exact, size) in [
        (found.score, score), (found.information, information),
        *zip(found.totals, totals, strict=True),
    ]:  # fmt: skip
        # η itself is rounded in another order, and the functions of a row by their own rules
        assert np.all(np.abs(value - exact) <= 20 * ROUNDING * size + 1e-300)
    assert np.array_equal(found.information, found.information.T)
    for values, low, high in zip((eta, mu), found.lows, found.highs, strict=True):
        ends = [values.min(), values.max()]
        np.testing.assert_allclose([low, high], ends, rtol=1e-13, atol=1e-14)
    alone = RowSums(kernel.source, Wanted(2)).over(np.asarray(X, order=order), beta, y, **further)
    assert np.array_equal(alone.score, found.score) and alone.information is None


@wide
def test_rows_without_weight_add_nothing():
    kernel, X, beta, y, _ = problem("poisson", 300, 4)
    prior = np.where(np.arange(300) % 3, 1.0, 0.0)
    wanted = Wanted(2, 4, totals=(5,), squares=True)
    found = RowSums(kernel.source, wanted).over(X, beta, y, prior=prior)
    some = RowSums(kernel.source, wanted).over(X[prior > 0], beta, y[prior > 0])
    np.testing.assert_allclose(found.totals, some.totals, rtol=1e-13)
    np.testing.assert_allclose(found.information, some.information, rtol=1e-13)


@wide
def test_a_shape_is_an_argument():
    kernel = row_kernel(eg.families.negative_binomial(), eg.links.log, ("score",))
    held = row_kernel(eg.families.negative_binomial(alpha=0.7), eg.links.log, ("score",))
    X, y = RNG.normal(size=(300, 4)), RNG.poisson(3, 300) * 1.0
    found = RowSums(kernel.source, Wanted(0), (0.7,)).over(X, np.full(4, 0.1), y)
    other = RowSums(held.source, Wanted(0)).over(X, np.full(4, 0.1), y)
    np.testing.assert_allclose(found.score, other.score, rtol=1e-13)


@wide
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("n", "p"), [(1, 1), (40, 8), (1000, 9), (130, 25), (333, 61), (64, 200)])
def test_gram_products_are_sums_of_their_terms(n, p, order):
    X, W = np.asarray(RNG.normal(size=(n, p)), order=order), RNG.random(n)
    whole = X.astype(np.longdouble)
    terms = (whole * W[:, None]).T
    found = sums.gram(X, W)
    assert np.all(np.abs(found - terms @ whole) <= ROUNDING * (np.abs(terms) @ np.abs(whole)))
    assert np.array_equal(found, found.T)
    one = sums.gram(X, np.broadcast_to(1.0, (n,)))
    np.testing.assert_allclose(one, X.T @ X, rtol=1e-12, atol=1e-12)


@wide
@pytest.mark.parametrize("order", ["C", "F"])
def test_parts_of_larger_arrays_are_read_in_place(order):
    kernel, X, beta, y, _ = problem("binomial", 600, 9)
    large = np.asarray(np.pad(X, ((5, 3), (2, 4)), constant_values=np.nan), order=order)
    part, row_sums = large[5:605, 2:11], RowSums(kernel.source, Wanted(2, 4))
    copied = row_sums.over(np.asarray(X, order=order), beta, y)
    inside = row_sums.over(part, beta, y)
    assert np.array_equal(copied.score, inside.score)
    assert np.array_equal(copied.information, inside.information)


@wide
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("n", "p"), [(8, 8), (13, 5), (131, 3), (257, 9)])
def test_nothing_beyond_the_last_number_is_read(n, p, order):
    page = mmap.PAGESIZE
    needed = 8 * n * (p + 1)
    pages = -(-needed // page) * page
    memory = mmap.mmap(-1, pages + page)
    view = np.frombuffer(memory, np.float64)
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mprotect"):
        pytest.skip("no mprotect")
    address = ctypes.c_void_p(view.ctypes.data + pages)
    assert libc.mprotect(address, page, 0) == 0
    try:
        numbers = view[(pages - needed) // 8 : pages // 8]
        numbers[:] = RNG.normal(size=numbers.size)
        X, y = numbers[n:].reshape((n, p), order=order), numbers[:n]
        kernel = row_kernel(eg.families.normal, eg.links.identity, ("score", "weight"))
        found = RowSums(kernel.source, Wanted(0, 1)).over(X, np.ones(p), y)
        np.testing.assert_allclose(found.score, (y - X @ np.ones(p)) @ X, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(sums.gram(X, np.ones(n)), X.T @ X, rtol=1e-10, atol=1e-10)
    finally:
        assert libc.mprotect(address, page, 3) == 0


@wide
def test_what_is_not_finite_stays_so():
    kernel, X, beta, y, _ = problem("poisson", 500, 4)
    X[77, 2] = 1e200
    beta[2] = 1e200
    found = RowSums(kernel.source, Wanted(2, 4, (1,))).over(X, beta, y)
    assert not np.all(np.isfinite(found.score)) and not np.all(np.isfinite(found.information))
    X[77, 2] = np.nan
    found = RowSums(kernel.source, Wanted(2, 4, (1,))).over(X, beta, y)
    assert np.isnan(found.score).all() and np.isnan(found.totals[0]) and np.isnan(found.lows[0])


@pytest.mark.parametrize(
    "other",
    [lambda X: X.astype(np.float32), lambda X: X[:, ::2], lambda X: X[::2][:, ::-1],
     lambda X: X.astype(">f8"), lambda X: X[:0]],
)  # fmt: skip
def test_other_layouts_are_left_to_numpy(other):
    kernel, X, beta, y, _ = problem("poisson", 500, 4)
    X = other(X)
    assert RowSums(kernel.source, Wanted(2)).over(X, beta[: X.shape[1]], y[: len(X)]) is None


def test_functions_that_are_not_elementary_are_left_to_numpy():
    probit = row_kernel(eg.families.binomial, eg.links.probit, ("score",))
    power = row_kernel(eg.families.tweedie(power=1.37), eg.links.log, ("score",))
    assert not RowSums(probit.source, Wanted(0)).written
    assert not RowSums(power.source, Wanted(0)).written


def test_other_processors_are_left_to_numpy(monkeypatch):
    monkeypatch.setattr(load.platform, "machine", lambda: "arm64")
    load.is_wide.cache_clear()
    try:
        kernel, X, beta, y, _ = problem("poisson", 500, 4)
        row_sums = RowSums(kernel.source, Wanted(2))
        assert not row_sums.written and row_sums.over(X, beta, y) is None
    finally:
        load.is_wide.cache_clear()


def test_systems_without_code_of_ones_own_are_left_to_numpy(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(load.mmap, "mmap", refuse)
    load.is_wide.cache_clear()
    try:
        assert not load.is_wide()
    finally:
        load.is_wide.cache_clear()


@wide
def test_another_value_of_a_parameter_is_no_new_code():
    X, y = RNG.normal(size=(200, 4)), RNG.poisson(3, 200) * 1.0
    beta, found = np.full(4, 0.1), []
    for alpha in (0.7, 0.8, 0.9):
        held = eg.families.negative_binomial(alpha=alpha)
        kernel = row_kernel(held, eg.links.log, ("score", "weight", "kernel"))
        row_sums = RowSums(kernel.source, Wanted(0, 1, (2,)))
        u, *_ = kernel(X @ beta, y, 1.0)
        np.testing.assert_allclose(row_sums.over(X, beta, y).score, u @ X, rtol=1e-12)
        found.append(block.compiled.cache_info().currsize)
    assert found[0] == found[1] == found[2]


@wide
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_during_compilation_can_compile():
    code = (
        "import os, numpy as np\n"
        "from expfam_glm.kernels.machine import load, sums\n"
        "load._lock.acquire()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sums.gram(np.ones((50, 9)), np.ones(50))\n"
        "    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@wide
def test_every_thread_has_memory_of_its_own():
    cases = [problem(case, 3000, p) for case, p in [("binomial", 5), ("gamma", 30), ("normal", 11)]]
    expected = [RowSums(k.source, Wanted(2, 4, (1,))).over(X, b, y) for k, X, b, y, _ in cases]
    wrong = []

    def work(k: int) -> None:
        for turn in range(60):
            kernel, X, beta, y, _ = cases[(k + turn) % 3]
            found = RowSums(kernel.source, Wanted(2, 4, (1,))).over(X, beta, y)
            same = np.array_equal(found.information, expected[(k + turn) % 3].information)
            if not (same and found.totals == expected[(k + turn) % 3].totals):
                wrong.append((k, turn))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@wide
def test_machine_code_is_remembered_and_can_be_done_without(tmp_path, monkeypatch):
    from expfam_glm.spec import memory

    compiled = []
    emit = load.Home.keep
    monkeypatch.setattr(load.Home, "keep", lambda *a: (compiled.append(a[1]), emit(*a)))
    x = np.array([0.5])
    for folder, times in ((tmp_path, 1), (tmp_path, 1), ("", 2)):
        monkeypatch.setenv(memory.VARIABLE, str(folder))
        load._function.cache_clear()
        memory._facts.cache_clear()
        np.testing.assert_allclose(mapped("exp", x), np.exp(x))
        assert len(compiled) == times
    memory._facts.cache_clear()


# ---- fits ---------------------------------------------------------------------------------------


def without_machine(monkeypatch, fit):
    with monkeypatch.context() as patch:
        for module in (sums, plain_sums):
            patch.setattr(module, "is_wide", lambda: False)
        return fit()


@wide
@pytest.mark.parametrize("weights", [{}, {"weights": True}, {"freq_weights": True, "offset": True},
                                     {"weights": True, "freq_weights": True}])  # fmt: skip
@pytest.mark.parametrize("case", ["binomial", "poisson", "gamma", "inverse_gaussian", "normal"])
def test_fits_are_those_of_numpy(case, weights, monkeypatch):
    link, family = FAMILIES[case]
    rng = np.random.default_rng(3)
    n, p = 60_001, 18
    assert n * p > _FEWEST_DOUBLES
    X = rng.normal(size=(n, p))
    X[:, 0] = 1.0
    eta = X @ (rng.normal(size=p) / 12)
    mean = np.asarray(getattr(eg.links, link).inverse(eta))
    y = {
        "binomial": lambda: rng.random(n) < mean, "poisson": lambda: rng.poisson(mean),
        "gamma": lambda: rng.gamma(2, mean / 2), "inverse_gaussian": lambda: rng.wald(mean, 2),
        "normal": lambda: rng.normal(mean),
    }[case]() * 1.0  # fmt: skip
    given = {"weights": rng.random(n) + 0.5, "freq_weights": rng.integers(1, 3, n),
             "offset": rng.normal(size=n) / 9}  # fmt: skip
    if family.support.discrete:
        given["weights"] = np.round(given["weights"] * 2)  # then y·w is whole
    given = {name: given[name] for name in weights}

    def fit():
        return eg.GLM.from_arrays(y, X, family=family, link=link, **given).fit(cov="HC3")

    found, other = fit(), without_machine(monkeypatch, fit)
    se = other["fit"]["se"].values
    assert np.abs((found["fit"]["beta"].values - other["fit"]["beta"].values) / se).max() < 1e-7
    np.testing.assert_allclose(found["fit"]["se"], se, rtol=1e-8)
    for name in ("deviance", "loglik", "pearson_chi2", "null_deviance"):
        a, b = (float(tree["fit_stats"][name]) for tree in (found, other))
        assert a == pytest.approx(b, rel=1e-10), name


@wide
@pytest.mark.parametrize(("edge", "near"), [(1.0, True), (0.0, False)])
def test_means_at_the_edge_are_looked_at_row_by_row(edge, near, monkeypatch):
    n, p = 80_000, 14
    X = np.random.default_rng(5).normal(size=(n, p)) / 9
    X[:, 0] = 1.0
    X[777, 0] = 17.0  # its mean is within 4e-8 of one
    y = (np.arange(n) % 2) * 1.0
    y[777] = edge
    problem = eg.GLM.from_arrays(y, X, family="binomial").problem
    beta = np.eye(p)[0]
    found = fitness(problem, MemoryBlocks(problem), beta, None, True)
    other = without_machine(
        monkeypatch, lambda: fitness(problem, MemoryBlocks(problem), beta, None, True)
    )
    assert found.near_edge == other.near_edge == near
    np.testing.assert_allclose(found.information, other.information, rtol=1e-12, atol=1e-9)


@wide
def test_blocks_are_summed_the_same_on_any_number_of_threads(monkeypatch):
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(100_000, 12)), rng.poisson(1, 100_000)
    model = eg.GLM.from_arrays(y, X, family="poisson")
    assert MemoryBlocks(model.problem).rows * 12 > _FEWEST_DOUBLES
    one = model.fit()
    monkeypatch.setattr("expfam_glm.kernels.threads._processors", lambda: 1)
    two = model.fit()
    assert np.array_equal(one["fit"]["beta"], two["fit"]["beta"])
    assert np.array_equal(one["fit"]["se"], two["fit"]["se"])
