# Reference values for quasi families from a variance function alone: R's glm.
#
#   Rscript tests/reference/quasi.R      writes quasi.json beside itself
#
# Needs R with the packages MASS, lme4, statmod and jsonlite. README.md describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))

swiss <- with(datasets::swiss, data.frame(examination = Examination, education = Education,
  farming = Agriculture / 100))
cbpp <- with(lme4::cbpp, data.frame(period = as.character(period), share = incidence / size,
  size = size))
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))
embedded <- list(swiss = swiss, cbpp = cbpp, trees = trees)

# Wedderburn's (1974) variance function; the deviance by quadrature, infinite at 0 and 1.
wedderburn <- function() {
  family <- quasibinomial("logit")
  family$variance <- function(mu) (mu * (1 - mu))^2
  family$dev.resids <- function(y, mu, wt) 2 * wt * mapply(function(y, mu) {
    if (y <= 0 || y >= 1) return(Inf)
    integrate(function(t) (y - t) / (t * (1 - t))^2, mu, y, rel.tol = 1e-13, abs.tol = 0,
              subdivisions = 1000L)$value
  }, y, mu)
  family
}

families <- list(
  "mu**1.5" = statmod::tweedie(var.power = 1.5, link.power = 0),
  "mu**1.2" = statmod::tweedie(var.power = 1.2, link.power = 0.5),
  "mu" = quasi("log", "mu"), "mu**2" = quasi("log", "mu^2"), "mu**3" = quasi("log", "mu^3"),
  "1" = quasi("identity", "constant"), "mu*(1-mu)" = quasi("logit", "mu(1-mu)"),
  "(mu*(1-mu))**2" = wedderburn())

one <- function(id, variance, link, mean, formula, data, weights = NULL) {
  frame <- if (is.null(embedded[[data]])) shipped(data) else embedded[[data]]
  frame$w_ <- if (is.null(weights)) 1 else frame[[weights]]
  family <- families[[variance]]
  finite <- id != "wedderburn-edges"
  if (!finite) family$dev.resids <- function(y, mu, wt) wt * (y - mu)^2  # only to stop by
  fit <- glm(as.formula(formula), family, frame, weights = w_, epsilon = 1e-13, maxit = 200)
  # polished: Fisher scoring to the rounding level
  X <- model.matrix(fit); y <- fit$y; w <- fit$prior.weights; beta <- coef(fit)
  for (k in 1:500) {
    eta <- drop(X %*% beta); mu <- family$linkinv(eta); d <- family$mu.eta(eta)
    W <- w * d^2 / family$variance(mu)
    step <- qr.coef(qr(sqrt(W) * X), sqrt(W) * (y - mu) / d)
    beta <- beta + step
  }
  mu <- family$linkinv(drop(X %*% beta))
  pearson <- sum(w * (y - mu)^2 / family$variance(mu)); phi <- pearson / fit$df.residual
  se <- sqrt(phi * diag(solve(crossprod(sqrt(W) * X))))
  stopifnot(max(abs(step) / se) < 1e-11)
  null <- family$linkinv(coef(glm(update(as.formula(formula), . ~ 1), family, frame, weights = w_,
                                  epsilon = 1e-13, maxit = 200)))
  deviance <- if (finite) sum(family$dev.resids(y, mu, w)) else NA
  null_deviance <- if (finite) sum(family$dev.resids(y, rep(sum(w * y) / sum(w), length(y)), w)) else NA
  list(id = id, variance = variance, link = link, mean = mean, formula = formula, data = data,
       weights = weights, beta = I(unname(beta)), se = I(unname(se)), phi = phi,
       pearson_chi2 = pearson, deviance = deviance, null_deviance = null_deviance)
}

cases <- list(
  one("days-1.5", "mu**1.5", "log", "Positive", "days ~ sex + age", "quine"),
  one("trees-1.2", "mu**1.2", "power(0.5)", "Positive", "volume ~ girth + height", "trees"),
  one("days-poisson", "mu", "log", "Positive", "days ~ sex + age", "quine"),
  one("clotting-2", "mu**2", "log", "Positive", "time ~ log(u) + lot", "clotting"),
  one("clotting-3-weights", "mu**3", "log", "Positive", "time ~ log(u) + lot", "clotting", "u"),
  one("trees-constant", "1", "identity", "Real", "volume ~ girth + height", "trees"),
  one("swiss-binomial", "mu*(1-mu)", "logit", "UnitInterval", "farming ~ examination + education",
      "swiss"),
  one("swiss-wedderburn", "(mu*(1-mu))**2", "logit", "UnitInterval",
      "farming ~ examination + education", "swiss"),
  one("wedderburn-edges", "(mu*(1-mu))**2", "logit", "UnitInterval", "share ~ period", "cbpp",
      "size"))

write_json(list(program = paste("R", getRversion(), "with statmod", packageVersion("statmod")),
                data = lapply(embedded, columns), cases = cases), "quasi.json")
