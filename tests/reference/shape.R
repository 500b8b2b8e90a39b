# Reference values for estimated shape parameters: MASS::glm.nb, polished to the limit, also under
# hypotheses, profile intervals of theta and of the dispersion of gamma, inverse Gaussian and normal
# fits, and R's glm with statmod::tweedie at given powers.
#
#   Rscript tests/reference/shape.R      writes shape.json beside itself
#
# Needs R with the packages MASS, statmod and jsonlite. README.md describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))
library(MASS)

insurance <- with(MASS::Insurance, data.frame(
  district = as.integer(as.character(District)), age = as.character(Age), holders = Holders,
  claims = Claims))
warpbreaks <- data.frame(lapply(datasets::warpbreaks, function(v)
  if (is.factor(v)) as.character(v) else v))
zoned <- with(MASS::Boston, data.frame(zoned = zn, rooms = rm, distance = dis, oxides = nox))
chicks <- aggregate(weight ~ Time + Diet, datasets::ChickWeight, mean)
chicks$number <- aggregate(weight ~ Time + Diet, datasets::ChickWeight, length)$weight
chicks <- with(chicks, data.frame(day = Time, diet = as.integer(as.character(Diet)), weight = weight,
                                  number = number))
embedded <- list(insurance = insurance, warpbreaks = warpbreaks, zoned = zoned, chicks = chicks)

prepared <- function(data, formula, offset = NULL, exposure = NULL, weights = NULL, counts = NULL) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  frame <- as_factors(raw, formula)
  frame$.y <- as.numeric(model.response(model.frame(terms(r_formula(formula)), frame)))
  frame$.o <- if (is.null(offset)) 0 else frame[[offset]]
  if (!is.null(exposure)) frame$.o <- frame$.o + log(frame[[exposure]])
  frame$.w <- 1
  for (name in c(weights, counts)) frame$.w <- raw[[name]]
  as_fitted <- r_formula(formula)
  as_fitted[[2]] <- quote(.y)
  roles <- list(offset = offset, exposure = exposure, weights = weights, freq_weights = counts)
  list(frame = frame, formula = as_fitted, roles = Filter(Negate(is.null), roles))
}

tight <- glm.control(epsilon = 1e-15, maxit = 200)

# theta at the maximum for given means, to the last digits: Newton in log(theta).
best_theta <- function(theta, y, mu, w) {
  for (k in 1:100) {
    score <- theta * sum(w * (digamma(theta + y) - digamma(theta) + log(theta) + 1 -
                              log(theta + mu) - (y + theta) / (mu + theta)))
    info <- theta^2 * sum(w * (trigamma(theta) - trigamma(theta + y) - 1 / theta + 2 / (mu + theta) -
                               (y + theta) / (mu + theta)^2))
    step <- score / (info - score)
    theta <- theta * exp(step)
    if (abs(step) < 1e-14) break
  }
  list(theta = theta, info = info)
}

negative_binomial <- function(data, formula, link = "log", ..., note = NULL) {
  id <- paste(c("negative_binomial", link, data, note), collapse = "-")
  p <- prepared(data, formula, ...)
  first <- suppressWarnings(do.call(MASS::glm.nb, list(update(p$formula, . ~ . + offset(.o)), p$frame,
    weights = quote(.w), link = as.name(link), control = glm.control(maxit = 200, epsilon = 1e-12))))
  theta <- first$theta
  beta <- coef(first)
  for (k in 1:200) {
    fit <- suppressWarnings(glm(p$formula, MASS::negative.binomial(theta, link), p$frame,
      weights = .w, offset = .o, start = beta, control = tight))
    found <- best_theta(theta, p$frame$.y, fitted(fit), p$frame$.w)
    moved <- abs(found$theta / theta - 1)
    beta <- coef(fit)
    theta <- found$theta
    if (moved < 1e-14) break
  }
  se <- summary(fit, dispersion = 1)$coefficients[, 2]
  stopifnot(abs(theta / first$theta - 1) < 1e-4, abs(beta - coef(first)) < 1e-4 * se)
  loglik <- sum(p$frame$.w * dnbinom(p$frame$.y, size = theta, mu = fitted(fit), log = TRUE))
  stopifnot(abs(loglik - as.numeric(logLik(first))) < 1e-6)
  n <- sum(p$frame$.w)
  k <- length(beta) + 1
  message(sprintf("%-40s alpha %.12g, glm.nb off by %.0e", id, 1 / theta, abs(theta / first$theta - 1)))
  list(id = id, data = data, formula = formula, family = "negative_binomial", family_args = list(),
       link = link, roles = p$roles, coef = I(our_labels(names(beta), p$frame, formula)),
       beta = I(unname(beta)), se = I(unname(se)), shapes = list(alpha = 1 / theta),
       se_scale = list(alpha = 1 / sqrt(found$info)), phi = 1, deviance = deviance(fit),
       null_deviance = fit$null.deviance, loglik = loglik, aic = -2 * loglik + 2 * k,
       bic = -2 * loglik + log(n) * k)
}

