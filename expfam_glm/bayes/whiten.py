"""Coordinates in which a posterior is nearly N(0, I), for the samplers.

Without group effects: z = mode + L u, LLᵀ the covariance there. With them the joint mode is no
guide (its Hessian need not be definite), so the variances are taken where the marginal posterior
of the variances, by Laplace's approximation, is highest; given them the effects and coefficients
are nearly normal, with a precision that is an arrow: a block for each level, and a border. How the
width of the effects depends on the variances is taken out by `expfam_glm.bayes.centring`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.optimize import minimize

from expfam_glm.bayes.centring import Moving, PartlyCentred
from expfam_glm.bayes.density import LogPosterior
from expfam_glm.bayes.group_density import GroupPosterior, Part
from expfam_glm.bayes.mode import at_mode
from expfam_glm.bayes.prior import centre_of
from expfam_glm.bayes.prior_terms import PriorTerms
from expfam_glm.bayes.priors import Applied
from expfam_glm.bayes.shrunk_density import ShrunkPosterior
from expfam_glm.bayes.start import Start
from expfam_glm.data.response import Problem
from expfam_glm.kernels.row import row_kernel

_LARGEST = 5e7  # entries of the border's design, beyond which PyMC's graph is the better road
_STEP = 0.05  # of the differences in the variances' coordinates
_SOFTEST = 0.25  # the least curvature that is believed in these
_MOST_STEPS = 30
_CLOSE = 1e-6
_NEAR_MODE = 0.05  # posterior standard deviations
_MOST_BENT = 64  # coordinates; the curvature takes two gradients for each, a few times
_FIRST_SD = 0.3  # of the prior's centre, where the search begins


class Whitening(Protocol):
    """z = f(u), linear."""

    def forward(self, u: np.ndarray) -> np.ndarray:
        """z of u."""

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """∂/∂u from ∂/∂z."""


class Dense:
    """z = centre + root u."""

    def __init__(self, centre: np.ndarray, root: np.ndarray) -> None:
        self.centre, self.root = centre, root

    def forward(self, u: np.ndarray) -> np.ndarray:
        """z of u."""
        return self.centre + self.root @ u

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """∂/∂u from ∂/∂z."""
        return gradient @ self.root


def at_start(density: LogPosterior, start: Start) -> tuple[np.ndarray, np.ndarray]:
    """The start in the value space and the root of the covariance there."""
    p = density.p
    shaped = [scale.to(start.shapes[name]) for name, scale in density.scales.items()]
    centre = np.concatenate([start.beta, shaped, [np.log(start.phi)][: density.free]])
    spread = [*(start.shape_sd[name] for name in density.scales), start.log_phi_sd]
    root = np.zeros((centre.size, centre.size))
    root[:p, :p] = start.root
    root[p:, p:] = np.diag(spread[: centre.size - p])
    return centre, root


def around_mode(density: LogPosterior, start: Start) -> tuple[np.ndarray, np.ndarray]:
    """The mode and a root of the covariance there; those of the start where that is dear or flat.

    Of the start the curvature in shapes and φ is a guess, apart from that in β.
    """
    begun = at_start(density, start)
    dear = density.n_dim > _MOST_BENT or len(density.scales) + density.free == 0
    return begun if dear or start.corners else at_mode(density, *begun, close=_NEAR_MODE) or begun


def shrunk_start(density: ShrunkPosterior, start: Start) -> tuple[np.ndarray, np.ndarray]:
    """Standard coordinates for what is behind the horseshoe; z = 0, λ = 1, the slab's c²."""
    centre, root = at_start(density, start)
    m, kept = density.horseshoe.n_dim, np.append(density.others, np.arange(density.p, centre.size))
    z, spread = np.zeros(density.n_dim), np.eye(density.n_dim)
    own = density.horseshoe.own
    z[m - 2 : m] = np.log(own.tau), 2 * np.log(own.slab)
    z[m:] = centre[kept]
    spread[m:, m:] = np.diag(np.sqrt(np.sum(root[kept] ** 2, axis=1)))
    return z, spread


def has_arrow(problem: Problem, applied: Applied) -> bool:
    """Whether the priors of the spreads are known and all groups but the largest are small."""
    sizes = sorted(len(part.levels) * len(part.labels) for part in problem.frame.effects)
    border = problem.X.shape[1] + sum(sizes[:-1])
    known = all(PriorTerms(own).complete for own in applied.spreads.values())
    return known and max(problem.row_count, sizes[-1]) * border <= _LARGEST


