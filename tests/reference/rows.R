# Reference values row by row: predictions on new data, residuals and influence of R's glm.
#
#   Rscript tests/reference/rows.R       writes rows.json beside itself
#
# Needs R with the packages MASS and jsonlite. README.md describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))

insurance <- with(MASS::Insurance, data.frame(
  group = as.character(Group), age = as.character(Age), holders = Holders,
  log_holders = log(Holders), claims = Claims))
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))
warpbreaks <- data.frame(lapply(datasets::warpbreaks, function(v)
  if (is.factor(v)) as.character(v) else v))
swiss <- with(datasets::swiss, data.frame(fertility = Fertility, agriculture = Agriculture,
  examination = Examination, both = Agriculture + 2 * Examination, share = Catholic / 100))
embedded <- list(insurance = insurance, trees = trees, warpbreaks = warpbreaks, swiss = swiss)

# The length of one more step of Fisher scoring, in standard errors.
step_left <- function(fit) {
  sqrt(sum(qr.qty(fit$qr, sqrt(fit$weights) * fit$residuals)[seq_len(fit$rank)]^2) /
         summary(fit)$dispersion)
}

one <- function(id, data, formula, family, link, new, alpha = NULL, trials = NULL, weights = NULL,
                offset = NULL, exposure = NULL) {
  frame <- as_factors(if (data %in% names(embedded)) embedded[[data]] else shipped(data), formula)
  frame$.w <- if (is.null(weights)) 1 else frame[[weights]]
  frame$.o <- if (is.null(offset)) 0 else frame[[offset]]
  frame$.y <- eval(r_formula(formula)[[2]], frame)
  if (!is.null(trials)) {
    frame$.y <- frame$.y / frame[[trials]]
    frame$.w <- frame$.w * frame[[trials]]
  }
  if (!is.null(exposure)) frame$.o <- frame$.o + log(frame[[exposure]])
  as_fitted <- r_formula(formula)
  as_fitted[[2]] <- quote(.y)
  as_fitted <- update(as_fitted, . ~ . + offset(.o))
  environment(as_fitted) <- globalenv()
  spec <- family_of(family, link_of(link), alpha)
  quiet <- function(start = NULL) suppressWarnings(glm(as_fitted, spec, frame, weights = .w,
    start = start, control = glm.control(epsilon = 1e-8, maxit = 1000)))
  fit <- quiet()
  # glm stops by the deviance, which no longer moves while the coefficients still do; a smaller
  # epsilon would also make it overlook aliased columns
  for (again in 1:100) if ((left <- step_left(fit)) > 1e-11) {
    fit <- quiet(ifelse(is.na(coef(fit)), 0, coef(fit)))
  }
  if (left > 1e-10) stop(id, ": iterated only to ", left, " standard errors")
  fit$call$weights <- fit$call$family <- NULL
  message(sprintf("%-40s %.0e standard errors left", id, left))

  wanted <- as_factors(new, formula)
  for (v in names(wanted)) if (is.factor(frame[[v]])) {
    wanted[[v]] <- factor(as.character(wanted[[v]]), levels = levels(frame[[v]]))
  }
  wanted$.o <- if (is.null(offset)) 0 else new[[offset]]
  if (!is.null(exposure)) wanted$.o <- wanted$.o + log(new[[exposure]])
  # R estimates a dispersion for the negative binomial family, which has none
  reported <- summary(fit)$dispersion
  phi <- if (family == "negative_binomial") 1 else reported
  on <- function(type) suppressWarnings(predict(fit, wanted, type = type, se.fit = TRUE,
                                                dispersion = phi))
  linear <- on("link")
  mean <- on("response")

  kinds <- c("response", "working", "pearson", "deviance")
  residual <- sapply(kinds, function(kind) I(unname(residuals(fit, kind))), simplify = FALSE)
  kept <- !is.na(coef(fit))
  influence <- influence(fit)
  measures <- influence.measures(fit)$infmat
  coefs <- seq_len(sum(kept))
  list(id = id, data = data, formula = formula, family = family,
    family_args = if (is.null(alpha)) list() else list(alpha = alpha), link = link,
    roles = Filter(Negate(is.null), list(trials = trials, weights = weights, offset = offset,
                                         exposure = exposure)),
    new = columns(new),
    predicted = list(link = I(unname(linear$fit)), link_se = I(unname(linear$se.fit)),
                     mean = I(unname(mean$fit)), mean_se = I(unname(mean$se.fit))),
    residuals = residual,
    rstandard = sapply(c("deviance", "pearson"), function(kind)
      I(unname(rstandard(fit, type = kind)) * sqrt(reported / phi)), simplify = FALSE),
    hat = I(unname(influence$hat)),
    cooks_distance = I(unname(cooks.distance(fit, dispersion = phi))),
    dfbeta = unname(influence$coefficients[, kept[colnames(influence$coefficients)], drop = FALSE]),
    dfbetas = unname(measures[, coefs, drop = FALSE]),
    dffits = I(unname(measures[, "dffit"])), covariance_ratio = I(unname(measures[, "cov.r"])))
}

