# Refits the reference models with lme4 and writes what it finds as JSON.
#
#     Rscript tests/data/make_reference.R lme4.json            all models (some minutes)
#     Rscript tests/data/make_reference.R out.json dyestuff    only data files whose name begins so
#
# Needs lme4, lmerTest, pbkrtest and jsonlite. Runs from any directory: it finds the data beside
# itself and in mixedlm_ext/datasets.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(pbkrtest)
  library(jsonlite)
})

# One row a model, fitted by REML and by ML. `profile` asks for profile intervals of the ML fit.
models <- read.csv(strip.white = TRUE, sep = ";", text = "
data                   ; profile ; weights ; formula
dyestuff.csv           ; TRUE    ;         ; Yield ~ 1 + (1|Batch)
dyestuff2.csv          ; TRUE    ;         ; Yield ~ 1 + (1|Batch)
sleepstudy.csv         ; TRUE    ;         ; Reaction ~ Days + (Days|Subject)
sleepstudy.csv         ; TRUE    ;         ; Reaction ~ Days + (Days||Subject)
sleepstudy.csv         ; TRUE    ;         ; Reaction ~ Days + (1|Subject)
sleepstudy.csv         ; TRUE    ;         ; Reaction ~ Days + (0 + Days|Subject)
sleepstudy.csv         ; TRUE    ;         ; Reaction ~ Days + I(Days^2) + (1|Subject) + (0 + Days|Subject)
sleepstudy.csv         ; TRUE    ;         ; log(Reaction) ~ Days + (Days|Subject)
sleepstudy.csv         ; TRUE    ;         ; Reaction ~ 0 + (1|Subject)
sleepstudy_weights.csv ; TRUE    ; w       ; Reaction ~ Days + (Days|Subject)
sleepstudy.csv         ; TRUE    ;         ; Reaction ~ Days + offset(10*Days) + (Days|Subject)
penicillin.csv         ; TRUE    ;         ; diameter ~ 1 + (1|plate) + (1|sample)
pastes.csv             ; TRUE    ;         ; strength ~ 1 + (1|batch/cask)
pastes.csv             ; TRUE    ;         ; strength ~ 1 + (1|sample) + (1|batch)
cake.csv               ; FALSE   ;         ; angle ~ recipe * temperature + (1|recipe:replicate)
cake.csv               ; FALSE   ;         ; angle ~ recipe + temp + (1|replicate/recipe)
machines.csv           ; FALSE   ;         ; score ~ Machine + (Machine|Worker)
machines.csv           ; FALSE   ;         ; score ~ Machine + (0 + Machine|Worker)
machines.csv           ; TRUE    ;         ; score ~ Machine + (1|Worker/Machine)
machines.csv           ; TRUE    ;         ; score ~ Machine + (1|Worker) + (1|Worker:Machine)
oats.csv               ; TRUE    ;         ; yield ~ nitro + Variety + (1|Block/Variety)
oats.csv               ; FALSE   ;         ; yield ~ nitro * Variety + (nitro|Block) + (1|Block:Variety)
")

factors <- c("Batch", "Subject", "plate", "sample", "batch", "cask", "recipe", "replicate",
             "temperature", "Worker", "Machine", "Block", "Variety")

control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e6))

here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))))

read_data <- function(name) {
  places <- c(file.path(here, name),
              file.path(here, "../../mixedlm_ext/datasets", sub("[.].*", "", name), name))
  data <- read.csv(places[file.exists(places)][1])
  for (column in intersect(factors, names(data))) data[[column]] <- factor(data[[column]])
  data
}

# NULL where lme4, lmerTest or pbkrtest refuse.
attempt <- function(expr) tryCatch(expr, error = function(e) NULL)

conditional_modes <- function(fit) {
  lapply(ranef(fit, condVar = FALSE), function(frame) {
    list(levels = rownames(frame), columns = colnames(frame), values = unname(as.matrix(frame)))
  })
}

conditional_sds <- function(fit) {
  frame <- head(as.data.frame(ranef(fit, condVar = TRUE)), 40)
  list(grp = as.character(frame$grp), grpvar = as.character(frame$grpvar),
       term = as.character(frame$term), condsd = frame$condsd)
}

fixed_effects <- function(fit, ddf) {
  table <- coef(summary(fit, ddf = ddf))
  if (nrow(table) == 0 || !"df" %in% colnames(table)) return(NULL)
  found <- list(names = rownames(table), df = unname(table[, "df"]),
                t = unname(table[, "t value"]), p = unname(table[, "Pr(>|t|)"]))
  if (ddf == "Kenward-Roger") {
    found <- append(found, list(se = unname(table[, "Std. Error"])), after = 1)
  }
  found
}

