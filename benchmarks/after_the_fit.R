# What after_the_fit.py times for sleepstudy, by lme4 and pbkrtest.
#
#     OMP_NUM_THREADS=1 Rscript benchmarks/after_the_fit.R

suppressPackageStartupMessages({
  library(lme4)
  library(pbkrtest)
})

seconds <- function(action, repeats = 3) {
  once <- function(i) system.time(suppressWarnings(suppressMessages(action())))[["elapsed"]]
  median(sapply(seq_len(repeats), once))
}

fit <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
flat <- lmer(Reaction ~ 1 + (Days | Subject), sleepstudy)
responses <- simulate(fit, 1000, seed = 1)
parameters <- function(m) c(fixef(m), sigma(m), getME(m, "theta"))

cat("full profile           ", seconds(function() profile(fit)), "\n")
cat("1,000 bootstraps       ", seconds(function() bootMer(fit, parameters, 1000), 1), "\n")
cat("1,000 other responses  ", seconds(function() lapply(responses, function(y) refit(fit, y)), 1), "\n")
cat("1,000 bootstraps of LRT", seconds(function() PBmodcomp(fit, flat, nsim = 1000), 1), "\n")
