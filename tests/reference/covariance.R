# Reference values for robust covariances: R's sandwich, clubSandwich and survey.
#
#   Rscript tests/reference/covariance.R        writes covariance.json beside itself
#
# Needs R with the packages sandwich, clubSandwich, survey, lme4, MASS and jsonlite. README.md
# describes the record.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))
suppressMessages({library(sandwich); library(clubSandwich); library(survey)})
data(api, package = "survey")

# ---- data that the package does not ship ---------------------------------------------------------

chicks <- with(datasets::ChickWeight, data.frame(weight = weight, time = Time,
  chick = as.character(Chick), diet = as.character(Diet)))
sleepstudy <- with(lme4::sleepstudy, data.frame(reaction = Reaction, days = Days,
  subject = as.integer(as.character(Subject)), doubled = rep_len(c(1, 2, 2), length(Days))))
cbpp <- with(lme4::cbpp, data.frame(herd = as.integer(herd), period = as.integer(period),
  incidence = incidence, size = size))
seatbelts <- with(as.data.frame(datasets::Seatbelts), data.frame(month = seq_along(drivers),
  killed = DriversKilled, kms = kms / 1e4, petrol = 10 * PetrolPrice, law = law))
discoveries <- data.frame(year = as.integer(time(datasets::discoveries)) - 1860,
                          count = as.integer(datasets::discoveries))
oats <- with(MASS::oats, data.frame(block = as.character(B), variety = as.character(V),
  nitrogen = as.numeric(sub("cwt", "", as.character(N))), yield = Y))
insurance <- with(MASS::Insurance, data.frame(district = as.integer(as.character(District)),
  group = as.character(Group), age = as.integer(Age), holders = Holders, claims = Claims))
schools <- with(apiclus1, data.frame(district = dnum, api00 = api00, ell = ell, meals = meals,
  emer = emer, pw = pw, high = as.integer(api00 > 650)))
swiss <- with(datasets::swiss, data.frame(fertility = Fertility, agriculture = Agriculture,
  education = Education, catholic = Catholic, examination = Examination))
sprays <- with(datasets::InsectSprays, data.frame(count = count, spray = as.character(spray)))
trees <- with(datasets::trees, data.frame(girth = Girth, height = Height, volume = Volume))

embedded <- list(chicks = chicks, sleepstudy = sleepstudy, cbpp = cbpp, seatbelts = seatbelts,
  discoveries = discoveries, oats = oats, insurance = insurance, schools = schools, swiss = swiss,
  sprays = sprays, trees = trees)

# Newey and West within each cluster. vcovPL takes the cluster number of the last row at the last time
# for the count of clusters, and leaves out those with a higher one.
panel <- function(fit, cluster, time, lags) {
  stopifnot(cluster[max(which(time == max(time)))] == max(cluster))
  vcovPL(fit, cluster = cluster, order.by = time, kernel = "Bartlett", lag = lags,
         aggregate = FALSE, adjust = FALSE, fix = FALSE)
}

# ---- one case ----------------------------------------------------------------------------------------

cases <- list()

case <- function(data, formula, family, link, types, alpha = NULL, trials = NULL, weights = NULL,
                 sampling = NULL, exposure = NULL, groups = NULL, time = NULL, lags = NULL,
                 note = NULL) {
  raw <- if (data %in% names(embedded)) embedded[[data]] else shipped(data)
  made <- as_case(raw, formula, trials, weights, exposure)
  frame <- made$frame
  n <- nrow(frame)
  if (!is.null(sampling)) frame$.w <- frame$.w * frame[[sampling]] / mean(frame[[sampling]])
  as_fitted <- made$formula
  # glm stops when the deviance does not change any more, which is too early: begin again there
  fit <- glm(as_fitted, family_of(family, link, alpha), frame, weights = .w, offset = .o,
             control = glm.control(epsilon = 1e-14, maxit = 400))
  for (round in 1:30) {
    again <- fit
    fit <- suppressWarnings(update(fit, start = coef(again)))
  }
  se <- sqrt(diag(vcov(fit)))
  drift <- max(abs(coef(again) - coef(fit)) / se)
  if (drift > 1e-10) stop(data, " ", link, ": still moves by ", drift, " standard errors")
  cluster <- if (length(groups) == 1) raw[[groups]] else raw[groups]
  one <- function(type) switch(type,
    HC0 = , HC1 = , HC2 = , HC3 = vcovHC(fit, type),
    HAC = if (is.null(groups)) {
      NeweyWest(fit, lag = lags, prewhite = FALSE, adjust = FALSE, order.by = if (is.null(time))
        NULL else raw[[time]])
    } else panel(fit, as.integer(cluster), raw[[time]], lags),
    CR0 = vcovCL(fit, cluster, type = "HC0", cadjust = FALSE),
    CR1 = vcovCL(fit, cluster, type = "HC0", cadjust = TRUE),
    CR1S = vcovCL(fit, cluster, type = "HC1", cadjust = TRUE),
    CR2 = , CR3 = as.matrix(vcovCR(fit, cluster, type = type)))
  # with sampling weights: the working variance is that of the family, the weights are no part of it
  if (!is.null(sampling)) {
    linear <- lm(as_fitted, frame, weights = .w)
    stopifnot(family == "normal" || !any(c("CR2", "CR3") %in% types))
    plain <- one
    one <- function(type) if (type %in% c("CR2", "CR3"))
      as.matrix(vcovCR(linear, cluster, type = type)) else plain(type)
    design <- svydesign(ids = if (is.null(groups)) ~1 else reformulate(groups),
                        weights = reformulate(sampling), data = cbind(frame, row = seq_len(n)))
    linearised <- vcov(suppressWarnings(svyglm(as_fitted, design, family = family_of(family, link),
      epsilon = 1e-14)))
    own <- if (is.null(groups)) one("HC0") * n / (n - 1) else one("CR1")
    stopifnot(max(abs(linearised / own - 1)) < 1e-7)
  }
  covariances <- lapply(setNames(types, types), one)
  df <- NULL
  if ("CR2" %in% types) {
    tested <- if (is.null(sampling)) fit else linear
    test <- coef_test(tested, vcovCR(tested, cluster, type = "CR2"), test = "Satterthwaite")
    df <- I(test[[grep("^df", names(test))]])
  }
  roles <- list(trials = trials, weights = weights, sampling_weights = sampling,
                exposure = exposure)
  id <- paste(c(data, family, link, groups, note), collapse = "-")
  stopifnot(!id %in% names(cases))
  message(sprintf("%-50s n %4d", id, n))
  cases[[id]] <<- list(id = id, data = data, formula = formula, family = family,
    family_args = if (is.null(alpha)) list() else list(alpha = alpha), link = link,
    roles = Filter(Negate(is.null), roles), groups = I(as.character(groups)), time = time,
    lags = lags, coef = I(our_labels(names(coef(fit)), frame, formula)), beta = I(coef(fit)),
    covariances = lapply(covariances, function(V) unname(as.matrix(V))), df = df)
}