# The maximum over theta and the coefficients of X with an offset, to the limit.
highest <- function(X, y, w, o, link, theta) {
  beta <- NULL
  for (k in 1:500) {
    spec <- MASS::negative.binomial(theta, link)
    fit <- suppressWarnings(glm.fit(X, y, w, offset = o, family = spec, start = beta,
                                    control = tight, intercept = FALSE))
    beta <- fit$coefficients
    found <- best_theta(theta, y, fit$fitted.values, w)$theta
    moved <- abs(found / theta - 1)
    theta <- found
    if (moved < 1e-14) break
  }
  mu <- fit$fitted.values
  list(theta = theta, mu = mu, eta = fit$linear.predictors,
       loglik = sum(w * dnbinom(y, size = theta, mu = mu, log = TRUE)))
}

# Likelihood-ratio and score test of the last term, theta estimated in both models, and the interval
# of the last coefficient by the likelihood maximised over all else, theta too.
comparison <- function(data, formula, small, link = "log", ..., term = NULL) {
  p <- prepared(data, formula, ...)
  X <- model.matrix(p$formula, p$frame)
  drop <- setdiff(colnames(X), colnames(model.matrix(r_formula(small)[-2], p$frame)))
  y <- p$frame$.y; w <- p$frame$.w; o <- rep_len(p$frame$.o, nrow(X))
  full <- highest(X, y, w, o, link, 1)
  null <- highest(X[, !colnames(X) %in% drop, drop = FALSE], y, w, o, link, full$theta)
  # R's own: anova of two glm.nb
  fits <- lapply(list(p$formula, update(p$formula, as.formula(paste(". ~ . -", term)))), function(f)
    suppressWarnings(do.call(MASS::glm.nb, list(update(f, . ~ . + offset(.o)), p$frame, weights = quote(.w),
      link = as.name(link), control = glm.control(maxit = 200, epsilon = 1e-12)))))
  lr <- 2 * (full$loglik - null$loglik)
  stopifnot(abs(2 * diff(c(logLik(fits[[2]]), logLik(fits[[1]]))) - lr) < 1e-5)
  # the score at the null fit, by the definition; anova's own has the same theta held
  spec <- MASS::negative.binomial(null$theta, link)
  slope <- spec$mu.eta(null$eta)
  W <- w * slope^2 / spec$variance(null$mu)
  U <- crossprod(X, w * (y - null$mu) * slope / spec$variance(null$mu))
  score <- drop(crossprod(U, solve(crossprod(X, W * X), U)))
  last <- ncol(X)
  se <- sqrt(diag(solve(crossprod(X, W * X))))[last]
  estimate <- glm.fit(X, y, w, offset = o, family = MASS::negative.binomial(full$theta, link),
                      control = tight)$coefficients[last]
  gap <- function(b) 2 * (full$loglik - highest(X[, -last, drop = FALSE], y, w, o + b * X[, last], link,
                                                full$theta)$loglik) - qchisq(0.95, 1)
  ends <- c(uniroot(gap, estimate - c(4, 0.5) * se, tol = 1e-13)$root,
            uniroot(gap, estimate + c(0.5, 4) * se, tol = 1e-13)$root)
  id <- paste(c(data, link, "without", term), collapse = "-")
  message(id)
  list(id = id, data = data, formula = formula, small = small, family = "negative_binomial",
       family_args = list(), link = link, roles = p$roles, df = length(drop), lr = lr, score = score,
       coef = our_labels(colnames(X), p$frame, formula)[last], se = unname(se), interval = ends,
       theta_null = null$theta)
}

# The 95% interval of a parameter by its profile likelihood: alpha = 1/theta, or phi of a family with
# a density in R, whose means are the same for every phi.
profiled <- function(data, formula, family, link = "log", ..., note = NULL) {
  p <- prepared(data, formula, ...)
  X <- model.matrix(p$formula, p$frame)
  y <- p$frame$.y; w <- p$frame$.w; o <- rep_len(p$frame$.o, nrow(X))
  counted <- length(p$roles$freq_weights) > 0
  settled <- function(spec, beta = NULL) {
    for (k in 1:8) {
      fit <- suppressWarnings(glm.fit(X, y, w, offset = o, family = spec, start = beta, control = tight,
                                      intercept = FALSE))
      beta <- fit$coefficients
    }
    fit
  }
  if (family == "negative_binomial") {
    full <- highest(X, y, w, o, link, 1)
    estimate <- 1 / full$theta
    loglik <- function(alpha) {
      mu <- settled(MASS::negative.binomial(1 / alpha, link))$fitted.values
      sum(w * dnbinom(y, size = 1 / alpha, mu = mu, log = TRUE))
    }
  } else {
    spec <- switch(family, gamma = Gamma(link), normal = gaussian(link), inverse_gaussian = inverse.gaussian(link))
    mu <- settled(spec, if (link == "log") c(log(mean(y)), rep(0, ncol(X) - 1)))$fitted.values
    f <- if (counted) w else 1
    a <- function(phi) if (counted) phi else phi / w
    loglik <- function(phi) sum(f * switch(family,
      gamma = dgamma(y, shape = 1 / a(phi), scale = mu * a(phi), log = TRUE),
      normal = dnorm(y, mu, sqrt(a(phi)), log = TRUE),
      inverse_gaussian = statmod::dinvgauss(y, mu, dispersion = a(phi), log = TRUE)))
    estimate <- optimize(function(u) -loglik(exp(u)), c(-12, 12), tol = 1e-10)
    estimate <- exp(estimate$minimum)
  }
  top <- loglik(estimate)
  gap <- function(u) 2 * (top - loglik(estimate * exp(u))) - qchisq(0.95, 1)
  ends <- estimate * exp(c(uniroot(gap, c(-3, -0.01), tol = 1e-13)$root, uniroot(gap, c(0.01, 3), tol = 1e-13)$root))
  id <- paste(c(family, link, data, note), collapse = "-")
  message("profile of ", id)
  list(id = id, data = data, formula = formula, family = family, family_args = list(), link = link,
       roles = p$roles, parameter = if (family == "negative_binomial") "alpha" else "phi",
       estimate = estimate, interval = I(ends))
}

