"""Every result shows and stores itself in the same way."""

from dataclasses import dataclass

import pytest

from keras_taylor._output.results import StoredResult
from keras_taylor._output.tables import table
from keras_taylor.errors import BadInput, UnknownName


@dataclass(frozen=True)
class Answer(StoredResult):
    name: str
    number: int

    kind = "An answer"

    def parts(self):
        made = table("Answers", ("name", "number>"), "a < b")
        made.add_row(self.name, str(self.number))
        return [made, f"It is {self.number}."]

    def fields(self):
        return {"name": self.name, "number": self.number}

    @classmethod
    def from_fields(cls, fields):
        return cls(**fields)


def test_text():
    shown = str(Answer("life", 42))
    assert "Answers" in shown and "│ life │     42 │" in shown and shown.endswith("It is 42.")


def test_markdown():
    assert (
        Answer("a|b", 42).render("markdown")
        == "Answers\n\n| name | number |\n| --- | ---: |\n| a\\|b | 42 |\n\na < b\n\nIt is 42."
    )


def test_html_takes_names_as_text():
    shown = Answer("<script>", 42)._repr_html_()
    assert '<td style="text-align:left">&lt;script&gt;</td>' in shown and "a &lt; b" in shown


def test_unknown_form():
    with pytest.raises(UnknownName, match="Did you mean 'markdown'"):
        Answer("life", 42).render("markdwn")


def test_files(tmp_path):
    Answer("life", 42).save(tmp_path / "answer.json")
    assert Answer.load(tmp_path / "answer.json") == Answer("life", 42)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "An answer must be JSON as Answer.save writes it"),
        ("[]", "An answer must be JSON"),
        ("{}", "An answer must be JSON"),
        ('{"format": 1, "name": "life"}', "An answer must be JSON"),
        ('{"format": 2, "name": "life", "number": 42}', "The format of an answer must be 1. Received: 2. Update"),
    ],
)
def test_files_of_something_else(text, message):
    with pytest.raises(BadInput, match=message):
        Answer.from_json(text)


def test_no_file(tmp_path):
    with pytest.raises(BadInput, match="An answer must be in a file that can be read"):
        Answer.load(tmp_path / "none.json")
