"""`python -m keras_taylor.rules` prints which operations have a rule, as a Markdown table."""

from __future__ import annotations

from keras_taylor._output.tables import table, to_markdown
from keras_taylor.rules._supported import supported


def main() -> None:
    """Print the table."""
    made = table("", ("rule", "what it says", "operations"))
    for one in supported():
        made.add_row(one.rule, one.summary, ", ".join(one.operations))
    print(to_markdown(made))


if __name__ == "__main__":
    main()
