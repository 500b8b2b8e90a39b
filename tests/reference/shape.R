# Reference values for estimated shape parameters: MASS::glm.nb, polished to the limit, and R's glm
# with statmod::tweedie at given powers.
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
cases <- c(nb, tw)
used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion(), "MASS", packageVersion("MASS"), "statmod",
                                packageVersion("statmod")),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = cases), "shape.json")
