"""Every tolerance of the tests that several of them share, each with its reason."""

# Two double-precision computations of the same closed form.
ROUNDING = 1e-12
# Coefficients against R's fits iterated to the limit, in standard errors.
BETA_IN_SE = 1e-8
# Standard errors and other smooth functions of the estimate, relative.
RELATIVE = 1e-8
# The default where nothing else is said.
DEFAULT = 1e-10
