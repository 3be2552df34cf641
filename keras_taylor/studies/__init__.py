"""Studies: questions that the paper left open, each answered by one call on a model of yours."""

from keras_taylor.studies._study import Study, StudyTable
from keras_taylor.studies.correlation import correlation

__all__ = ["Study", "StudyTable", "correlation"]