anova_tables <- function(fit, methods) {
  tables <- list()
  for (type in c("I", "II", "III")) for (ddf in methods) {
    table <- attempt(anova(fit, type = type, ddf = ddf))
    if (is.null(table) || nrow(table) == 0 || !"DenDF" %in% names(table)) next
    tables[[paste(type, ddf)]] <- list(names = rownames(table), numdf = table$NumDF,
                                       dendf = table$DenDF, F = table$`F value`,
                                       p = table$`Pr(>F)`)
  }
  if (length(tables)) tables
}

# ranova refits in the frame it is called from, so `data` has to be a name in this one.
random_anova <- function(fit, data) {
  table <- attempt(ranova(fit))
  if (is.null(table)) return(NULL)
  list(names = rownames(table), npar = table$npar, logLik = table$logLik, AIC = table$AIC,
       LRT = table$LRT, df = table$Df, p = table$`Pr(>Chisq)`)
}

profile_intervals <- function(fit) {
  limits <- attempt(suppressMessages(suppressWarnings(
    confint(profile(fit, signames = FALSE), level = 0.95))))
  if (is.null(limits)) return(NULL)
  list(names = rownames(limits), lower = unname(limits[, 1]), upper = unname(limits[, 2]))
}

drop_null <- function(x) x[!vapply(x, is.null, logical(1))]

reference <- function(model, reml) {
  data <- read_data(model$data)
  weighted <- nzchar(model$weights)
  call <- bquote(lmer(.(as.formula(model$formula)), data, REML = .(reml), control = control))
  if (weighted) call$weights <- as.name(model$weights)
  fit <- suppressMessages(suppressWarnings(eval(call)))
  # pbkrtest ignores weights and cannot be trusted where the covariance is singular.
  methods <- c("Satterthwaite", if (!weighted && !isSingular(fit)) "Kenward-Roger")
  # Without fixed effects lme4's log|R_X|, of an empty matrix, is an arbitrary number.
  fixed <- length(fixef(fit)) > 0
  devcomp <- getME(fit, "devcomp")$cmp
  covariance <- unname(as.matrix(vcov(fit)))
  leverage <- hatvalues(fit)
  variances <- as.data.frame(VarCorr(fit))
  profiled <- isTRUE(model$profile) && !reml
  drop_null(list(
    data = model$data, formula = model$formula, reml = reml,
    weights = if (weighted) model$weights else NA,
    nobs = nobs(fit),
    objective = -2 * as.numeric(logLik(fit)),
    logLik = as.numeric(logLik(fit)), npar = attr(logLik(fit), "df"),
    AIC = AIC(fit), BIC = BIC(fit),
    theta = as.list(getME(fit, "theta")), sigma = sigma(fit), singular = isSingular(fit),
    fixef = as.list(fixef(fit)),
    vcov = if (length(covariance)) covariance,
    se = if (length(covariance)) as.list(sqrt(diag(as.matrix(vcov(fit))))),
    varcorr = variances,
    ranef = conditional_modes(fit), condsd = conditional_sds(fit),
    fitted_head = unname(head(fitted(fit))), resid_head = unname(head(resid(fit))),
    leverage_sum = sum(leverage), leverage_head = unname(head(leverage)),
    cooks_head = attempt(unname(head(cooks.distance(fit)))),
    pwrss = unname(devcomp["pwrss"]), ldL2 = unname(devcomp["ldL2"]),
    ldRX2 = if (fixed) unname(devcomp["ldRX2"]) else 0,
    satterthwaite = if (reml) attempt(fixed_effects(fit, "Satterthwaite")),
    kenward_roger = if (reml && "Kenward-Roger" %in% methods)
      attempt(fixed_effects(fit, "Kenward-Roger")),
    anova = if (reml) anova_tables(fit, methods),
    ranova = if (reml && fixed) random_anova(fit, data),
    profile_ci = if (profiled) profile_intervals(fit)
  ))
}

main <- function(arguments) {
  path <- arguments[1]
  if (is.na(path)) stop("say where to write: Rscript make_reference.R out.json [data ...]")
  wanted <- arguments[-1]
  if (length(wanted)) {
    chosen <- vapply(models$data, function(name) any(startsWith(name, wanted)), logical(1))
    models <- models[chosen, ]
  }
  cases <- list()
  for (row in seq_len(nrow(models))) for (reml in c(TRUE, FALSE)) {
    message(models$data[row], "  ", models$formula[row], if (reml) "  REML" else "  ML")
    cases[[length(cases) + 1]] <- reference(models[row, ], reml)
  }
  versions <- lapply(c(lme4 = "lme4", lmerTest = "lmerTest", pbkrtest = "pbkrtest"),
                     function(package) as.character(packageVersion(package)))
  note <- paste("REML criterion or -2 log-likelihood in 'objective'; theta in lme4's order;",
                "optimiser bobyqa, rhoend 1e-10")
  write_json(list(made_with = c(list(R = R.version.string), versions), note = note,
                  cases = cases),
             path, auto_unbox = TRUE, digits = NA)
}

main(commandArgs(trailingOnly = TRUE))
