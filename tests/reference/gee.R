# Reference values for generalised estimating equations: R's geepack and gee, iterated to the limit.
#
#   Rscript tests/reference/gee.R        writes gee.json beside itself
#
# Needs R with the packages geepack, gee, MASS, lme4, nlme, HSAUR3 and jsonlite. README.md describes
# the record. Every solution is put into the estimating equations again, in plain R (`verify`): the
# script stops if beta, alpha, phi or a covariance is not a fixed point of them.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))

# ---- data that the package does not ship (rows sorted by group and time) ---------------------------

bacteria <- with(MASS::bacteria, data.frame(child = as.integer(ID), week = week,
  drug = as.character(trt), present = as.integer(y == "y")))
pigs <- with(geepack::dietox, data.frame(pig = as.integer(Pig), week = Time,
  copper = as.character(Cu), weight = Weight))
sitka <- with(geepack::sitka89, data.frame(tree = tree, day = time, treatment = as.character(treat),
  log_size = size))
toenail <- with(HSAUR3::toenail, data.frame(patient = as.integer(patientID), visit = visit,
  month = time, treatment = as.character(treatment),
  severe = as.integer(outcome == "moderate or severe")))
orthodont <- with(as.data.frame(nlme::Orthodont), data.frame(child = as.character(Subject), age = age,
  sex = as.character(Sex), distance = distance))
orthodont <- orthodont[order(orthodont$child, orthodont$age), ]
chicks <- with(as.data.frame(datasets::ChickWeight), data.frame(chick = as.integer(as.character(Chick)),
  day = Time, diet = as.integer(as.character(Diet)), weight = weight))
chicks <- chicks[order(chicks$chick, chicks$day), ]
# The cattle of each herd and period one by one.
cattle <- with(lme4::cbpp, data.frame(herd = rep(as.integer(herd), size),
  period = rep(as.integer(period), size),
  infected = unlist(Map(function(s, n) rep(c(1, 0), c(s, n - s)), incidence, size))))
# The seizure trial with its eight baseline weeks as visit 0 (Diggle, Heagerty, Liang, Zeger).
followed <- shipped("seizures")
first <- followed[followed$visit == 1, ]
trial <- rbind(
  with(first, data.frame(patient, visit = 0L, weeks = 8, treated = "no", treatment, seizures = base)),
  with(followed, data.frame(patient, visit, weeks = 2, treated = "yes", treatment, seizures)))
trial <- trial[order(trial$patient, trial$visit), ]

embedded <- list(bacteria = bacteria, pigs = pigs, sitka = sitka, toenail = toenail,
  orthodont = orthodont, chicks = chicks, cattle = cattle, trial = trial)

# ---- the estimating equations, written once more -----------------------------------------------------

pairs_of <- function(r, times, groups) {
  do.call(rbind, lapply(split(seq_along(r), groups), function(rows) {
    if (length(rows) < 2) return(NULL)
    ij <- combn(rows, 2)
    data.frame(s = times[ij[1, ]], t = times[ij[2, ]], product = r[ij[1, ]] * r[ij[2, ]])
  }))
}

# The covariances at (beta, alpha, phi), and a stop if these do not solve the equations.
verify <- function(id, X, y, offset, groups, times, spec, ddof, correlation, beta, alpha, phi) {
  eta <- drop(X %*% beta) + offset
  mu <- spec$linkinv(eta)
  spread <- sqrt(spec$variance(mu))
  r <- (y - mu) / spread
  lost <- if (ddof == "geepack") 0 else ncol(X)
  pairs <- pairs_of(r, times, groups)
  times_seen <- sort(unique(times))
  matrix_of <- switch(correlation,
    independence = function(t) diag(length(t)),
    exchangeable = function(t) { R <- matrix(alpha, length(t), length(t)); diag(R) <- 1; R },
    ar1 = function(t) alpha^abs(outer(t, t, "-")),
    function(t) alpha[match(t, times_seen), match(t, times_seen), drop = FALSE])
  gap <- c(phi = sum(r^2) / (length(y) - lost) - phi, alpha = switch(correlation,
    exchangeable = sum(pairs$product) / phi / (nrow(pairs) - lost) - alpha,
    ar1 = {
      d <- abs(pairs$s - pairs$t)
      sum(d * alpha^(d - 1) * (pairs$product / phi - alpha^d)) / sum(d^2 * alpha^(2 * d - 2))
    },
    unstructured = {
      s <- factor(pairs$s, times_seen)
      t <- factor(pairs$t, times_seen)
      moment <- tapply(pairs$product, list(s, t), sum) / phi / (table(s, t) - lost)
      max(abs((moment - alpha)[upper.tri(alpha)]))
    }, 0))
  p <- ncol(X)
  B <- C <- matrix(0, p, p)
  U <- rep(0, p)
  for (rows in split(seq_along(y), groups)) {
    R <- matrix_of(times[rows])
    stopifnot(min(eigen(R, TRUE, TRUE)$values) > 1e-6)
    D <- X[rows, , drop = FALSE] * spec$mu.eta(eta[rows])
    weighted <- crossprod(D, solve(phi * R * outer(spread[rows], spread[rows])))
    u <- drop(weighted %*% (y[rows] - mu[rows]))
    U <- U + u
    B <- B + weighted %*% D
    C <- C + outer(u, u)
  }
  naive <- solve(B)
  robust <- naive %*% C %*% naive
  gap["beta"] <- max(abs(naive %*% U) / sqrt(diag(robust)))
  if (max(abs(gap)) > 1e-9) stop(id, " is not a fixed point: ", paste(names(gap), signif(gap, 2)))
  list(naive = (naive + t(naive)) / 2, robust = (robust + t(robust)) / 2, gap = max(abs(gap)))
}

