# Reference covariances for few clusters: geepack's jackknives, clubSandwich's CR0 and CR3 with their
# degrees of freedom and HTZ tests, and the compound-symmetry likelihood of nlme.
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
  compound = list(
    compound("orthodont", "distance ~ age * sex", "child"))), "gee_covariance.json")
