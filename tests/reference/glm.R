# Reference values for maximum likelihood: R's glm, polished to rounding by Fisher scoring.
#
#   Rscript tests/reference/glm.R        writes glm.json beside itself
#
# Needs R with the packages MASS, boot, lme4 and jsonlite. README.md describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))

# ---- data that the package does not ship ---------------------------------------------------------

insurance <- with(MASS::Insurance, data.frame(
  district = as.integer(as.character(District)), group = as.character(Group),
  age = as.character(Age), holders = Holders, log_holders = log(Holders), claims = Claims))
birthwt <- MASS::birthwt[, c("low", "age", "lwt", "race", "smoke", "ptl", "ht", "ui")]
birthwt$smoker <- ifelse(birthwt$smoke == 1, "yes", "no")
anorexia <- with(MASS::anorexia, data.frame(treatment = as.character(Treat), before = Prewt, after = Postwt))
menarche <- with(MASS::menarche, data.frame(age = Age, total = Total, menarche = Menarche,
  share = Menarche / Total, hundreds = Total / 100, later = Total * (Age > 10)))
cbpp <- with(lme4::cbpp, data.frame(herd = as.integer(herd), period = as.integer(period),
  incidence = incidence, size = size, twice = rep_len(c(1, 2), length(size))))
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))
warpbreaks <- data.frame(lapply(datasets::warpbreaks, function(v)
  if (is.factor(v)) as.character(v) else v))
sprays <- with(datasets::InsectSprays, data.frame(count = count, spray = as.character(spray)))
swiss <- with(datasets::swiss, data.frame(fertility = Fertility, agriculture = Agriculture,
  examination = Examination, both = Agriculture + 2 * Examination, education = Education,
  farming = Agriculture / 100))
chicks <- aggregate(weight ~ Time + Diet, datasets::ChickWeight, mean)
chicks$number <- aggregate(weight ~ Time + Diet, datasets::ChickWeight, length)$weight
chicks <- with(chicks, data.frame(day = Time, diet = as.integer(as.character(Diet)), weight = weight,
                                  number = number))
doctor_rates <- shipped("doctors")
doctor_rates$rate <- doctor_rates$deaths / doctor_rates$person_years

embedded <- list(insurance = insurance, birthwt = birthwt, anorexia = anorexia, menarche = menarche,
  cbpp = cbpp, trees = trees, warpbreaks = warpbreaks, sprays = sprays, swiss = swiss,
  chicks = chicks, doctor_rates = doctor_rates)

# ---- families -----------------------------------------------------------------------------------

free_phi <- c("normal", "gamma", "inverse_gaussian", "quasi_poisson", "quasi_binomial")

# Log-density of each row at dispersion a = phi / w, from R's own densities.
log_density <- function(name, y, mu, a, alpha) switch(name,
  normal = dnorm(y, mu, sqrt(a), log = TRUE),
  gamma = dgamma(y, shape = 1 / a, scale = mu * a, log = TRUE),
  inverse_gaussian = -0.5 * log(2 * pi * a * y^3) - (y - mu)^2 / (2 * a * mu^2 * y),
  poisson = dpois(whole(y / a), mu / a, log = TRUE),
  binomial = dbinom(whole(y / a), whole(1 / a), mu, log = TRUE),
  negative_binomial = dnbinom(whole(y / a), size = 1 / (alpha * a), mu = mu / a, log = TRUE))

whole <- function(x) {
  stopifnot(abs(x - round(x)) < 1e-9)
  round(x)
}

# The dispersion that maximises the likelihood at the fitted means.
phi_ml <- function(name, y, mu, w, deviance) {
  if (name != "gamma") return(deviance / sum(w > 0))
  score <- function(log_phi) {
    r <- w / exp(log_phi)
    sum(w * (log(r) + 1 - digamma(r) + log(y / mu) - y / mu))
  }
  exp(uniroot(score, c(-20, 5), tol = 1e-15)$root)
}

# ---- Fisher scoring to the limit ------------------------------------------------------------------

