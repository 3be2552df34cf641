"""Methods of repair with their options, for `kt.repair(method=)` and `kt.Recipe(repair=)`.

A method of your own is a frozen dataclass that extends `RepairMethod`: it gets a `Work` and changes the small model in place.
"""

from keras_taylor._repair.batchnorm import BatchNorm
from keras_taylor._repair.method import RepairMethod, Work
from keras_taylor._repair.refit import Bias, LeastSquares
from keras_taylor._repair.tune import Tune

__all__ = ["BatchNorm", "Bias", "LeastSquares", "RepairMethod", "Tune", "Work"]
