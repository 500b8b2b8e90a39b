# The fits of geepack and gee that bench_gee.py asks for; called by it, not by hand.
#
#   Rscript bench_gee.R folder clusters size p correlation program rounds
#
# Reads X (column by column) and y as doubles from files in the folder, times the fits alone and
# prints one line of JSON: seconds of each round, and the coefficients.

args <- commandArgs(TRUE)
K <- as.integer(args[2]); m <- as.integer(args[3]); p <- as.integer(args[4])
correlation <- args[5]; program <- args[6]; rounds <- as.integer(args[7])
n <- K * m
X <- matrix(readBin(file.path(args[1], "X.bin"), "double", n * p), n, p)
colnames(X) <- paste0("x", seq_len(p))
y <- readBin(file.path(args[1], "y.bin"), "double", n)
id <- rep(seq_len(K), each = m)
suppressMessages(library(program, character.only = TRUE))

seconds <- numeric(rounds)
for (round in seq_len(rounds)) {
  if (program == "geepack") {
    seconds[round] <- system.time({
      start <- glm.fit(X, y, family = binomial())$coefficients
      fit <- geese.fit(X, y, id, rep(0, n), rep(0, n), rep(1, n), waves = rep(seq_len(m), K),
        zsca = matrix(1, n, 1), family = binomial(), corstr = correlation, b = start,
        control = geese.control(epsilon = 1e-8, maxit = 50))
    })[["elapsed"]]
    beta <- fit$beta
  } else {
    frame <- data.frame(y = y)
    frame$X <- X
    seconds[round] <- system.time(utils::capture.output(fit <- suppressMessages(gee(y ~ 0 + X, id = id,
      data = frame, family = binomial, corstr = if (correlation == "ar1") "AR-M" else correlation,
      Mv = 1, tol = 1e-8, maxiter = 50))))[["elapsed"]]
    beta <- fit$coefficients
  }
}
cat(sprintf('{"seconds": [%s], "beta": [%s]}\n', paste(seconds, collapse = ", "),
            paste(sprintf("%.17g", beta), collapse = ", ")))