class _Arrow:
    """The precision of (border, blocks) given the variances: border (d,), blocks (G, q)."""

    def __init__(self, DD: np.ndarray, DB: np.ndarray, BB: np.ndarray) -> None:
        G, q = BB.shape[:2]
        self.q = q
        self.own = np.diagonal(DD), np.diagonal(BB, axis1=1, axis2=2)
        self.factor = np.linalg.cholesky(BB)  # of each block
        half = np.linalg.solve(self.factor, DB.T.reshape(G, q, -1))  # (G, q, d)
        self.root = np.linalg.solve(self.factor, np.broadcast_to(np.eye(q), BB.shape))
        self.root = self.root.transpose(0, 2, 1)  # R Rᵀ = BB⁻¹
        self.across = np.einsum("gij,gjd->gid", self.root, half).reshape(G * q, -1)  # BB⁻¹ BD
        border = np.linalg.cholesky(DD - np.einsum("gid,gie->de", half, half))
        self.border = np.linalg.inv(border).T
        self.log_det = 2 * float(
            np.log(np.diagonal(border)).sum()
            + np.log(np.diagonal(self.factor, axis1=1, axis2=2)).sum()
        )

    def forward(self, border: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """L u of the two parts of u, LLᵀ the inverse of the precision."""
        moved = self.border @ border
        own = self._blocks(self.root, blocks)
        return moved, own - self.across @ moved

    def backward(self, border: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lᵀ g of the two parts of g."""
        return (
            (border - blocks @ self.across) @ self.border,
            self._blocks(self.root.transpose(0, 2, 1), blocks),
        )

    def _blocks(self, matrices: np.ndarray, values: np.ndarray) -> np.ndarray:
        if self.q == 1:
            return matrices[:, 0, 0] * values
        return np.matmul(matrices, values.reshape(-1, self.q, 1)).ravel()


class Grouped:
    """The variances o around their centre; border and blocks around their mode given o."""

    def __init__(
        self,
        places: tuple[np.ndarray, np.ndarray, slice],
        centre: np.ndarray,
        root: np.ndarray,
        shear: np.ndarray,
        arrow: _Arrow,
    ) -> None:
        self.outer, self.border, self.blocks = places
        self.centre, self.root, self.arrow = centre, root, arrow
        self.shear = shear[self.border], shear[self.blocks]

    def forward(self, u: np.ndarray) -> np.ndarray:
        """z of u."""
        z = np.empty(u.size)
        moved = self.root @ u[self.outer]
        border, blocks = self.arrow.forward(u[self.border], u[self.blocks])
        z[self.outer] = moved
        z[self.border] = border + self.shear[0] @ moved
        z[self.blocks] = blocks + self.shear[1] @ moved
        z += self.centre
        return z

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """∂/∂u from ∂/∂z."""
        result = np.empty(gradient.size)
        border, blocks = gradient[self.border], gradient[self.blocks]
        outer = gradient[self.outer] + border @ self.shear[0] + blocks @ self.shear[1]
        result[self.outer] = outer @ self.root
        result[self.border], result[self.blocks] = self.arrow.backward(border, blocks)
        return result


def whitened_groups(density: GroupPosterior, start: Start) -> tuple[PartlyCentred, Grouped]:
    """A posterior with group effects between centred and not, and the coordinates for it."""
    search = _Search(density)
    z = np.zeros(density.n_dim)
    z[: density.base] = at_start(density, start)[0]
    for part, own in zip(density.parts, density.spreads.values(), strict=True):
        z[part.v] = part.spread.value_of(np.array([_FIRST_SD * centre_of(p) for p in own]))
    search.near = z
    first = z[search.outer]
    found = minimize(
        lambda o: -search.marginal(o)[0], first, method="BFGS",
        bounds=None, options={"eps": 1e-3, "gtol": 1e-2, "maxiter": 40},
    )  # fmt: skip
    best = found.x if np.isfinite(found.fun) else first
    value, centre, arrow = search.marginal(best)
    k = best.size
    shear, curvature = np.zeros((z.size, k)), np.zeros((k, k))
    steps = _STEP * np.eye(k)
    ends = [(search.marginal(best + h), search.marginal(best - h)) for h in steps]
    for i, (up, down) in enumerate(ends):
        shear[:, i] = (up[1] - down[1]) / (2 * _STEP)
        curvature[i, i] = (2 * value - up[0] - down[0]) / _STEP**2
        for j in range(i):
            both = search.marginal(best + steps[i] + steps[j])[0]
            mixed = (both - up[0] - ends[j][0][0] + value) / _STEP**2
            curvature[i, j] = curvature[j, i] = -mixed
    if not (np.isfinite(curvature).all() and np.isfinite(shear).all()):
        shear, curvature = np.zeros_like(shear), np.eye(k)
    values, vectors = np.linalg.eigh(curvature)
    root = vectors / np.sqrt(np.maximum(values, _SOFTEST))
    places = (search.outer, search.border, search.main.z)
    groups = search.moving(centre, arrow)
    for group in groups:
        i = int(np.flatnonzero(search.outer == group.v)[0])
        shear[group.z, i] += group.share * centre[group.z]
    return PartlyCentred(density, groups), Grouped(places, centre, root, shear, arrow)


class _Search:
    """Modes of effects and coefficients given the variances, and what lies around them."""

    def __init__(self, density: GroupPosterior) -> None:
        self.density, problem = density, density.problem
        self.main: Part = max(density.parts, key=lambda part: part.levels * part.q)
        others = [part for part in density.parts if part is not self.main]
        self.others = others
        self.outer = np.concatenate(
            [np.arange(density.p, density.base), *(np.r_[part.v] for part in density.parts)]
        )
        self.border = np.concatenate([np.arange(density.p), *(np.r_[part.z] for part in others)])
        self.inner = np.concatenate([self.border, np.r_[self.main.z]])
        self.X = problem.X
        self.order = np.argsort(self.main.codes, kind="stable")
        self.present, self.starts = np.unique(self.main.codes[self.order], return_index=True)
        self.weights = row_kernel(problem.family, problem.link, ("weight",))
        self.near = np.zeros(density.n_dim)

    def marginal(self, o: np.ndarray) -> tuple[float, np.ndarray, _Arrow]:
        """The Laplace approximation of log π(o), the mode given o, and the precision there."""
        z = self.near.copy()
        z[self.outer] = o
        arrow = None
        value, gradient = self.density(z)
        if not np.isfinite(value):
            z[self.inner] = 0.0
            z[: self.density.p] = self.near[: self.density.p]
            value, gradient = self.density(z)
        for _ in range(_MOST_STEPS):
            arrow = self._arrow(z)
            half = arrow.backward(gradient[self.border], gradient[self.main.z])
            step = np.concatenate(arrow.forward(*half))
            size = float(half[0] @ half[0] + half[1] @ half[1])
            for k in range(30):
                moved = z.copy()
                moved[self.inner] += step * 0.5**k
                new, slope = self.density(moved)
                if new >= value - 1e-9 * abs(value):
                    z, value, gradient = moved, new, slope
                    break
            else:
                break
            if size < _CLOSE:
                break
        arrow = self._arrow(z)
        if np.isfinite(value):
            self.near = z
        return value - 0.5 * arrow.log_det, z, arrow

    def moving(self, z: np.ndarray, arrow: _Arrow) -> list[Moving]:
        """The groups of one effect a level, with the part of its information from the rows."""
        precision = np.empty(z.size)
        precision[self.border], precision[self.main.z] = arrow.own[0], arrow.own[1].ravel()
        found = []
        for part in self.density.parts:
            if part.q == 1:
                share = 1.0 - 1.0 / precision[part.z]  # the prior's information about z is 1
                first = float(z[part.v.start])
                found.append(Moving(part.v.start, part.z, first, share, float(share.sum())))
        return found

    def _arrow(self, z: np.ndarray) -> _Arrow:
        """The information of the rows and of the priors about border and blocks."""
        density, main = self.density, self.main
        W = self._fisher(z)
        roots = {part.name: part.spread.root(z[part.v]) for part in density.parts}
        columns = [self.X]
        for part in self.others:
            own = np.zeros((W.size, part.levels, part.q))
            own[np.arange(W.size), part.codes] = part.Z @ roots[part.name]
            columns.append(own.reshape(W.size, -1))
        D = columns[0] if len(columns) == 1 else np.hstack(columns)
        B = main.Z @ roots[main.name]  # (n, q)
        DD = D.T @ (D * W[:, None])
        prior = np.ones(self.border.size)
        prior[: density.p] = np.maximum(-density.coefficients.curvature(z[: density.p]), 0.0)
        DD[np.diag_indices_from(DD)] += prior
        weighted = B * W[:, None]
        BB = self._sums((weighted[:, :, None] * B[:, None, :]).reshape(W.size, -1))
        BB = BB.reshape(main.levels, main.q, main.q) + np.eye(main.q)
        DB = np.stack([self._sums(D * column[:, None]) for column in weighted.T], axis=1)
        return _Arrow(DD, DB.reshape(main.levels * main.q, -1).T, BB)

    def _sums(self, rows: np.ndarray) -> np.ndarray:
        """Sums of rows (n, k) within the levels of the main group, (levels, k)."""
        result = np.zeros((self.main.levels, rows.shape[1]))
        result[self.present] = np.add.reduceat(rows[self.order], self.starts, axis=0)
        return result

    def _fisher(self, z: np.ndarray) -> np.ndarray:
        """Fisher weights of the rows."""
        density = self.density
        eta = density.problem.X @ z[: density.p]
        if density.problem.offset is not None:
            eta = eta + density.problem.offset
        for part in density.parts:
            R = part.spread.root(z[part.v])
            eta = eta + part.shift(z[part.z].reshape(part.levels, part.q) @ R.T)
        phi = np.exp(z[density.base - 1]) if density.free else density.problem.family.phi
        w = 1.0 if density.problem.w is None else density.problem.w
        r = w / float(density.problem.family.a(phi))
        shapes = density.shapes_at(z).values()
        W = np.broadcast_to(self.weights(eta, density.problem.y, r, *shapes)[0], eta.shape)
        return W if density.problem.f is None else W * density.problem.f
