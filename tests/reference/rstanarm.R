# Reference values for the posterior: R's rstanarm with explicit normal priors.
#
#   Rscript tests/reference/rstanarm.R        writes rstanarm.json beside itself (two minutes)
#
# Needs R with the packages rstanarm, posterior and jsonlite. README.md describes the record.
# rstanarm puts its intercept prior on centred predictors; so the models are fitted without an
# intercept and with a column of ones, and every coefficient has a plain normal prior.

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))),
                 "common.R"))

fit_case <- function(data, formula, family, link, priors, trials = NULL, exposure = NULL, aux = list()) {
  frame <- as_factors(shipped(data), formula)
  X <- model.matrix(r_formula(formula), frame)
  labels <- our_labels(colnames(X), frame, formula)
  stopifnot(identical(labels, names(priors)))
  columns <- paste0("x", seq_along(labels))
  frame[columns] <- as.data.frame(X)
  response <- all.vars(r_formula(formula))[1]
  if (!is.null(trials)) response <- sprintf("cbind(%s, %s - %s)", response, trials, response)
  frame$log_exposure <- if (is.null(exposure)) 0 else log(frame[[exposure]])
  further <- if (length(aux)) list(prior_aux = rstanarm::exponential(aux[[1]]$lam, autoscale = FALSE))
  r_family <- c(normal = "gaussian", gamma = "Gamma")[family]
  fit <- do.call(rstanarm::stan_glm, c(further, list(
    as.formula(paste(response, "~ 0 +", paste(columns, collapse = " + "))), data = frame,
    family = get(if (is.na(r_family)) family else r_family)(link), offset = frame$log_exposure,
    QR = FALSE, chains = 4, iter = 7000, warmup = 2000, seed = 20240607,
    prior = rstanarm::normal(sapply(priors, `[[`, "mu"), sapply(priors, `[[`, "sigma"), autoscale = FALSE),
    refresh = 0, cores = 1, control = list(adapt_delta = 0.95))))
  draws <- posterior::as_draws_array(as.array(fit, pars = columns))
  of <- function(f) I(vapply(columns, function(v) f(posterior::extract_variable_matrix(draws, v)), 0))
  stopifnot(of(posterior::rhat) < 1.005, of(posterior::ess_bulk) > 2000)
  list(id = paste(family, link, data, sep = "-"), data = data, formula = formula, family = family,
       link = link, roles = Filter(Negate(is.null), list(trials = trials, exposure = exposure)), coef = I(labels),
       priors = c(lapply(priors, function(prior) c(list(name = "Normal"), prior)), aux),
       chains = 4, draws = 5000, mean = of(mean), sd = of(sd), mcse_mean = of(posterior::mcse_mean),
       mcse_sd = of(posterior::mcse_sd), ess_bulk = of(posterior::ess_bulk), r_hat = of(posterior::rhat))
}

normal <- function(mu, sigma) list(mu = mu, sigma = sigma)
cases <- list(
  fit_case("oring", "damaged ~ temperature", "binomial", "logit", trials = "rings",
           priors = list(Intercept = normal(0, 5), temperature = normal(0, 0.2))),
  fit_case("seizures", "seizures ~ lbase * treatment + age", "poisson", "log",
           priors = list(Intercept = normal(0, 2), lbase = normal(1, 0.2),
                         "treatment[progabide]" = normal(0, 0.25), age = normal(0, 0.01),
                         "lbase:treatment[progabide]" = normal(0, 0.5))),
  fit_case("beetles", "killed ~ log_dose", "binomial", "cloglog", trials = "number",
           priors = list(Intercept = normal(-30, 10), log_dose = normal(17, 5))),
  fit_case("doctors", "deaths ~ smoker", "poisson", "log", exposure = "person_years",
           priors = list(Intercept = normal(-6, 1), "smoker[yes]" = normal(0, 0.1))),
  # the standard deviation, √φ, has an exponential prior
  fit_case("quine", "days ~ sex + learner", "normal", "identity",
           priors = list(Intercept = normal(10, 5), "sex[M]" = normal(0, 2), "learner[SL]" = normal(0, 2)),
           aux = list("sqrt(phi)" = list(name = "Exponential", lam = 0.1))),
  # the shape, 1/φ, has an exponential prior
  fit_case("clotting", "time ~ log(u) + lot", "gamma", "log",
           priors = list(Intercept = normal(5, 1), "log(u)" = normal(-0.5, 0.2), lot = normal(0, 0.3)),
           aux = list("1/phi" = list(name = "Exponential", lam = 0.05))))
write_json(list(program = paste("rstanarm", packageVersion("rstanarm")), data = list(), cases = cases),
           "rstanarm.json")
