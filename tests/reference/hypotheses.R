# Reference values for tests of hypotheses and profile-likelihood intervals.
#
#   Rscript tests/reference/hypotheses.R        writes hypotheses.json beside itself
#
# Needs R with the packages MASS, car, clubSandwich and jsonlite. README.md describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))
suppressMessages({library(MASS); library(clubSandwich)})

birthwt <- MASS::birthwt[, c("low", "age", "lwt", "race", "smoke", "ptl", "ht", "ui")]
anorexia <- with(MASS::anorexia, data.frame(treatment = as.character(Treat), before = Prewt, after = Postwt))
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))
warpbreaks <- data.frame(lapply(datasets::warpbreaks, function(v)
  if (is.factor(v)) as.character(v) else v))
chicks <- with(datasets::ChickWeight, data.frame(weight = weight, time = Time,
  chick = as.integer(as.character(Chick)), diet = as.character(Diet)))
embedded <- list(birthwt = birthwt, anorexia = anorexia, trees = trees, warpbreaks = warpbreaks,
                 chicks = chicks)

family_of <- function(name, link, alpha) switch(name,
  normal = gaussian(link), poisson = poisson(link), binomial = binomial(link),
  gamma = Gamma(link), inverse_gaussian = inverse.gaussian(link),
  negative_binomial = MASS::negative.binomial(1 / alpha, link),
  quasi_poisson = quasipoisson(link), quasi_binomial = quasibinomial(link))
free_phi <- c("normal", "gamma", "inverse_gaussian", "quasi_poisson", "quasi_binomial")

# glm.fit begun again at its own solution until it stays there
settle <- function(X, y, w, o, spec, start = NULL) {
  fit <- suppressWarnings(glm.fit(X, y, w, offset = o, family = spec, start = start,
    control = glm.control(epsilon = 1e-14, maxit = 400), intercept = FALSE))
  for (round in 1:8) fit <- suppressWarnings(glm.fit(X, y, w, offset = o, family = spec,
    start = fit$coefficients, control = glm.control(epsilon = 1e-14, maxit = 400), intercept = FALSE))
  fit
}

# U' I^-1 U over the columns of X at a settled fit, phi = 1
score_at <- function(fit, X, y, w, spec) {
  mu <- fit$fitted.values
  slope <- spec$mu.eta(fit$linear.predictors)
  W <- w * slope^2 / spec$variance(mu)
  U <- crossprod(X, w * (y - mu) * slope / spec$variance(mu))
  drop(t(U) %*% solve(crossprod(X, W * X), U))
}

cases <- list()
# C: a list of named vectors (in R's names), r: right-hand sides; text: our hypothesis.
case <- function(data, formula, family, link, text, C, r, alpha = NULL, trials = NULL, weights = NULL,
                 exposure = NULL, groups = NULL, profile = TRUE, note = NULL) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  made <- as_case(raw, formula, trials, weights, exposure)
  frame <- made$frame
  n <- nrow(frame)
  y <- frame$.y; w <- frame$.w; o <- frame$.o
  as_fitted <- made$formula
  spec <- family_of(family, link, alpha)
  fit <- glm(as_fitted, spec, frame, weights = .w, offset = .o,
             control = glm.control(epsilon = 1e-14, maxit = 400))
  for (round in 1:8) fit <- suppressWarnings(update(fit, start = coef(fit)))
  X <- model.matrix(fit)
  p <- ncol(X)
  beta <- coef(fit)
  phi <- if (family %in% free_phi) sum(w * (y - fitted(fit))^2 / spec$variance(fitted(fit))) / (n - p) else 1
  df2 <- if (family %in% free_phi) n - p else Inf
  V <- summary(fit, dispersion = phi)$cov.scaled
  L <- t(vapply(C, function(row) { full <- setNames(numeric(p), names(beta)); full[names(row)] <- row; full },
                numeric(p)))
  if (p == 1) L <- t(L)
  q <- nrow(L)
  gap <- drop(L %*% beta) - r
  p_value <- function(x) if (is.finite(df2)) pf(x / q, q, df2, lower.tail = FALSE) else
    pchisq(x, q, lower.tail = FALSE)
  shown <- function(x) list(statistic = if (is.finite(df2)) x / q else x, p_value = p_value(x))
  wald <- drop(gap %*% solve(L %*% V %*% t(L), gap))
  car <- car::linearHypothesis(fit, L, r, test = if (is.finite(df2)) "F" else "Chisq", vcov. = V)
  stopifnot(abs(car[2, if (is.finite(df2)) "F" else "Chisq"] / shown(wald)$statistic - 1) < 1e-6)
  # under the hypothesis: another basis of the columns, and an offset
  N <- MASS::Null(t(L))
  origin <- drop(beta - V %*% t(L) %*% solve(L %*% V %*% t(L), gap))
  null <- settle(X %*% N, y, w, o + drop(X %*% origin), spec, rep(0, p - q))
  lr <- (null$deviance - deviance(fit)) / phi
  score <- score_at(null, X, y, w, spec) / phi
  record <- list(wald = shown(wald), lr = shown(lr), score = shown(score))
  htz <- NULL
  if (!is.null(groups)) {
    cr2 <- vcovCR(fit, raw[[groups]], type = "CR2")
    stopifnot(all(r == 0))
    test <- Wald_test(fit, constraints = L, vcov = cr2, test = "HTZ")
    each <- vapply(seq_len(q), function(k) Wald_test(fit, constraints = L[k, , drop = FALSE], vcov = cr2,
                                                     test = "HTZ")$df_denom, 0)
    htz <- list(statistic = test$Fstat, df_denominator = test$df_denom, p_value = test$p_val, each = I(each))
  }
  # profile intervals: where the constrained deviance crosses the level, to rounding
  intervals <- NULL
  if (profile) {
    level <- if (is.finite(df2)) qt(0.975, df2) else qnorm(0.975)
    se <- sqrt(diag(V))
    intervals <- t(vapply(seq_len(p), function(j) vapply(c(-1, 1), function(side) {
      root <- function(b) {
        value <- beta[j] + side * b * se[j]
        start <- (beta + V[, j] / V[j, j] * side * b * se[j])[-j]
        inner <- settle(X[, -j, drop = FALSE], y, w, o + X[, j] * value, spec, start)
        sqrt(max(0, (inner$deviance - deviance(fit)) / phi)) - level
      }
      beta[j] + side * se[j] * uniroot(root, c(level / 4, 3 * level), tol = 1e-14)$root
    }, 0), numeric(2)))
    if (family %in% c("binomial", "poisson")) {
      printed <- suppressMessages(confint(fit))
      stopifnot(max(abs(intervals - printed) / se) < 2e-2)
    }
  }
  table <- anova(fit, test = "Chisq")
  # anova(test = "Rao") stands at fits stopped by their deviance, five digits short: by hand
  term <- attr(X, "assign")
  rao <- vapply(seq_len(max(term)), function(k) {
    inner <- settle(X[, term < k, drop = FALSE], y, w, o, spec)
    score_at(inner, X[, term <= k, drop = FALSE], y, w, spec)
  }, 0)
  stopifnot(abs(rao / anova(fit, test = "Rao")[["Rao"]][-1] - 1) < 1e-4)
  roles <- list(trials = trials, weights = weights, exposure = exposure)
  id <- paste(c(data, family, link, note), collapse = "-")
  stopifnot(!id %in% names(cases))
  message(id)
  cases[[id]] <<- list(id = id, data = data, formula = formula, family = family,
    family_args = if (is.null(alpha)) list() else list(alpha = alpha), link = link,
    roles = Filter(Negate(is.null), roles), groups = groups, hypothesis = text,
    coef = I(our_labels(names(beta), frame, formula)), df = q,
    df_denominator = if (is.finite(df2)) df2 else NULL, tests = record, htz = htz, intervals = intervals,
    sequential = list(df = I(table[["Df"]][-1]), change = I(table[["Deviance"]][-1]),
                      deviance = I(table[["Resid. Dev"]]), df_residual = I(table[["Resid. Df"]]),
                      score = I(rao), phi = phi))
}