cases <- list()
case <- function(data, formula, family, link, new, ..., note = NULL) {
  id <- paste(c(family, link, data, note), collapse = "-")
  stopifnot(!id %in% names(cases))
  cases[[id]] <<- one(id, data, formula, family, link, new, ...)
}

doses <- data.frame(u = c(4, 30, 200), lot = c(1, 2, 1))
case("trees", "volume ~ poly(girth, 2) + height", "normal", "identity",
     data.frame(girth = c(9, 15, 25), height = c(70, 85, 60)), note = "poly")
case("trees", "volume ~ log(girth) + scale(height)", "normal", "log",
     data.frame(girth = c(9, 15), height = c(70, 85)), note = "scale")
case("clotting", "time ~ log(u) + C(lot)", "normal", "inverse", doses[1:2, ], weights = "u")
case("swiss", "fertility ~ agriculture + examination + both", "normal", "identity",
     data.frame(agriculture = c(20, 50), examination = c(10, 3), both = c(40, 56)), note = "aliased")
case("seizures", "seizures ~ lbase * treatment + age + C(visit)", "poisson", "log",
     data.frame(lbase = c(1, 0.2), treatment = c("placebo", "progabide"), age = c(20, 42),
                visit = c(1, 3)))
case("warpbreaks", "breaks ~ wool * tension", "poisson", "sqrt",
     data.frame(wool = c("A", "B"), tension = c("L", "H")))
case("doctors", "deaths ~ C(age) + smoker", "poisson", "log",
     data.frame(age = shipped("doctors")$age[c(1, 4)], smoker = shipped("doctors")$smoker[c(1, 2)],
                person_years = c(1000, 2.5)), exposure = "person_years")
case("insurance", "claims ~ group + age", "poisson", "log",
     data.frame(group = c("<1l", ">2l"), age = c("<25", ">35"), log_holders = c(0, 5)),
     offset = "log_holders")
case("ships", "incidents ~ type + C(period)", "quasi_poisson", "log",
     data.frame(type = c("A", "E"), period = shipped("ships")$period[c(1, 2)], service = c(10, 500)),
     exposure = "service")
for (link in c("logit", "probit", "cloglog", "cauchit")) {
  case("beetles", "killed ~ log_dose", "binomial", link, data.frame(log_dose = c(1.6, 1.75, 2)),
       trials = "number")
}
case("swiss", "share ~ agriculture + examination", "quasi_binomial", "logit",
     data.frame(agriculture = c(20, 50), examination = c(10, 3)))
case("clotting", "time ~ log(u) * C(lot)", "gamma", "inverse", doses)
case("clotting", "time ~ log(u) + C(lot)", "gamma", "log", doses, weights = "u")
case("clotting", "time ~ log(u) * C(lot)", "inverse_gaussian", "inverse_squared",
     data.frame(u = c(15, 30), lot = c(1, 2)))
case("trees", "volume ~ log(girth) + log(height)", "inverse_gaussian", "log",
     data.frame(girth = c(9, 15), height = c(70, 85)))
case("quine", "days ~ sex + age", "negative_binomial", "log",
     data.frame(sex = c("M", "F"), age = c("F0", "F3")), alpha = 0.8)

write_json(list(program = "R glm, predict, residuals, influence.measures", data = lapply(embedded, columns),
                cases = unname(cases)), "rows.json")
