# Reference values of effects on the response scale: emmeans, and derivatives written out by hand.
#
#   Rscript tests/reference/effects.R        writes effects.json beside itself
#
# Needs R with the packages emmeans, sandwich and jsonlite. README.md describes the record.

suppressPackageStartupMessages(library(emmeans))
source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))

# glm stops by the deviance, which no longer moves while the coefficients still do.
to_the_limit <- function(formula, family, frame, weights = NULL) {
  frame$.w <- if (is.null(weights)) 1 else frame[[weights]]
  environment(formula) <- environment()
  again <- function(start) suppressWarnings(glm(formula, family, frame, weights = .w, start = start,
                                                control = glm.control(epsilon = 1e-8, maxit = 100)))
  fit <- again(NULL)
  for (k in 1:10) fit <- again(coef(fit))
  step <- sqrt(sum(qr.qty(fit$qr, sqrt(fit$weights) * fit$residuals)[seq_len(fit$rank)]^2) /
                 summary(fit)$dispersion)
  stopifnot(step < 1e-10)
  fit
}

seizures <- as_factors(shipped("seizures"), "")
budworm <- as_factors(shipped("budworm"), "")
budworm$rate <- budworm$killed / budworm$number
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))
fits <- list(
  poisson = to_the_limit(seizures ~ lbase * treatment + age, poisson, seizures),
  binomial = to_the_limit(rate ~ sex * log(dose), binomial, budworm, "number"),
  gamma = to_the_limit(volume ~ poly(girth, 2) + height, Gamma("log"), trees))

# ---- emmeans on the response scale: averages over the rows of a grid -------------------------------

table <- function(x) {
  frame <- as.data.frame(x)
  estimate <- intersect(c("response", "prob", "rate", "estimate", "emmean"), names(frame))[1]
  list(estimate = I(frame[[estimate]]), se = I(frame$SE))
}
pair <- function(means) list(
  means = table(means), difference = table(contrast(means, "trt.vs.ctrl1")),
  lnratio = table(contrast(regrid(means, "log"), "trt.vs.ctrl1", type = "link")))

ages <- c(20, 25, 40)
adjusted <- suppressMessages(list(
  poisson = pair(emmeans(fits$poisson, ~ treatment, at = list(lbase = 0.5, age = ages),
                         regrid = "response")),
  binomial = pair(emmeans(fits$binomial, ~ sex, at = list(dose = c(1, 4, 16)),
                          regrid = "response"))))

# ---- average derivatives, with gradients by the coefficients --------------------------------------

# mu, its slope and bend at eta; D holds the derivatives of the columns of X by x.
average <- function(fit, D, V = vcov(fit)) {
  eta <- fit$linear.predictors
  X <- model.matrix(fit)
  moves <- drop(D %*% coef(fit))
  if (fit$family$link == "log") { slope <- exp(eta); bend <- exp(eta) } else {
    mu <- plogis(eta); slope <- mu * (1 - mu); bend <- slope * (1 - 2 * mu)
  }
  J <- colMeans(bend * moves * X + slope * D)
  list(estimate = mean(slope * moves), se = sqrt(drop(J %*% V %*% J)))
}
zero <- function(fit) model.matrix(fit) * 0
by_lbase <- zero(fits$poisson)
by_lbase[, "lbase"] <- 1
by_lbase[, "lbase:treatmentprogabide"] <- seizures$treatment == "progabide"
by_age <- zero(fits$poisson)
by_age[, "age"] <- 1
by_dose <- zero(fits$binomial)
by_dose[, "log(dose)"] <- 1 / budworm$dose
by_dose[, "sexmale:log(dose)"] <- (budworm$sex == "male") / budworm$dose
# x and x^2 span what poly(x, 2) spans: the derivatives of its columns from theirs
plain <- lm(poly(girth, 2) ~ girth + I(girth^2), trees)
by_girth <- zero(fits$gamma)
by_girth[, 2:3] <- cbind(1, 2 * trees$girth) %*% coef(plain)[2:3, ]
slopes <- list(
  poisson = list(lbase = average(fits$poisson, by_lbase), age = average(fits$poisson, by_age)),
  robust = list(lbase = average(fits$poisson, by_lbase, sandwich::vcovHC(fits$poisson, "HC0"))),
  binomial = list(dose = average(fits$binomial, by_dose)),
  gamma = list(girth = average(fits$gamma, by_girth)))

write_json(list(program = "R emmeans, and formulas by hand", data = list(trees = columns(trees)),
                ages = I(ages), robust = sandwich::vcovHC(fits$poisson, "HC0"),
                adjusted = adjusted, slopes = slopes), "effects.json")
