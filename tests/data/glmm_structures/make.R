# Structured and known covariances in generalized models by glmmTMB.
folder <- commandArgs(TRUE)[1]
suppressMessages({library(glmmTMB); library(jsonlite)})
set.seed(1)
control <- glmmTMBControl(optCtrl = list(iter.max = 2000, eval.max = 2000, rel.tol = 1e-14))
polish <- function(fit, n = 3) { # Newton steps: glmmTMB's optimizer stops early
  p <- fit$fit$par
  for (i in seq_len(n)) {
    g <- as.numeric(fit$obj$gr(p)); H <- optimHess(p, fit$obj$fn, fit$obj$gr, control = list(ndeps = rep(1e-4, length(p))))
    p <- p - solve(H, g)
  }
  c(p)
}
out <- list()
record <- function(name, fit) {
  p <- polish(fit)
  H <- optimHess(p, fit$obj$fn, fit$obj$gr, control = list(ndeps = rep(1e-4, length(p))))
  b <- names(p) == "beta"
  out[[name]] <<- list(logLik = -fit$obj$fn(p), beta = unname(p[b]), theta = unname(p[names(p) == "theta"]),
    betad = unname(p[names(p) == "betad"]), se = unname(sqrt(diag(solve(H)))[b]), gradient = max(abs(fit$obj$gr(p))))
}
# counts over times, first-order autoregressive random effects within groups
times <- expand.grid(time = 1:6, group = sprintf("g%02d", 1:20))
times <- times[runif(nrow(times)) < 0.9, ]
u <- unlist(lapply(split(seq_len(nrow(times)), times$group), function(i) as.numeric(arima.sim(list(ar = 0.6), 6, sd = 0.5))[times$time[i]]))
times$x <- round(rnorm(nrow(times)), 3)
times$y <- rpois(nrow(times), exp(0.8 + 0.4 * times$x + u))
times$z <- rnbinom(nrow(times), size = 1.5, mu = exp(0.8 + 0.4 * times$x + u))
write.csv(times, file.path(folder, "times.csv"), row.names = FALSE)
times$f <- factor(times$time, levels = 1:6); times$group <- factor(times$group)
record("ar1 poisson", glmmTMB(y ~ x + ar1(f + 0 | group), times, poisson, control = control))
record("cs poisson", glmmTMB(y ~ x + cs(f + 0 | group), times, poisson, control = control))
record("toep poisson", glmmTMB(y ~ x + toep(f + 0 | group), times, poisson, control = control))
times$pos <- numFactor(times$time)
record("ou poisson", glmmTMB(y ~ x + exp(pos + 0 | group), times, poisson, control = control))
record("ar1 negative binomial", glmmTMB(z ~ x + ar1(f + 0 | group), times, nbinom2, control = control))
# a known correlation of lines: an unstructured covariance with mapped parameters
set.seed(4)
q <- 10
D <- as.matrix(dist(cbind(rnorm(q), rnorm(q)))); K <- exp(-D)
lines <- data.frame(line = sprintf("L%02d", rep(1:q, each = 24)), x = round(rnorm(24 * q), 3))
b <- drop(t(chol(K)) %*% rnorm(q))
lines$y <- rbinom(nrow(lines), 1, plogis(0.3 + 0.6 * lines$x + 1.8 * b[as.integer(factor(lines$line))]))
lines$n <- rpois(nrow(lines), exp(0.3 + 0.6 * lines$x + 0.7 * b[as.integer(factor(lines$line))]))
write.csv(lines, file.path(folder, "lines.csv"), row.names = FALSE)
write.csv(data.frame(K), file.path(folder, "lines_K.csv"), row.names = FALSE)
lines$line <- factor(lines$line); lines$one <- factor(1)
L <- t(chol(K)); U <- solve(diag(diag(L)), L) # unit lower triangular: theta of glmmTMB's us
rho <- t(U)[upper.tri(U)]
for (what in c("binomial", "poisson")) {
  start <- list(theta = c(rep(0, q), rho))
  map <- list(theta = factor(c(rep(1, q), rep(NA, length(rho)))))
  response <- if (what == "binomial") "y" else "n"
  fit <- glmmTMB(as.formula(paste(response, "~ x + us(line + 0 | one)")), lines, family = what, start = start, map = map, control = control)
  S <- VarCorr(fit)$cond$one; attributes(S) <- list(dim = dim(S))
  stopifnot(max(abs(cov2cor(S) - K)) < 1e-8)
  record(paste("known", what), fit)
}
write_json(out, file.path(folder, "numbers.json"), digits = 12, auto_unbox = TRUE, pretty = TRUE)