tweedie <- function(data, formula, power, link = "log", ..., note = NULL) {
  id <- paste(c("tweedie", power, link, data, note), collapse = "-")
  p <- prepared(data, formula, ...)
  spec <- statmod::tweedie(var.power = power, link.power = c(log = 0, identity = 1, sqrt = 0.5)[[link]])
  fit <- glm(p$formula, spec, p$frame, weights = .w, offset = .o, control = tight)
  for (k in 1:20) fit <- glm(p$formula, spec, p$frame, weights = .w, offset = .o, start = coef(fit),
                             control = tight)
  s <- summary(fit)
  message(id)
  list(id = id, data = data, formula = formula, family = "tweedie", family_args = list(power = power),
       link = link, roles = p$roles, coef = I(our_labels(names(coef(fit)), p$frame, formula)),
       beta = I(unname(coef(fit))), se = I(unname(s$coefficients[, 2])), phi = s$dispersion,
       deviance = deviance(fit), null_deviance = fit$null.deviance)
}

nb <- list(
  negative_binomial("quine", "days ~ ethnicity * sex + age + learner"),
  negative_binomial("quine", "days ~ ethnicity + sex", "sqrt"),
  negative_binomial("quine", "days ~ 1", note = "constant"),
  negative_binomial("seizures", "seizures ~ lbase * treatment + age"),
  negative_binomial("seizures", "seizures ~ treatment * C(visit)", counts = "visit", note = "repeated"),
  negative_binomial("ships", "incidents ~ type + C(year)"),
  negative_binomial("insurance", "claims ~ C(district) + age", exposure = "holders"),
  negative_binomial("warpbreaks", "breaks ~ wool * tension"),
  negative_binomial("warpbreaks", "breaks ~ wool + tension", "identity"))
tw <- list(
  tweedie("zoned", "zoned ~ rooms + log(distance)", 1.5),
  tweedie("zoned", "zoned ~ rooms + log(distance)", 1.1),
  tweedie("quine", "days ~ ethnicity * sex + age", 1.9),
  tweedie("chicks", "weight ~ day + C(diet)", 1.7, weights = "number"),
  tweedie("chicks", "weight ~ day + C(diet)", 1.25, "sqrt", weights = "number"),
  tweedie("insurance", "claims ~ C(district) + age", 1.6, exposure = "holders"))
compared <- list(
  comparison("quine", "days ~ ethnicity + sex + age + learner", "days ~ ethnicity + sex + age",
             term = "learner"),
  comparison("quine", "days ~ ethnicity + sex + age", "days ~ ethnicity + sex", term = "age"),
  comparison("insurance", "claims ~ C(district) + age", "claims ~ C(district)", exposure = "holders",
             term = "age"),
  comparison("seizures", "seizures ~ lbase + treatment", "seizures ~ lbase", counts = "visit",
             term = "treatment"),
  comparison("warpbreaks", "breaks ~ wool * tension", "breaks ~ wool + tension", term = "wool:tension"))
profiles <- list(
  profiled("quine", "days ~ ethnicity + sex", "negative_binomial"),
  profiled("insurance", "claims ~ C(district) + age", "negative_binomial", exposure = "holders"),
  profiled("clotting", "time ~ C(lot) * log(u)", "gamma", "inverse"),
  profiled("chicks", "weight ~ day + C(diet)", "gamma", "log", weights = "number"),
  profiled("clotting", "time ~ log(u)", "inverse_gaussian", "log"),
  profiled("chicks", "weight ~ day", "normal", "identity", counts = "number"))
cases <- c(nb, tw)
used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion(), "MASS", packageVersion("MASS"), "statmod",
                                packageVersion("statmod")),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = cases, compared = compared, profiles = profiles), "shape.json")
