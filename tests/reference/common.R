# What the reference scripts share: data, links, formulas and labels, JSON with every digit.
# Sourced by glm.R, gee.R and rstanarm.R; not run by itself.

here <- local({
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file)) dirname(normalizePath(file)) else getwd()
})

shipped <- function(name) {
  path <- file.path(here, "..", "..", "expfam_glm", "data", "datasets", paste0(name, ".csv"))
  read.csv(path, stringsAsFactors = FALSE)
}

# ---- JSON ---------------------------------------------------------------------------------

# The shortest decimal that reads back as the same double (at most 17 significant digits).
digits <- function(x) {
  text <- rep("null", length(x))
  finite <- is.finite(x)
  text[finite] <- sprintf("%.15g", x[finite])
  for (k in 16:17) {
    differs <- which(finite)[as.numeric(text[finite]) != x[finite]]
    text[differs] <- sprintf(paste0("%.", k, "g"), x[differs])
  }
  text
}

quoted <- function(x) vapply(x, function(s) as.character(jsonlite::toJSON(s, auto_unbox = TRUE)), "")

# Scalars are unboxed unless wrapped in I(); a matrix is an array of rows; NA and NaN are null.
json <- function(x, indent = "") {
  deeper <- paste0(indent, " ")
  if (is.null(x)) return("null")
  if (is.matrix(x)) {
    rows <- apply(x, 1, function(row) paste0("[", paste(digits(row), collapse = ","), "]"))
    return(paste0("[", paste(rows, collapse = ","), "]"))
  }
  if (is.list(x)) {
    if (length(x) == 0) return("{}")
    items <- vapply(x, json, "", indent = deeper)
    if (!is.null(names(x))) items <- paste0(quoted(names(x)), ": ", items)
    open <- if (is.null(names(x))) c("[", "]") else c("{", "}")
    return(paste0(open[1], "\n", deeper, paste(items, collapse = paste0(",\n", deeper)), "\n",
                  indent, open[2]))
  }
  text <- if (is.character(x)) quoted(x) else if (is.logical(x) && !anyNA(x)) tolower(x) else digits(x)
  if (length(x) == 1 && !inherits(x, "AsIs")) text else paste0("[", paste(text, collapse = ","), "]")
}

write_json <- function(x, name) {
  writeLines(json(x), file.path(here, name), useBytes = TRUE)
}

# Columns as plain vectors (always arrays in the JSON); factors become strings.
columns <- function(frame) {
  lapply(as.list(frame), function(v) I(if (is.factor(v)) as.character(v) else as.vector(v)))
}

# ---- links ----------------------------------------------------------------------------------

link_of <- function(name) {
  positive <- function(eta) all(is.finite(eta)) && all(eta > 0)
  finite <- function(eta) all(is.finite(eta))
  if (grepl("^power", name)) {
    lambda <- as.numeric(sub("^power\\((.*)\\)$", "\\1", name))
    parts <- list(function(mu) mu^lambda, function(eta) eta^(1 / lambda),
                  function(eta) eta^(1 / lambda - 1) / lambda, positive)
  } else parts <- switch(name,
    identity = list(function(mu) mu, function(eta) eta, function(eta) rep(1, length(eta)), finite),
    log = list(log, exp, exp, finite),
    logit = list(qlogis, plogis, dlogis, finite),
    probit = list(qnorm, pnorm, dnorm, finite),
    cloglog = list(function(mu) log(-log1p(-mu)), function(eta) -expm1(-exp(eta)),
                   function(eta) exp(eta - exp(eta)), finite),
    loglog = list(function(mu) -log(-log(mu)), function(eta) exp(-exp(-eta)),
                  function(eta) exp(-eta - exp(-eta)), finite),
    cauchit = list(qcauchy, pcauchy, dcauchy, finite),
    inverse = list(function(mu) 1 / mu, function(eta) 1 / eta, function(eta) -1 / eta^2, positive),
    inverse_squared = list(function(mu) 1 / mu^2, function(eta) 1 / sqrt(eta),
                           function(eta) -0.5 * eta^-1.5, positive),
    sqrt = list(sqrt, function(eta) eta^2, function(eta) 2 * eta, positive),
    stop("no link ", name))
  structure(list(linkfun = parts[[1]], linkinv = parts[[2]], mu.eta = parts[[3]],
                 valideta = parts[[4]], name = name), class = "link-glm")
}

# ---- cases ------------------------------------------------------------------------------------

family_of <- function(name, link, alpha) switch(name,
  normal = gaussian(link), poisson = poisson(link), binomial = binomial(link),
  gamma = Gamma(link), inverse_gaussian = inverse.gaussian(link),
  negative_binomial = MASS::negative.binomial(1 / alpha, link),
  quasi_poisson = quasipoisson(link), quasi_binomial = quasibinomial(link))

# The frame with responses (proportions of `trials`), weights and offset as .y, .w and .o, and the
# formula in R's spelling with .y on its left.
as_case <- function(raw, formula, trials = NULL, weights = NULL, exposure = NULL) {
  frame <- as_factors(raw, formula)
  frame$.y <- as.numeric(eval(r_formula(formula)[[2]], frame))
  frame$.w <- if (is.null(weights)) rep(1, nrow(frame)) else frame[[weights]]
  frame$.o <- if (is.null(exposure)) rep(0, nrow(frame)) else log(frame[[exposure]])
  if (!is.null(trials)) {
    frame$.y <- frame$.y / frame[[trials]]
    frame$.w <- frame$.w * frame[[trials]]
  }
  as_fitted <- r_formula(formula)
  as_fitted[[2]] <- quote(.y)
  list(frame = frame, formula = as_fitted)
}

# ---- formulas and labels ----------------------------------------------------------------------

# Strings and the columns inside C() become factors whose levels are sorted byte by byte.
as_factors <- function(frame, formula) {
  coded <- regmatches(formula, gregexpr("(?<=C\\()[A-Za-z_]+(?=\\))", formula, perl = TRUE))[[1]]
  for (v in names(frame)) if (is.character(frame[[v]]) || v %in% coded) {
    frame[[v]] <- factor(frame[[v]], levels = sort(unique(frame[[v]]), method = "radix"))
  }
  frame
}

# Our formula with C(x) in it, as a formula for a frame in which x is a factor already.
r_formula <- function(formula) as.formula(gsub("C\\(([A-Za-z_]+)\\)", "\\1", formula))

# R's coefficient names in our spelling: Intercept, C(x)[level] or x[level] for a string column.
our_labels <- function(names, frame, formula) {
  spelling <- c("(Intercept)" = "Intercept")
  for (v in base::names(frame)) if (is.factor(frame[[v]])) {
    term <- paste0("C(", v, ")")
    if (!grepl(term, formula, fixed = TRUE)) term <- v
    spelling[paste0(v, levels(frame[[v]]))] <- paste0(term, "[", levels(frame[[v]]), "]")
  }
  vapply(strsplit(names, ":", fixed = TRUE), function(parts) {
    known <- parts %in% base::names(spelling)
    parts[known] <- spelling[parts[known]]
    paste(parts, collapse = ":")
  }, "")
}