# From a start near the maximum until the step is at its rounding level; rows have w > 0.
polish <- function(X, y, w, offset, family, beta) {
  domain <- function(eta) family$valideta(eta) && family$validmu(family$linkinv(eta))
  deviance <- function(eta) sum(family$dev.resids(y, family$linkinv(eta), w))
  best <- Inf
  stalled <- 0
  for (iteration in 1:20000) {
    eta <- drop(X %*% beta) + offset
    mu <- family$linkinv(eta)
    slope <- family$mu.eta(eta)
    root <- sqrt(w / family$variance(mu)) * abs(slope)
    QR <- qr(root * X, LAPACK = TRUE)
    step <- qr.coef(QR, root * (y - mu) / slope)
    size <- sqrt(sum(qr.qty(QR, root * (y - mu) / slope)[seq_len(ncol(X))]^2))
    if (size < best) { best <- size; stalled <- 0 } else stalled <- stalled + 1
    if (best < 1e-9 && stalled >= 20) break
    halving <- 1
    while (!domain(drop(X %*% (beta + halving * step)) + offset)) halving <- halving / 2
    if (size > 1e-6) while (halving > 1e-6 &&
        deviance(drop(X %*% (beta + halving * step)) + offset) > deviance(eta)) halving <- halving / 2
    beta <- beta + halving * step
  }
  stopifnot(best < 1e-9)
  order <- order(QR$pivot)
  list(beta = beta, mu = mu, unscaled = chol2inv(qr.R(QR))[order, order, drop = FALSE],
       deviance = deviance(eta), size = best)
}

# ---- one case ----------------------------------------------------------------------------------------

fit_case <- function(id, data, formula, family, link, alpha = NULL, trials = NULL, weights = NULL,
                     offset = NULL, exposure = NULL) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  frame <- as_factors(raw, formula)
  terms <- terms(r_formula(formula))
  model <- model.frame(terms, frame)
  X <- model.matrix(terms, model)
  y <- as.numeric(model.response(model))
  n_rows <- length(y)
  w <- if (is.null(weights)) rep(1, n_rows) else frame[[weights]]
  o <- if (is.null(offset)) rep(0, n_rows) else frame[[offset]]
  if (!is.null(trials)) {
    y <- y / frame[[trials]]
    w <- w * frame[[trials]]
  }
  if (!is.null(exposure)) {
    if (link == "log") o <- o + log(frame[[exposure]]) else {
      stopifnot(family == "poisson")
      y <- y / frame[[exposure]]
      w <- w * frame[[exposure]]
    }
  }
  spec <- family_of(family, link_of(link), alpha)
  frame$.y <- y
  frame$.w <- w
  frame$.o <- o
  as_fitted <- r_formula(formula)
  as_fitted[[2]] <- quote(.y)
  quiet <- function(spec, start = NULL) suppressWarnings(glm(as_fitted, spec, frame, weights = .w,
    offset = .o, start = start, control = glm.control(maxit = 500)))
  if (family == "inverse_gaussian" && link == "log") {
    # From its own start R can report convergence far from the maximum here.
    fit <- quiet(spec, start = coef(quiet(Gamma(link_of(link)))))
  } else fit <- tryCatch(quiet(spec), error = function(e) {
    start <- lm.wfit(X, spec$linkfun((y + weighted.mean(y, w)) / 2) - o, w)$coefficients
    quiet(spec, start = start)
  })

  kept <- !is.na(fit$coefficients)
  rows <- w > 0
  n <- sum(rows)
  p <- sum(kept)
  exact <- polish(X[rows, kept, drop = FALSE], y[rows], w[rows], o[rows], spec,
                  fit$coefficients[kept])
  if (attr(terms, "intercept") > 0) {
    null_start <- spec$linkfun(weighted.mean(y, w)) - weighted.mean(o, w)
    null_deviance <- polish(matrix(1, n, 1), y[rows], w[rows], o[rows], spec, null_start)$deviance
  } else null_deviance <- sum(spec$dev.resids(y, spec$linkinv(o), w))
  stopifnot(abs(null_deviance - fit$null.deviance) < 1e-6 * (1 + null_deviance),
            abs(exact$deviance - fit$deviance) < 1e-6 * (1 + exact$deviance))

  pearson <- sum(w[rows] * (y[rows] - exact$mu)^2 / spec$variance(exact$mu))
  phi <- if (family %in% free_phi) pearson / (n - p) else 1
  drift <- max(abs(exact$beta - fit$coefficients[kept]) / sqrt(phi * diag(exact$unscaled)))
  left <- exact$size / sqrt(phi)
  if (drift > 1e-2) stop(id, ": R's glm stopped ", drift, " standard errors away")
  if (left > 1e-10) stop(id, ": polished only to ", left, " standard errors")
  loglik <- aic <- bic <- NA
  if (!startsWith(family, "quasi")) {
    a <- (if (family %in% free_phi) phi_ml(family, y[rows], exact$mu, w[rows], exact$deviance) else 1) /
      w[rows]
    loglik <- sum(log_density(family, y[rows], exact$mu, a, alpha))
    k <- p + (family %in% free_phi)
    aic <- -2 * loglik + 2 * k
    bic <- -2 * loglik + log(n) * k
    same <- all(w > 0) && switch(family, normal = TRUE, binomial = TRUE,
                   gamma = FALSE, all(w == 1))
    if (same) stopifnot(abs(aic - fit$aic) < 1e-6 * abs(aic))
  }

  beta <- ifelse(kept, 0, NA)
  beta[kept] <- exact$beta
  covariance <- matrix(NA, length(kept), length(kept))
  covariance[kept, kept] <- phi * exact$unscaled
  mu <- spec$linkinv(drop(X[, kept, drop = FALSE] %*% exact$beta) + o)
  message(sprintf("%-44s %2d coefficients, R stopped %.0e, polished to %.0e standard errors",
                  id, p, drift, left))
  roles <- list(trials = trials, weights = weights, offset = offset, exposure = exposure)
  list(id = id, data = data, formula = formula, family = family,
       family_args = if (is.null(alpha)) list() else list(alpha = alpha), link = link,
       roles = Filter(Negate(is.null), roles), n = n,
       coef = I(our_labels(colnames(X), frame, formula)), beta = I(beta), se = I(sqrt(diag(covariance))),
       covariance = covariance, phi = phi, df_residual = n - p, deviance = exact$deviance,
       null_deviance = null_deviance, pearson_chi2 = pearson, loglik = loglik, aic = aic, bic = bic,
       mu = I(head(mu, 5)))
}

