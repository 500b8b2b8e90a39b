# Reference values for bias reduction and Jeffreys' penalty: brglm2; penalised likelihood ratios and
# profile intervals: the penalised likelihood written out and maximised by optim().
#
#   Rscript tests/reference/penalty.R        writes penalty.json beside itself
#
# Needs R with the packages brglm2, MASS and jsonlite. README.md describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))
suppressMessages({library(brglm2); library(MASS)})
data(endometrial, lizards, coalition, package = "brglm2")

endometrial <- with(endometrial, data.frame(nv = NV, pi = PI, eh = EH, hg = HG))
lizards <- with(lizards, data.frame(grahami = grahami, total = grahami + opalinus,
  height = as.character(height), diameter = as.character(diameter), light = as.character(light),
  time = as.character(time)))
coalition <- with(coalition, data.frame(duration = duration, fract = fract, numst2 = numst2))
birthwt <- MASS::birthwt[, c("low", "age", "lwt", "race", "smoke", "ht")]
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))
warpbreaks <- data.frame(lapply(datasets::warpbreaks, function(v)
  if (is.factor(v)) as.character(v) else v))
embedded <- list(endometrial = endometrial, lizards = lizards, coalition = coalition,
                 birthwt = birthwt, trees = trees, warpbreaks = warpbreaks)

cases <- list()
case <- function(data, formula, family, link, penalty, trials = NULL, weights = NULL, exposure = NULL) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  made <- as_case(raw, formula, trials, weights, exposure)
  frame <- made$frame
  type <- c(firth = "AS_mean", jeffreys = "MPL_Jeffreys")[[penalty]]
  fit <- suppressWarnings(glm(made$formula, family_of(family, link), frame, weights = .w, offset = .o,
    method = "brglmFit", type = type, epsilon = 1e-13, maxit = 20000))
  s <- summary(fit)
  left <- max(abs(fit$grad[seq_along(coef(fit))] * s$coefficients[, 2]), na.rm = TRUE)
  id <- paste(c(data, family, link, penalty), collapse = "-")
  stopifnot(!id %in% names(cases))
  message(sprintf("%-44s left %.0e", id, left))
  if (left > 1e-9) stop(id, ": not at the root")
  known <- family %in% c("binomial", "poisson")
  roles <- list(trials = trials, weights = weights, exposure = exposure)
  cases[[id]] <<- list(id = id, data = data, formula = formula, family = family, family_args = list(),
    link = link, roles = Filter(Negate(is.null), roles), penalty = penalty,
    coef = I(our_labels(names(coef(fit)), frame, formula)), beta = I(coef(fit)),
    se = I(s$coefficients[, 2]), phi = if (known) 1 else fit$dispersion)
}

