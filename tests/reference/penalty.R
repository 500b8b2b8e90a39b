# Reference values for bias reduction and Jeffreys' penalty: brglm2.
#
#   Rscript tests/reference/penalty.R        writes penalty.json beside itself
#
# Needs R with the packages brglm2, MASS and jsonlite. README.md describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))
suppressMessages({library(brglm2); library(MASS)})
data(endometrial, lizards, coalition, package = "brglm2")

endometrial <- with(endometrial, data.frame(nv = NV, pi = PI, eh = EH, hg = HG))
lizards <- with(lizards, data.frame(grahami = grahami, total = grahami + opalinus,
  height = as.character(height), diameter = as.character(diameter), light = as.character(light),
  time = as.character(time)))
coalition <- with(coalition, data.frame(duration = duration, fract = fract, numst2 = numst2))
birthwt <- MASS::birthwt[, c("low", "age", "lwt", "race", "smoke", "ht")]
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))
warpbreaks <- data.frame(lapply(datasets::warpbreaks, function(v)
  if (is.factor(v)) as.character(v) else v))
embedded <- list(endometrial = endometrial, lizards = lizards, coalition = coalition,
                 birthwt = birthwt, trees = trees, warpbreaks = warpbreaks)

cases <- list()
case <- function(data, formula, family, link, penalty, trials = NULL, weights = NULL, exposure = NULL) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  made <- as_case(raw, formula, trials, weights, exposure)
  frame <- made$frame
  type <- c(firth = "AS_mean", jeffreys = "MPL_Jeffreys")[[penalty]]
  fit <- suppressWarnings(glm(made$formula, family_of(family, link), frame, weights = .w, offset = .o,
    method = "brglmFit", type = type, epsilon = 1e-13, maxit = 20000))
  s <- summary(fit)
  left <- max(abs(fit$grad[seq_along(coef(fit))] * s$coefficients[, 2]), na.rm = TRUE)
  id <- paste(c(data, family, link, penalty), collapse = "-")
  stopifnot(!id %in% names(cases))
  message(sprintf("%-44s left %.0e", id, left))
  if (left > 1e-9) stop(id, ": not at the root")
  known <- family %in% c("binomial", "poisson")
  roles <- list(trials = trials, weights = weights, exposure = exposure)
  cases[[id]] <<- list(id = id, data = data, formula = formula, family = family, family_args = list(),
    link = link, roles = Filter(Negate(is.null), roles), penalty = penalty,
    coef = I(our_labels(names(coef(fit)), frame, formula)), beta = I(coef(fit)),
    se = I(s$coefficients[, 2]), phi = if (known) 1 else fit$dispersion)
}

both <- c("firth", "jeffreys")
for (p in both) {
  for (link in c("logit", "probit", "cloglog")) {
    case("endometrial", "hg ~ nv + pi + eh", "binomial", link, p)
    case("lizards", "grahami ~ height + diameter + light + time", "binomial", link, p, trials = "total")
  }
  case("birthwt", "low ~ age + lwt + C(race) + smoke + ht", "binomial", "cauchit", p)
  case("oring", "damaged ~ temperature", "binomial", "logit", p, trials = "rings")
  case("coalition", "duration ~ fract + numst2", "gamma", "inverse", p)
  case("coalition", "duration ~ fract + numst2", "gamma", "log", p)
  case("clotting", "time ~ C(lot) * log(u)", "gamma", "inverse", p)
  case("clotting", "time ~ C(lot) * log(u)", "gamma", "log", p, weights = "u")
  case("trees", "volume ~ girth + height", "inverse_gaussian", "log", p)
  case("trees", "volume ~ girth + height", "normal", "log", p)
  case("trees", "volume ~ girth + height", "normal", "identity", p)
  case("warpbreaks", "breaks ~ wool * tension", "poisson", "log", p)
  case("warpbreaks", "breaks ~ wool + tension", "poisson", "sqrt", p)
  case("ships", "incidents ~ type + C(year) + C(period)", "poisson", "log", p, exposure = "service")
}

used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion(), "brglm2", packageVersion("brglm2")),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = unname(cases)), "penalty.json")
message(length(cases), " cases")