# ---- the cases ---------------------------------------------------------------------------------------

hc <- c("HC0", "HC1", "HC2", "HC3")
cr <- c("CR0", "CR1", "CR1S", "CR2", "CR3")
several <- c("CR0", "CR1", "CR1S")

case("seizures", "seizures ~ lbase * treatment + age", "poisson", "log", c(hc, cr), groups = "patient")
case("seizures", "seizures ~ base + age", "poisson", "sqrt", c(hc, cr), groups = "patient")
case("sprays", "count ~ spray", "poisson", "sqrt", hc)
case("seizures", "seizures ~ lbase * treatment + age", "negative_binomial", "log", c(hc, cr), alpha = 0.45,
     groups = "patient")
case("respiratory", "outcome ~ C(center) + treatment + sex + age + baseline", "binomial", "logit", c(hc, cr),
     groups = "patient")
case("respiratory", "outcome ~ treatment + age + baseline", "binomial", "probit", c(hc, several),
     groups = "patient", note = "short")
case("cbpp", "incidence ~ C(period)", "binomial", "logit", c(hc, cr), trials = "size", groups = "herd")
case("cbpp", "incidence ~ C(period)", "quasi_binomial", "cloglog", c(hc, cr), trials = "size", groups = "herd")
case("sleepstudy", "reaction ~ days", "normal", "identity", c(hc, cr), groups = "subject")
case("sleepstudy", "reaction ~ days", "normal", "identity", c(hc, cr), weights = "doubled", groups = "subject",
     note = "weights")
case("sleepstudy", "reaction ~ days + C(subject)", "normal", "identity", c(hc, "CR0", "CR1", "CR1S", "CR2"),
     groups = "subject", note = "fixed-effects")
case("chicks", "weight ~ time * diet", "gamma", "log", c(hc, cr), groups = "chick")
case("chicks", "weight ~ time + diet", "inverse_gaussian", "log", c(hc, cr), groups = "chick")
case("chicks", "weight ~ time + diet", "gamma", "log", several, groups = c("chick", "time"))
case("chicks", "weight ~ time", "normal", "identity", several, groups = c("chick", "time", "diet"))
case("oats", "yield ~ nitrogen + variety", "normal", "identity", c(hc, cr), groups = "block")
case("insurance", "claims ~ age", "poisson", "log", c(hc, cr), exposure = "holders", groups = "group")
case("seizures", "seizures ~ lbase + age", "quasi_poisson", "log", several, groups = c("patient", "visit"))
case("swiss", "fertility ~ agriculture + education + catholic", "normal", "identity", hc)
case("trees", "volume ~ girth + height", "gamma", "identity", hc)
case("trees", "volume ~ girth + height", "inverse_gaussian", "sqrt", hc)
case("oring", "damaged ~ temperature", "binomial", "logit", hc, trials = "rings")
case("beetles", "killed ~ log_dose", "binomial", "cloglog", hc, trials = "number")
case("quine", "days ~ ethnicity + sex + learner", "negative_binomial", "log", hc, alpha = 0.78)
case("seatbelts", "killed ~ kms + petrol + law", "quasi_poisson", "log", c("HC0", "HAC"), lags = 4)
case("seatbelts", "killed ~ kms + petrol + law", "normal", "identity", "HAC", lags = 12, time = "month")
case("discoveries", "count ~ year", "poisson", "log", c("HC3", "HAC"), lags = 3, time = "year")
case("chicks", "weight ~ time + diet", "gamma", "log", "HAC", groups = "chick", time = "time", lags = 2,
     note = "panel")
case("schools", "api00 ~ ell + meals + emer", "normal", "identity", c("HC0", cr), sampling = "pw",
     groups = "district")
case("schools", "high ~ ell + meals", "quasi_binomial", "logit", several, sampling = "pw", groups = "district")
case("schools", "api00 ~ ell + meals", "gamma", "log", c("HC0", "HC3"), sampling = "pw")

used <- unique(vapply(cases, function(record) record$data, ""))
write_json(list(program = paste("R", getRversion(), "sandwich", packageVersion("sandwich"),
                                "clubSandwich", packageVersion("clubSandwich"), "survey",
                                packageVersion("survey")),
                data = lapply(embedded[intersect(names(embedded), used)], columns),
                cases = unname(cases)), "covariance.json")
message(length(cases), " cases")