agree <- function(id, ours, theirs) {
  scale <- sqrt(diag(ours))
  off <- max(abs(ours - theirs) / outer(scale, scale))
  if (off > 1e-8) stop(id, ": covariances differ by ", off)
}

# ---- programs ------------------------------------------------------------------------------------------

# geeglm would replace the times by their ranks; geese.fit takes them as they are in `corp`. For an
# unstructured correlation `corp` must be the position in the cluster (times beyond the cluster's size
# crash it); which pair has which alpha is in zcor.
with_geepack <- function(X, y, offset, groups, times, spec, correlation, fixed) {
  n <- length(y)
  sizes <- as.integer(table(factor(groups, unique(groups))))
  waves <- match(times, sort(unique(times)))
  position <- sequence(sizes)
  zcor <- switch(correlation,
    unstructured = {
      every <- combn(sort(unique(waves)), 2)
      seen <- unlist(lapply(split(waves, rep(seq_along(sizes), sizes)), function(v)
        if (length(v) > 1) apply(combn(v, 2), 2, paste, collapse = ":")))
      unname(model.matrix(~ 0 + factor(seen, apply(every, 2, paste, collapse = ":"))))
    },
    fixed = matrix(unlist(lapply(split(waves, rep(seq_along(sizes), sizes)), function(v)
      if (length(v) > 1) fixed[t(combn(v, 2))]))),
    NULL)
  run <- function(beta, alpha, phi) geepack::geese.fit(X, y, groups, offset, rep(0, n), rep(1, n),
    waves = waves, zsca = matrix(1, n, 1), zcor = zcor,
    corp = as.double(if (correlation == "ar1") times else position),
    control = geepack::geese.control(epsilon = 1e-12, maxit = 1000), b = beta, alpha = alpha, gm = phi,
    family = spec, mean.link = spec$link, variance = spec$family,
    corstr = if (correlation == "fixed") "fixed" else correlation)
  # An AR(1) without neighbours one unit apart has a false root at 0, where the search would start.
  start <- switch(correlation, ar1 = 0.5^(1 / median(diff(sort(unique(times))))), NULL)
  fit <- run(glm.fit(X, y, offset = offset, family = spec)$coefficients, start, NULL)
  again <- run(fit$beta, if (length(fit$alpha)) fit$alpha, fit$gamma)
  stopifnot(fit$error == 0, again$error == 0,
            abs(again$beta - fit$beta) < 1e-9 * sqrt(diag(fit$vbeta)))
  alpha <- as.vector(again$alpha)
  if (correlation == "unstructured") {
    full <- diag(max(waves))
    full[t(every <- combn(max(waves), 2))] <- alpha
    full[t(every[2:1, ])] <- alpha
    alpha <- full
  }
  list(beta = as.vector(again$beta), alpha = if (correlation == "fixed") fixed else alpha,
       phi = as.vector(again$gamma), naive = again$vbeta.naiv, robust = again$vbeta,
       program = paste("geepack", packageVersion("geepack")))
}

with_gee <- function(X, y, offset, groups, times, spec, correlation, fixed) {
  frame <- data.frame(y = y)
  frame$X <- X
  frame$o <- offset
  utils::capture.output(fit <- suppressMessages(gee::gee(y ~ 0 + X + offset(o), id = groups, data = frame,
    family = spec, corstr = correlation, tol = 1e-13, maxiter = 1000)))
  stopifnot(fit$error == 0)
  R <- fit$working.correlation
  list(beta = as.vector(fit$coefficients),
       alpha = switch(correlation, exchangeable = R[1, 2], numeric(0)),
       phi = fit$scale, naive = fit$naive.variance, robust = fit$robust.variance,
       program = paste("gee", packageVersion("gee")))
}

# ---- one case ------------------------------------------------------------------------------------------

