# The rstanarm runs that bench_nuts.py asks for; called by it, not by hand.
#
#   Rscript bench_nuts.R folder n p family draws tune cores
#
# Reads X (column by column), y, sigma and perhaps g as doubles from files in the folder, writes
# draws of the coefficients to beta.bin and prints seconds: total, and of sampling alone.

suppressMessages(library(rstanarm))
args <- commandArgs(TRUE)
n <- as.integer(args[2]); p <- as.integer(args[3]); family <- args[4]
draws <- as.integer(args[5]); tune <- as.integer(args[6]); cores <- as.integer(args[7])
number <- function(name, k) readBin(file.path(args[1], paste0(name, ".bin")), "double", k)
frame <- as.data.frame(matrix(number("X", n * p), n, p))
names(frame) <- paste0("x", seq_len(p) - 1)
columns <- names(frame)
frame$y <- number("y", n)
groups <- file.exists(file.path(args[1], "g.bin"))
if (groups) frame$g <- number("g", n)
formula <- paste("y ~ 0 +", paste(columns, collapse = " + "), if (groups) "+ (1 | g)")
kind <- switch(family, binomial = binomial(), poisson = poisson(), gamma = Gamma("log"),
               negative_binomial = neg_binomial_2(), normal = gaussian())

total <- system.time(suppressWarnings(
  fit <- (if (groups) stan_glmer else stan_glm)(
    as.formula(formula), data = frame, family = kind, prior = normal(0, number("sigma", p)),
    chains = 4, iter = draws + tune, warmup = tune, cores = cores, seed = 1, refresh = 0)
))[["elapsed"]]
beta <- as.array(fit$stanfit, pars = "beta")[, , seq_len(p)]
writeBin(as.vector(beta), file.path(args[1], "beta.bin"))
sampling <- sum(rstan::get_elapsed_time(fit$stanfit)) / min(cores, 4)
cat(total, sampling, "\n")
