# Reference covariances for few clusters: geepack's jackknives, clubSandwich's CR0 and CR3 with their
# degrees of freedom and HTZ tests, and the compound-symmetry likelihood of nlme. Those that no
# package here has, and the generalised score test, are written out at geepack's estimates.
#
#   Rscript tests/reference/gee_covariance.R        writes gee_covariance.json beside itself
#
# Needs R with the packages geepack, clubSandwich, nlme, MASS and jsonlite. clubSandwich has no method
# for geeglm: CR0 and CR3 are taken where another fit is the same estimating equation, a glm for
# independence and a gls with its correlation held for the exchangeable normal model.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))
suppressMessages(library(clubSandwich))

orthodont <- with(as.data.frame(nlme::Orthodont), data.frame(child = as.character(Subject), age = age,
  sex = as.character(Sex), distance = distance))
orthodont <- orthodont[order(orthodont$child, orthodont$age), ]
bacteria <- with(MASS::bacteria, data.frame(child = as.character(ID), week = week,
  drug = as.character(trt), present = as.integer(y == "y")))
bacteria <- bacteria[order(bacteria$child, bacteria$week), ]
pigs <- with(geepack::dietox, data.frame(pig = as.character(Pig), week = Time,
  copper = as.character(Cu), weight = Weight))
pigs <- pigs[order(pigs$pig, pigs$week), ]
embedded <- list(orthodont = orthodont, bacteria = bacteria, pigs = pigs)
frame_of <- function(name, formula) {
  as_factors(if (name %in% names(embedded)) embedded[[name]] else shipped(name), formula)
}
family_of <- function(name) switch(name, normal = gaussian(), poisson = poisson(),
                                   binomial = binomial(), gamma = Gamma("log"))
record <- function(id, data, formula, family, correlation, groups, frame, names, ...) {
  c(list(id = id, data = data, formula = formula, family = family,
         link = switch(family, normal = "identity", binomial = "logit", "log"), roles = list(),
         correlation = correlation, groups = groups, coef = I(our_labels(names, frame, formula))),
    list(...))
}

# ---- jackknives of geepack: sums over clusters times (K − p − q − r)/K -------------------------------

jackknives <- function(data, formula, family, correlation, groups) {
  frame <- frame_of(data, formula)
  id <- match(frame[[groups]], unique(frame[[groups]]))
  X <- model.matrix(r_formula(formula), frame)
  y <- as.numeric(model.response(model.frame(r_formula(formula), frame)))
  n <- length(y)
  spec <- family_of(family)
  fit <- geepack::geese.fit(X, y, id, rep(0, n), rep(0, n), rep(1, n), waves = sequence(rle(id)$lengths),
    zsca = matrix(1, n, 1), family = spec, mean.link = spec$link, variance = spec$family,
    corstr = correlation, b = glm.fit(X, y, family = spec)$coefficients,
    control = geepack::geese.control(epsilon = 1e-13, maxit = 1000, j1s = TRUE, fij = TRUE, jack = TRUE))
  stopifnot(fit$error == 0)
  record(paste(data, family, correlation, "jackknife", sep = "-"), data, formula, family, correlation,
    groups, frame, colnames(X), program = paste("geepack", packageVersion("geepack")),
    ddof = "geepack", beta = I(as.vector(fit$beta)), clusters = max(id), nuisance = 1 + length(fit$alpha),
    one_step = unname(fit$vbeta.ajs), full = unname(fit$vbeta.fij))
}

# ---- published formulas, cluster by cluster, at the estimates of geepack ------------------------------

# n x n matrices of one cluster; alpha and phi as geepack has them
pieces <- function(X, y, id, spec, correlation, beta, alpha, phi) {
  lapply(split(seq_along(y), id), function(rows) {
    eta <- drop(X[rows, , drop = FALSE] %*% beta)
    mu <- spec$linkinv(eta)
    apart <- abs(outer(seq_along(rows), seq_along(rows), "-"))
    R <- switch(correlation, independence = 1 * (apart == 0), exchangeable = ifelse(apart == 0, 1, alpha),
                ar1 = alpha^apart)
    root <- diag(sqrt(spec$variance(mu)), length(rows))
    list(D = X[rows, , drop = FALSE] * spec$mu.eta(eta), V = phi * root %*% R %*% root, S = y[rows] - mu,
         root = root)
  })
}
plus <- function(parts, f) Reduce(`+`, lapply(parts, f))
root_of <- function(M) { e <- eigen(M); Re(e$vectors %*% diag(sqrt(as.complex(e$values)), nrow(M)) %*% solve(e$vectors)) }