# ---- the cases ---------------------------------------------------------------------------------------

cases <- list()
case <- function(data, formula, family, link, ..., note = NULL) {
  id <- paste(c(family, link, data, note), collapse = "-")
  stopifnot(!id %in% names(cases))
  cases[[id]] <<- fit_case(id, data, formula, family, link, ...)
}
third <- sprintf("power(%s)", digits(1 / 3))

case("trees", "volume ~ girth + height", "normal", "identity")
case("trees", "volume ~ log(girth) + log(height)", "normal", "log")
case("trees", "volume ~ girth + height", "normal", "sqrt")
case("trees", "volume ~ girth + height", "normal", third)
case("clotting", "time ~ C(lot) * log(u)", "normal", "inverse")
case("clotting", "time ~ C(lot) * log(u)", "normal", "inverse_squared")
case("anorexia", "after ~ before * treatment", "normal", "identity", note = "interaction")
case("anorexia", "after ~ before + treatment", "normal", "identity", offset = "before", note = "offset")
case("menarche", "share ~ age", "normal", "identity", weights = "later", note = "zero-weights")
case("swiss", "fertility ~ agriculture + examination + both + education", "normal", "identity", note = "aliased")
case("anorexia", "after ~ 0 + treatment + before", "normal", "identity", note = "no-intercept")

case("seizures", "seizures ~ lbase * treatment + age", "poisson", "log")
case("seizures", "seizures ~ treatment * C(visit) + lbase", "poisson", "log", note = "factors")
case("ships", "incidents ~ type + C(year) + C(period)", "poisson", "log", exposure = "service")
case("insurance", "claims ~ C(district) * age + group", "poisson", "log", exposure = "holders", note = "interaction")
case("insurance", "claims ~ C(district) + group + age", "poisson", "log", offset = "log_holders")
case("sprays", "count ~ spray", "poisson", "identity")
case("sprays", "count ~ 0 + spray", "poisson", "log", note = "no-intercept")
case("doctors", "deaths ~ C(age) + smoker", "poisson", "identity", exposure = "person_years")
case("doctors", "deaths ~ C(age) + smoker", "poisson", "power(0.55)", exposure = "person_years")
case("doctors", "deaths ~ C(age) * smoker", "poisson", "log", exposure = "person_years", note = "saturated")
case("doctor_rates", "rate ~ age + smoker", "poisson", "log", weights = "person_years")
case("doctor_rates", "rate ~ age + smoker", "poisson", "sqrt", weights = "person_years")
case("warpbreaks", "breaks ~ wool * tension", "poisson", "sqrt")
case("warpbreaks", "breaks ~ wool + tension", "poisson", "inverse")
case("warpbreaks", "breaks ~ wool + tension", "poisson", "inverse_squared")
case("quine", "days ~ age * learner + sex", "poisson", "log", note = "aliased")

