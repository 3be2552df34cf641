"""What keras_taylor costs and what it is worth: `python -m benchmarks list`. How to run and to add one: README.md."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
