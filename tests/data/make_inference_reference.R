# Tables of tests on unbalanced data by lmerTest, pbkrtest, emmeans and clubSandwich, as JSON.
#
#     Rscript tests/data/make_inference_reference.R tests/data/inference.json
#
# The data are those of mixedlm_ext/datasets without the rows `left_out` (counted from 1); `cells`
# of cake also lacks two combinations of recipe and temperature.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(emmeans)
  library(clubSandwich)
  library(jsonlite)
})

here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))))
factors <- c("Subject", "batch", "cask", "sample", "recipe", "replicate", "temperature")
left_out <- list(
  cake = c(1, 2, 3, 8, 20, 21, 40, 41, 42, 43, 77, 78, 100, 120, 150, 151, 200, 201, 230, 260),
  sleepstudy = c(1:3, 15, 16, 47, 100:106, 177),
  pastes = c(2, 11, 12, 35, 60)
)

read_data <- function(name) {
  file <- file.path(here, "../../mixedlm_ext/datasets", name, paste0(name, ".csv"))
  data <- read.csv(file)
  for (column in intersect(factors, names(data))) data[[column]] <- factor(data[[column]])
  data[-left_out[[name]], ]
}

cake <- read_data("cake")
empty <- with(cake, (recipe == "B" & temperature == "185") | (recipe == "A" & temperature == "175"))
cells <- cake[!empty, ]
sleepstudy <- read_data("sleepstudy")
pastes <- read_data("pastes")

control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e6))
fit <- function(formula, data, ...) {
  suppressMessages(suppressWarnings(lmer(as.formula(formula), data, control = control, ...)))
}

f_table <- function(table) {
  list(names = rownames(table), sum_sq = table[["Sum Sq"]], mean_sq = table[["Mean Sq"]],
       num_df = table$NumDF, den_df = table$DenDF, F = table[["F value"]])
}

anova_case <- function(name, formula, contrasts = NULL) {
  model <- fit(formula, get(name), contrasts = contrasts)
  tables <- list()
  for (type in c("I", "II", "III")) for (ddf in c("Satterthwaite", "Kenward-Roger")) {
    tables[[paste(type, ddf)]] <- f_table(suppressMessages(anova(model, type = type, ddf = ddf)))
  }
  list(data = name, formula = formula, coded = !is.null(contrasts), tables = tables)
}

drop1_case <- function(name, formula) {
  model <- fit(formula, get(name))
  likelihood <- drop1(as(update(model, REML = FALSE), "lmerMod"), test = "Chisq")
  list(data = name, formula = formula, F = f_table(drop1(model)),
       LRT = list(names = rownames(likelihood), npar = likelihood$npar, AIC = likelihood$AIC,
                  LRT = likelihood$LRT, p = likelihood[["Pr(Chi)"]]))
}

compare_case <- function(name, formulas) {
  models <- lapply(formulas, fit, data = get(name))
  table <- suppressMessages(do.call(anova, unname(models)))
  list(data = name, formulas = formulas, npar = table$npar, AIC = table$AIC, BIC = table$BIC,
       logLik = table$logLik, Chisq = table$Chisq, Df = table$Df, p = table[["Pr(>Chisq)"]])
}

means_case <- function(name, formula, specs, ddf, at = NULL) {
  model <- fit(formula, get(name))
  means <- emmeans(model, specs, at = at, lmer.df = ddf)
  frame <- function(x) {
    table <- as.data.frame(summary(x, infer = c(TRUE, TRUE)))
    as.list(table[setdiff(names(table), factors)])
  }
  list(data = name, formula = formula, specs = specs, ddf = ddf, at = at,
       means = frame(means), pairs = frame(pairs(means, adjust = "none")),
       tukey = frame(pairs(means))$p.value, holm = frame(pairs(means, adjust = "holm"))$p.value)
}

robust_case <- function(name, formula, cluster) {
  model <- fit(formula, get(name))
  out <- list(data = name, formula = formula, cluster = cluster)
  for (kind in c("CR0", "CR1", "CR2", "CR3")) {
    V <- vcovCR(model, cluster = get(name)[[cluster]], type = kind)
    out[[kind]] <- unname(as.matrix(V))
    if (kind == "CR2") {
      out$df <- coef_test(model, V, test = "Satterthwaite")$df_Satt
      test <- Wald_test(model, constrain_zero(seq_along(fixef(model))), V, test = "HTZ")
      out$F <- test$Fstat
      out$den_df <- test$df_denom
    }
  }
  out
}

main <- function(path) {
  split_plot <- "angle ~ recipe * temperature + (1 | recipe:replicate)"
  covariate <- "angle ~ temp * recipe + (1 | recipe:replicate)"
  write_json(list(
    left_out = left_out,
    anova = list(
      anova_case("cake", split_plot),
      anova_case("cake", split_plot, list(recipe = "contr.sum", temperature = "contr.poly")),
      anova_case("cake", covariate),
      anova_case("cake", "angle ~ 0 + recipe + temperature + (1 | recipe:replicate)"),
      anova_case("cake", "angle ~ recipe * temp + I(temp^2) + (1 | recipe:replicate)"),
      anova_case("cells", split_plot)
    ),
    drop1 = list(drop1_case("cake", split_plot),
                 drop1_case("cake", "angle ~ recipe + temp + (1 | recipe:replicate)")),
    compare = list(compare_case("sleepstudy", c(
      "Reaction ~ 1 + (1 | Subject)", "Reaction ~ Days + (1 | Subject)",
      "Reaction ~ Days + (Days || Subject)", "Reaction ~ Days + (Days | Subject)"))),
    means = list(
      means_case("cake", split_plot, "recipe", "satterthwaite"),
      means_case("cake", split_plot, "recipe", "kenward-roger"),
      means_case("cake", split_plot, c("recipe", "temperature"), "satterthwaite"),
      means_case("cake", covariate, "recipe", "satterthwaite"),
      means_case("cake", covariate, "recipe", "kenward-roger", list(temp = 180))
    ),
    robust = list(
      robust_case("sleepstudy", "Reaction ~ Days + (Days | Subject)", "Subject"),
      robust_case("pastes", "strength ~ 1 + (1 | batch/cask)", "batch"),
      robust_case("cake", "angle ~ recipe + temp + (1 | replicate/recipe)", "replicate")
    )
  ), path, auto_unbox = TRUE, digits = NA)
}

main(commandArgs(trailingOnly = TRUE)[1])