for (link in c("logit", "probit", "cloglog", "loglog", "cauchit")) {
  case("beetles", "killed ~ log_dose", "binomial", link, trials = "number")
  case("birthwt", "low ~ age + lwt + C(race) + smoke + ht", "binomial", link)
}
case("oring", "damaged ~ temperature", "binomial", "logit", trials = "rings")
case("oring", "damaged ~ temperature", "binomial", "log", trials = "rings")
case("oring", "damaged ~ temperature", "binomial", "cauchit", trials = "rings")
case("oring", "damaged ~ temperature", "binomial", "probit", trials = "rings")
case("budworm", "killed ~ sex * log(dose)", "binomial", "logit", trials = "number")
case("birthwt", "low ~ smoker + ht", "binomial", "identity")
case("birthwt", "low ~ smoker * ht + ui", "binomial", "log")
case("menarche", "share ~ age", "binomial", "logit", weights = "total")
case("menarche", "menarche ~ age", "binomial", "probit", trials = "total")
case("cbpp", "incidence ~ C(period)", "binomial", "logit", trials = "size", weights = "twice")
case("respiratory", "outcome ~ C(center) + treatment + sex + age + baseline", "binomial", "logit")

case("clotting", "time ~ C(lot) * log(u)", "gamma", "inverse")
case("leukaemia", "time ~ ag + log(wbc)", "gamma", "log")
case("leukaemia", "time ~ ag * log(wbc)", "gamma", "inverse", note = "interaction")
case("trees", "volume ~ girth + height", "gamma", "identity")
case("trees", "volume ~ girth + height", "gamma", "sqrt")
case("trees", "volume ~ girth + height", "gamma", third)
case("trees", "volume ~ log(girth)", "gamma", "log", exposure = "height")
case("clotting", "time ~ C(lot) * log(u)", "gamma", "inverse_squared")
case("clotting", "time ~ C(lot) * log(u)", "gamma", "power(-0.5)")
case("chicks", "weight ~ day * C(diet)", "gamma", "log", weights = "number")

case("clotting", "time ~ C(lot) * log(u)", "inverse_gaussian", "inverse")
case("leukaemia", "time ~ ag", "inverse_gaussian", "inverse_squared")
case("leukaemia", "time ~ ag", "inverse_gaussian", "log")
case("clotting", "time ~ C(lot) * log(u)", "inverse_gaussian", "log")
case("leukaemia", "time ~ ag", "inverse_gaussian", "identity")
case("trees", "volume ~ girth + height", "inverse_gaussian", "identity")
case("trees", "volume ~ girth + height", "inverse_gaussian", "sqrt")
case("trees", "volume ~ girth + height", "inverse_gaussian", third)
case("clotting", "time ~ C(lot) * log(u)", "inverse_gaussian", "inverse_squared")
case("clotting", "time ~ C(lot) * log(u)", "inverse_gaussian", "power(-1.5)")
case("chicks", "weight ~ day + C(diet)", "inverse_gaussian", "log", weights = "number")

case("quine", "days ~ ethnicity * sex + age + learner", "negative_binomial", "log", alpha = 0.78)
case("quine", "days ~ ethnicity + sex + age * learner", "negative_binomial", "log", alpha = 0.78, note = "aliased")
case("quine", "days ~ ethnicity + sex", "negative_binomial", "identity", alpha = 1.25)
case("quine", "days ~ ethnicity + sex", "negative_binomial", "sqrt", alpha = 0.78)
case("quine", "days ~ ethnicity + sex", "negative_binomial", "inverse", alpha = 0.78)
case("warpbreaks", "breaks ~ wool * tension", "negative_binomial", "power(0.25)", alpha = 0.1)
case("seizures", "seizures ~ lbase * treatment + age", "negative_binomial", "log", alpha = 0.45)
case("ships", "incidents ~ type + C(year) + C(period)", "negative_binomial", "log", alpha = 0.02, exposure = "service")

case("seizures", "seizures ~ lbase * treatment + age", "quasi_poisson", "log")
case("ships", "incidents ~ type + C(year) + C(period)", "quasi_poisson", "log", exposure = "service")
case("sprays", "count ~ spray", "quasi_poisson", "identity")
case("warpbreaks", "breaks ~ wool * tension", "quasi_poisson", "sqrt")
case("warpbreaks", "breaks ~ wool + tension", "quasi_poisson", "inverse")
case("chicks", "weight ~ day + C(diet)", "quasi_poisson", "power(0.5)", weights = "number")
for (link in c("logit", "probit", "cloglog", "loglog", "cauchit")) {
  case("budworm", "killed ~ sex + log(dose)", "quasi_binomial", link, trials = "number")
}
case("cbpp", "incidence ~ C(period)", "quasi_binomial", "logit", trials = "size")
case("swiss", "farming ~ examination + education", "quasi_binomial", "logit")
case("menarche", "share ~ age", "quasi_binomial", "logit", weights = "hundreds", note = "fractional-weights")

used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion(), "stats::glm, MASS", packageVersion("MASS")),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = unname(cases)), "glm.json")
message(length(cases), " cases")