fit_case <- function(id, ddof, data, formula, family, link, correlation, groups, time, exposure, fixed) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  frame <- as_factors(raw, formula)
  model <- model.frame(r_formula(formula), frame)
  X <- model.matrix(r_formula(formula), model)
  y <- as.numeric(model.response(model))
  offset <- if (is.null(exposure)) rep(0, length(y)) else log(frame[[exposure]])
  g <- match(raw[[groups]], unique(raw[[groups]]))
  times <- if (is.null(time)) sequence(rle(g)$lengths) else raw[[time]]
  stopifnot(!is.unsorted(g), !is.unsorted(order(g, times)))
  spec <- switch(family, normal = gaussian, poisson = poisson, binomial = binomial, gamma = Gamma)(link)
  run <- if (ddof == "geepack") with_geepack else with_gee
  fit <- run(X, y, offset, g, times, spec, correlation, fixed)
  exact <- verify(id, X, y, offset, g, times, spec, ddof, correlation, fit$beta, fit$alpha, fit$phi)
  agree(id, exact$naive, fit$naive)
  agree(id, exact$robust, fit$robust)
  message(sprintf("%-58s %2d coefficients, fixed point to %.0e", id, ncol(X), exact$gap))
  c(list(id = id, program = fit$program, ddof = ddof, data = data, formula = formula, family = family,
         link = link, correlation = correlation, groups = groups), list(time = time),
    list(roles = Filter(Negate(is.null), list(exposure = exposure)), n = length(y), n_groups = max(g),
         coef = I(our_labels(colnames(X), frame, formula)), beta = I(fit$beta),
         se = I(sqrt(diag(fit$robust))), robust = unname(fit$robust), naive = unname(fit$naive),
         phi = fit$phi),
    if (is.matrix(fit$alpha)) list(times = I(sort(unique(times))), alpha = fit$alpha)
    else list(alpha = I(fit$alpha)))
}

# ---- the cases ------------------------------------------------------------------------------------------

cases <- list()
case <- function(data, formula, family, link, groups, time, correlations, ..., ddof = "geepack",
                 exposure = NULL, fixed = NULL, note = NULL) {
  for (correlation in correlations) {
    id <- paste(c(data, family, link, correlation, note, ddof), collapse = "-")
    stopifnot(!id %in% names(cases))
    cases[[id]] <<- fit_case(id, ddof, data, formula, family, link, correlation, groups, time, exposure,
                             fixed)
  }
}
plain <- c("independence", "exchangeable")
all_four <- c(plain, "ar1", "unstructured")

case("ohio", "wheeze ~ age * smoke", "binomial", "logit", "child", "age", all_four)
case("ohio", "wheeze ~ age * smoke", "binomial", "logit", "child", "age", plain, ddof = "p")
clinic <- "outcome ~ C(center) + treatment + sex + age + baseline"
case("respiratory", clinic, "binomial", "logit", "patient", "visit", all_four)
case("respiratory", clinic, "binomial", "logit", "patient", "visit", plain, ddof = "p")
case("respiratory", clinic, "binomial", "probit", "patient", "visit", "exchangeable")
case("respiratory", clinic, "binomial", "logit", "patient", "visit", "fixed",
     fixed = 0.6^abs(outer(1:4, 1:4, "-")) * 0.5 + diag(4) * 0.5)
progabide <- "seizures ~ lbase * treatment + age"
case("seizures", progabide, "poisson", "log", "patient", "visit", all_four)
case("seizures", progabide, "poisson", "log", "patient", "visit", plain, ddof = "p")
case("trial", "seizures ~ treated * treatment", "poisson", "log", "patient", "visit",
     c(plain, "ar1"), exposure = "weeks")
case("trial", "seizures ~ treated * treatment", "poisson", "log", "patient", "visit", plain,
     exposure = "weeks", ddof = "p")
case("bacteria", "present ~ drug + week", "binomial", "logit", "child", "week", all_four)
case("bacteria", "present ~ drug + week", "binomial", "logit", "child", "week", "exchangeable", ddof = "p")
case("pigs", "weight ~ week * copper", "normal", "identity", "pig", "week", c("exchangeable", "ar1"))
case("pigs", "weight ~ week * copper", "normal", "identity", "pig", "week", plain, ddof = "p")
case("pigs", "weight ~ week + copper", "gamma", "log", "pig", "week", "exchangeable")
case("sitka", "log_size ~ day * treatment", "normal", "identity", "tree", "day", c(plain, "ar1"))
case("toenail", "severe ~ treatment * month", "binomial", "logit", "patient", "month",
     c(plain, "ar1"), note = "months")
case("toenail", "severe ~ treatment * month", "binomial", "logit", "patient", "visit",
     c("ar1", "unstructured"), note = "visits")
case("cattle", "infected ~ C(period)", "binomial", "logit", "herd", NULL, "exchangeable")
case("cattle", "infected ~ C(period)", "binomial", "logit", "herd", NULL, "exchangeable", ddof = "p")
case("orthodont", "distance ~ age * sex", "normal", "identity", "child", "age", all_four)
case("orthodont", "distance ~ age * sex", "normal", "identity", "child", "age", plain, ddof = "p")
case("chicks", "weight ~ day * C(diet)", "gamma", "log", "chick", "day", c("exchangeable", "ar1"))
case("chicks", "weight ~ day * C(diet)", "gamma", "log", "chick", "day", plain, ddof = "p")

used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion()),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = unname(cases)), "gee.json")
message(length(cases), " cases")
