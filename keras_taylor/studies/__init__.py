"""Studies: questions that the paper left open, each answered by one call on a model of yours."""

from keras_taylor.studies._baseline import baseline
from keras_taylor.studies._blend import blend
from keras_taylor.studies._correlation import correlation
from keras_taylor.studies._disagree import disagree
from keras_taylor.studies._grid import grid
from keras_taylor.studies._grid_data import GridData
from keras_taylor.studies._grid_needs import GridNeeds, grid_needs
from keras_taylor.studies._grid_recipe import GridRecipe
from keras_taylor.studies._obd import obd
from keras_taylor.studies._study import Study
from keras_taylor.studies._study_table import StudyTable

__all__ = [
    "GridData",
    "GridNeeds",
    "GridRecipe",
    "Study",
    "StudyTable",
    "baseline",
    "blend",
    "correlation",
    "disagree",
    "grid",
    "grid_needs",
    "obd",
]