formulas <- function(data, formula, family, correlation, groups, without) {
  frame <- frame_of(data, formula)
  id <- match(frame[[groups]], unique(frame[[groups]]))
  X <- model.matrix(r_formula(formula), frame)
  y <- as.numeric(model.response(model.frame(r_formula(formula), frame)))
  n <- length(y); p <- ncol(X); K <- max(id)
  spec <- family_of(family)
  fitted_by <- function(X) {
    fit <- geepack::geese.fit(X, y, id, rep(0, n), rep(0, n), rep(1, n), waves = sequence(rle(id)$lengths),
      zsca = matrix(1, n, 1), family = spec, mean.link = spec$link, variance = spec$family,
      corstr = correlation, b = glm.fit(X, y, family = spec)$coefficients,
      control = geepack::geese.control(epsilon = 1e-14, maxit = 2000))
    stopifnot(fit$error == 0)
    fit
  }
  fit <- fitted_by(X)
  parts <- pieces(X, y, id, spec, correlation, fit$beta, fit$alpha, fit$gamma)
  M <- solve(plus(parts, function(k) t(k$D) %*% solve(k$V, k$D)))
  sandwich <- function(u) M %*% plus(parts, function(k) tcrossprod(u(k))) %*% M
  H <- function(k) k$D %*% M %*% t(k$D) %*% solve(k$V)
  one <- function(k) diag(length(k$S))
  robust <- sandwich(function(k) t(k$D) %*% solve(k$V, k$S))
  stopifnot(max(abs(robust - fit$vbeta)) < 1e-6 * max(abs(robust)))
  found <- list(
    robust = robust,
    mancl_derouen = sandwich(function(k) t(k$D) %*% solve(k$V, solve(one(k) - H(k), k$S))),
    kauermann_carroll = sandwich(function(k) t(k$D) %*% solve(k$V, solve(root_of(one(k) - H(k)), k$S))),
    fay_graubard = sandwich(function(k) {
      Q <- t(k$D) %*% solve(k$V, k$D) %*% M
      diag(1 / sqrt(1 - pmin(0.75, diag(Q)))) %*% t(k$D) %*% solve(k$V, k$S)
    }))
  # Morel, Bokossa and Neerchal, d = 2 and r = 1
  factor <- (n - 1) / (n - p) * K / (K - 1)
  meat <- plus(parts, function(k) tcrossprod(t(k$D) %*% solve(k$V, k$S)))
  found$morel_bokossa_neerchal <- factor * robust +
    (if (K > 3 * p) p / (K - p) else 0.5) * max(1, sum(diag(M %*% meat)) / p) * M
  if (length(unique(table(id))) == 1) {  # Pan: one correlation of the residuals of all clusters
    pooled <- plus(parts, function(k) tcrossprod(solve(k$root, k$S))) / K
    found$pan <- M %*% plus(parts, function(k) {
      half <- t(k$D) %*% solve(k$V) %*% k$root
      half %*% pooled %*% t(half)
    }) %*% M
  }
  # the generalised score test of the columns of one term: the restricted fit, then U of the whole model
  tested <- grepl(without, colnames(X), fixed = TRUE)
  null <- fitted_by(X[, !tested, drop = FALSE])
  beta <- numeric(p); beta[!tested] <- null$beta
  at_null <- pieces(X, y, id, spec, correlation, beta, null$alpha, 1)
  u <- sapply(at_null, function(k) t(k$D) %*% solve(k$V, k$S))
  B <- plus(at_null, function(k) t(k$D) %*% solve(k$V, k$D))
  slices <- solve(B, u)[tested, , drop = FALSE]
  total <- rowSums(slices)
  score <- drop(total %*% solve(tcrossprod(slices), total))
  labels <- our_labels(colnames(X), frame, formula)
  record(paste(data, family, correlation, "formulas", sep = "-"), data, formula, family, correlation,
    groups, frame, colnames(X), program = paste("written out; geepack", packageVersion("geepack")),
    beta = I(as.vector(fit$beta)), covariances = lapply(found, unname), tested = I(labels[tested]),
    score = score)
}

# ---- CR0 and CR3 of clubSandwich ------------------------------------------------------------------------

