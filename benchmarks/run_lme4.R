# Fit one problem with lme4 in a process of its own; compare.py runs this and reads the report.
#
#     Rscript run_lme4.R DATA.csv FACTORS FORMULA REML WARM_BELOW REPORT.json
#
# FACTORS holds the columns to read as factors, separated by commas. The steps are those of run_one.py.

suppressPackageStartupMessages(library(lme4))

memory <- function(field) {
  status <- "/proc/self/status"
  if (!file.exists(status)) return(NA)
  line <- grep(paste0("^", field, ":"), readLines(status), value = TRUE)
  1024 * as.numeric(gsub("[^0-9]", "", line))
}

forget_peak <- function() {
  try(suppressWarnings(cat("5", file = "/proc/self/clear_refs")), silent = TRUE)
}

number <- function(x) if (length(x) != 1 || is.na(x)) "null" else sprintf("%.17g", x)

arguments <- commandArgs(trailingOnly = TRUE)
factors <- strsplit(arguments[2], ",", fixed = TRUE)[[1]]
data <- read.csv(
  arguments[1],
  stringsAsFactors = TRUE, check.names = FALSE,
  colClasses = setNames(rep("factor", length(factors)), factors)
)
formula <- as.formula(arguments[3])
reml <- arguments[4] == "True"
invisible(gc())

timed_fit <- function() {
  start <- Sys.time()
  model <- lmer(formula, data, REML = reml)
  list(model = model, seconds = as.numeric(difftime(Sys.time(), start, units = "secs")))
}

peak_before <- memory("VmHWM")
forget_peak()
before <- memory("VmRSS")
cat("ready\n")
flush(stdout())

fit <- timed_fit()
above <- memory("VmHWM") - before
peak <- max(peak_before, memory("VmHWM"))
if (fit$seconds < as.numeric(arguments[5])) fit <- timed_fit()

messages <- c(fit$model@optinfo$conv$lme4$messages, fit$model@optinfo$warnings)
converged <- !any(grepl("failed to converge", messages))
fields <- c(
  seconds = number(fit$seconds),
  peak = number(peak),
  above = number(above),
  objective = number(if (reml) REMLcrit(fit$model) else deviance(fit$model)),
  evaluations = number(fit$model@optinfo$feval),
  converged = if (converged) "true" else "false",
  singular = if (isSingular(fit$model)) "true" else "false"
)
body <- paste0('"', names(fields), '": ', fields, collapse = ", ")
writeLines(paste0("{", body, "}"), arguments[6])