case("birthwt", "low ~ age + lwt + C(race) + smoke + ht", "binomial", "logit", "age = 0, C(race)[2] = C(race)[3]",
     list(c(age = 1), c(race2 = 1, race3 = -1)), c(0, 0))
case("birthwt", "low ~ age + lwt + C(race) + smoke + ht", "binomial", "probit", "2*smoke - ht = 0.5",
     list(c(smoke = 2, ht = -1)), 0.5)
case("birthwt", "low ~ age * smoke", "binomial", "cloglog", "age:smoke = 0, smoke=1", list(c("age:smoke" = 1),
     c(smoke = 1)), c(0, 1), profile = FALSE)
case("seizures", "seizures ~ lbase * treatment + age", "poisson", "log", "treatment[progabide] = 0, lbase:treatment[progabide] = 0",
     list(c(treatmentprogabide = 1), c("lbase:treatmentprogabide" = 1)), c(0, 0), groups = "patient")
case("ships", "incidents ~ type + C(year) + C(period)", "poisson", "log", "C(year)[65] = C(year)[70] = C(year)[75]",
     list(c(year65 = 1, year70 = -1), c(year70 = 1, year75 = -1)), c(0, 0), exposure = "service")
case("ships", "incidents ~ type + C(period)", "quasi_poisson", "log", "type[B] = type[C], type[D] = 0.1",
     list(c(typeB = 1, typeC = -1), c(typeD = 1)), c(0, 0.1), exposure = "service")
case("clotting", "time ~ C(lot) * log(u)", "gamma", "inverse", "C(lot)[2]:log(u) = 0", list(c("lot2:log(u)" = 1)), 0)
case("chicks", "weight ~ time + diet", "gamma", "log", "diet[2] = 0, diet[3] = 0, diet[4] = 0",
     list(c(diet2 = 1), c(diet3 = 1), c(diet4 = 1)), c(0, 0, 0), groups = "chick")
case("trees", "volume ~ girth + height", "inverse_gaussian", "log", "girth = 0.15, height=0.02",
     list(c(girth = 1), c(height = 1)), c(0.15, 0.02))
case("anorexia", "after ~ before + treatment", "normal", "identity", "before = 1, treatment[Cont] = treatment[FT]",
     list(c(before = 1), c(treatmentCont = 1, treatmentFT = -1)), c(1, 0))
case("budworm", "killed ~ sex + log(dose)", "binomial", "logit", "sex[male] = log(dose)",
     list(c(sexmale = 1, "log(dose)" = -1)), 0, trials = "number")
case("warpbreaks", "breaks ~ wool + tension", "negative_binomial", "log", "tension[L] = 2 tension[M]",
     list(c(tensionL = 1, tensionM = -2)), 0, alpha = 0.1)
case("quine", "days ~ ethnicity + sex + learner", "quasi_poisson", "log", "sex[M] + learner[SL] = 0",
     list(c(sexM = 1, learnerSL = 1)), 0)

used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion(), "car", packageVersion("car"), "clubSandwich",
                                packageVersion("clubSandwich")),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = unname(cases)), "hypotheses.json")
message(length(cases), " cases")