corrected <- function(data, formula, family, correlation, groups, alpha = NULL) {
  frame <- frame_of(data, formula)
  frame$cluster <- factor(frame[[groups]], unique(frame[[groups]]))
  if (correlation == "independence") {
    fit <- do.call(glm, list(r_formula(formula), family = family_of(family), data = frame,
      control = glm.control(epsilon = 1e-14, maxit = 100)))
  } else {
    assign("reference_frame", frame, globalenv())  # clubSandwich looks it up by its name
    fit <- do.call(nlme::gls, list(r_formula(formula), quote(reference_frame), method = "REML",
      correlation = nlme::corCompSymm(alpha, form = ~ 1 | cluster, fixed = TRUE)))
  }
  result <- list()
  for (type in c("CR0", "CR3")) {
    V <- vcovCR(fit, cluster = frame$cluster, type = type)
    tests <- coef_test(fit, vcov = V, test = "Satterthwaite")
    last <- length(coef(fit)) - 1:0  # the last two coefficients, then that they are equal
    joint <- Wald_test(fit, constrain_zero(last), vcov = V, test = "HTZ")
    equal <- Wald_test(fit, constrain_equal(last), vcov = V, test = "HTZ")
    result[[type]] <- list(covariance = unname(matrix(V, nrow(V))), df = I(tests$df_Satt),
      joint = unclass(joint[c("Fstat", "df_denom", "p_val")]),
      equal = unclass(equal[c("Fstat", "df_denom", "p_val")]))
  }
  record(paste(data, family, correlation, "clubSandwich", sep = "-"), data, formula, family,
    correlation, groups, frame, names(coef(fit)), program = paste("clubSandwich",
    packageVersion("clubSandwich")), alpha = alpha, beta = I(unname(coef(fit))),
    CR0 = result$CR0, CR3 = result$CR3)
}

# ---- the likelihood under compound symmetry ---------------------------------------------------------------

compound <- function(data, formula, groups) {
  frame <- frame_of(data, formula)
  frame$cluster <- factor(frame[[groups]], unique(frame[[groups]]))
  fits <- lapply(c("ML", "REML"), function(method) {
    fit <- do.call(nlme::gls, list(r_formula(formula), frame, method = method,
      correlation = nlme::corCompSymm(form = ~ 1 | cluster),
      control = nlme::glsControl(tolerance = 1e-12, msTol = 1e-14, returnObject = TRUE)))
    list(beta = I(unname(coef(fit))), sigma2 = fit$sigma^2,
         alpha = unname(coef(fit$modelStruct$corStruct, unconstrained = FALSE)))
  })
  record(paste(data, "compound", sep = "-"), data, formula, "normal", "exchangeable", groups, frame,
    colnames(model.matrix(r_formula(formula), frame)), program = paste("nlme", packageVersion("nlme")),
    ML = fits[[1]], REML = fits[[2]])
}

progabide <- "seizures ~ lbase * treatment + age"
write_json(list(
  program = paste("R", getRversion()), data = lapply(embedded, columns),
  cases = list(),
  jackknife = list(
    jackknives("seizures", progabide, "poisson", "independence", "patient"),
    jackknives("seizures", progabide, "poisson", "exchangeable", "patient"),
    jackknives("orthodont", "distance ~ age * sex", "normal", "exchangeable", "child"),
    jackknives("orthodont", "distance ~ age * sex", "normal", "ar1", "child"),
    jackknives("bacteria", "present ~ drug + week", "binomial", "exchangeable", "child"),
    jackknives("bacteria", "present ~ drug + week", "binomial", "independence", "child")),
  corrected = list(
    corrected("seizures", progabide, "poisson", "independence", "patient"),
    corrected("bacteria", "present ~ drug + week", "binomial", "independence", "child"),
    corrected("pigs", "weight ~ week + copper", "gamma", "independence", "pig"),
    corrected("orthodont", "distance ~ age * sex", "normal", "independence", "child"),
    corrected("orthodont", "distance ~ age * sex", "normal", "exchangeable", "child", 0.45),
    corrected("pigs", "weight ~ week * copper", "normal", "exchangeable", "pig", 0.8)),
  formulas = list(
    formulas("seizures", progabide, "poisson", "exchangeable", "patient", "treatment"),
    formulas("seizures", progabide, "poisson", "ar1", "patient", "lbase"),
    formulas("bacteria", "present ~ drug + week", "binomial", "exchangeable", "child", "drug"),
    formulas("orthodont", "distance ~ age * sex", "normal", "ar1", "child", "sex"),
    formulas("orthodont", "distance ~ age + sex", "gamma", "exchangeable", "child", "age"),
    formulas("pigs", "weight ~ week * copper", "gamma", "independence", "pig", ":")),
  compound = list(
    compound("orthodont", "distance ~ age * sex", "child"))), "gee_covariance.json")
