"""`python -m keras_taylor` is the `keras-taylor` command."""

from keras_taylor._cli.app import app

if __name__ == "__main__":
    app(prog_name="python -m keras_taylor")