# 2{l*(b) - l*(b0)} of each coefficient at 0, and where it is the 95% quantile: l* = -D/(2 phi) plus
# half the log-determinant of X'WX, or less half of the sum of squares over scale^2
ratios <- list()
ratio <- function(data, formula, family, link, penalty, trials = NULL, scale = NULL) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  frame <- as_factors(raw, formula)
  y <- as.numeric(eval(r_formula(formula)[[2]], frame))
  w <- if (is.null(trials)) rep(1, nrow(frame)) else frame[[trials]]
  if (!is.null(trials)) y <- y / w
  X <- model.matrix(r_formula(formula)[-2], frame)
  p <- ncol(X)
  spec <- family_of(family, link)
  free <- family == "inverse_gaussian"
  phi <- 1
  if (free) phi <- cases[[paste(c(data, family, link, penalty), collapse = "-")]]$phi
  height <- function(beta) {
    eta <- drop(X %*% beta)
    mu <- spec$linkinv(eta)
    if (!spec$valideta(eta) || !spec$validmu(mu)) return(-1e10)
    added <- if (is.null(scale)) {
      W <- w * spec$mu.eta(eta)^2 / spec$variance(mu)
      0.5 * as.numeric(determinant(crossprod(X, W * X))$modulus)
    } else -0.5 * sum(beta[-1]^2) / scale^2
    max(-sum(spec$dev.resids(y, mu, w)) / (2 * phi) + added, -1e10)
  }
  size <- 1 / sqrt(diag(crossprod(X)))
  highest <- function(start, j = NULL, value = 0) {  # over all coefficients but j
    free <- setdiff(seq_len(p), j)
    at <- function(part) { beta <- numeric(p); beta[free] <- part; beta[j] <- value; beta }
    part <- start[free]
    for (round in 1:6) part <- optim(part, function(b) height(at(b)), method = "BFGS",
      control = list(fnscale = -1, reltol = 1e-16, maxit = 1000, ndeps = rep(1e-5, length(free)),
                     parscale = size[free]))$par
    list(beta = at(part), height = height(at(part)))
  }
  first <- coef(glm.fit(X, y, w, family = spec, control = glm.control(maxit = 6)) |> suppressWarnings())
  top <- highest(first)
  n <- nrow(X)
  level <- if (free) qf(0.95, 1, n - p) else qchisq(0.95, 1)
  gap <- function(value, j) 2 * (top$height - highest(top$beta, j, value)$height)
  eta <- drop(X %*% top$beta)
  W <- w * spec$mu.eta(eta)^2 / spec$variance(spec$linkinv(eta)) / phi
  P <- if (is.null(scale)) 0 else diag(c(0, rep(scale^-2, p - 1)))
  se <- sqrt(diag(solve(crossprod(X, W * X) + P)))
  found <- lapply(seq_len(p), function(j) {
    end <- function(side) uniroot(function(k) gap(top$beta[j] + side * k * se[j], j) - level,
                                  c(0.3, 6), tol = 1e-12)$root * side * se[j] + top$beta[j]
    c(gap(0, j), end(-1), end(1))
  })
  found <- do.call(rbind, found)
  id <- paste(c(data, family, link, penalty), collapse = "-")
  message("ratios of ", id)
  ratios[[id]] <<- list(id = id, data = data, formula = formula, family = family, family_args = list(),
    link = link, roles = Filter(Negate(is.null), list(trials = trials)), penalty = penalty,
    scale = scale, coef = I(our_labels(colnames(X), frame, formula)), se = I(se),
    lr = I(found[, 1]), intervals = found[, 2:3], df = if (free) n - p else NULL)
}

both <- c("firth", "jeffreys")
for (p in both) {
  for (link in c("logit", "probit", "cloglog")) {
    case("endometrial", "hg ~ nv + pi + eh", "binomial", link, p)
    case("lizards", "grahami ~ height + diameter + light + time", "binomial", link, p, trials = "total")
  }
  case("birthwt", "low ~ age + lwt + C(race) + smoke + ht", "binomial", "cauchit", p)
  case("oring", "damaged ~ temperature", "binomial", "logit", p, trials = "rings")
  case("coalition", "duration ~ fract + numst2", "gamma", "inverse", p)
  case("coalition", "duration ~ fract + numst2", "gamma", "log", p)
  case("clotting", "time ~ C(lot) * log(u)", "gamma", "inverse", p)
  case("clotting", "time ~ C(lot) * log(u)", "gamma", "log", p, weights = "u")
  case("trees", "volume ~ girth + height", "inverse_gaussian", "log", p)
  case("trees", "volume ~ girth + height", "normal", "log", p)
  case("trees", "volume ~ girth + height", "normal", "identity", p)
  case("warpbreaks", "breaks ~ wool * tension", "poisson", "log", p)
  case("warpbreaks", "breaks ~ wool + tension", "poisson", "sqrt", p)
  case("ships", "incidents ~ type + C(year) + C(period)", "poisson", "log", p, exposure = "service")
}

ratio("endometrial", "hg ~ nv + pi + eh", "binomial", "logit", "firth")
ratio("lizards", "grahami ~ height + diameter + light", "binomial", "probit", "jeffreys", trials = "total")
ratio("warpbreaks", "breaks ~ wool + tension", "poisson", "log", "jeffreys")
ratio("trees", "volume ~ girth + height", "inverse_gaussian", "log", "jeffreys")
ratio("endometrial", "hg ~ nv + pi + eh", "binomial", "logit", "ridge", scale = 0.8)

used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion(), "brglm2", packageVersion("brglm2")),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = unname(cases), ratios = unname(ratios)), "penalty.json")
message(length(cases), " cases")
