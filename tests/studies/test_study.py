"""A study is its numbers: tables, words and figure come back from the file."""

import json
from pathlib import Path

import pytest

import keras_taylor as kt
from keras_taylor.errors import BadInput
from tests import nets

STORED = sorted((Path(__file__).parent.parent.parent / "docs" / "studies").glob("*/*.json"))
OPTIONS = {"examples": 16, "seeds": (0, 1), "batch_size": 8, "verbose": 0, "criteria": {"l1": "l1", "taylor": "taylor"}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    model = nets.compiled(nets.chain())
    return kt.studies.correlation(model, nets.images(40), run_dir=tmp_path_factory.mktemp("study"), **OPTIONS)


def test_it_comes_back_from_its_file(study, tmp_path):
    study.save(tmp_path)
    again = kt.studies.Study.load(tmp_path / "correlation.json")
    assert again == study and again.tables == study.tables and again.answer == study.answer
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert set(before) == {"correlation.json", "correlation.md", "correlation.png"}


def test_it_shows_itself(study):
    assert study.title == f"Criteria against the oracle: {study.settings['model']}"
    shown = study.render("markdown")
    assert study.tables[0].to_markdown() in shown and study.answer[0] in shown
    assert "<table>" in study._repr_html_() and study.tables[0].caption.split(";")[0] in str(study)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("format"),
        lambda fields: fields.update(study="unknown"),
        lambda fields: fields.update(study="blend"),
        lambda fields: fields["values"].pop("correlations"),
        lambda fields: fields["settings"].pop("model"),
    ],
)
def test_files_of_something_else(study, change):
    fields = json.loads(study.to_json())
    change(fields)
    with pytest.raises(BadInput, match=r"A study must be JSON as Study\.save writes it"):
        kt.studies.Study.from_json(json.dumps(fields))


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_stored_pages_are_what_the_numbers_say(path):
    assert kt.studies.Study.load(path).to_markdown() == path.with_suffix(".md").read_text(encoding="utf-8"), (
        "python -m benchmarks render studies"
    )


def test_stored_studies_are_there():
    assert len(STORED) == 12
    for path in STORED:
        assert path.with_suffix(".png").is_file()


def test_inputs_are_given_as_to_fit(study, tmp_path):
    model, (x, y) = nets.compiled(nets.chain()), nets.images(40)
    graph = kt.trace(model)
    apart = kt.studies.correlation(graph, x, y, run_dir=tmp_path, **OPTIONS)
    assert apart.values == kt.studies.correlation(model, (x, y), run_dir=tmp_path, **OPTIONS).values
    with pytest.warns(DeprecationWarning, match="data= of correlation is called x= now"):
        old = kt.studies.correlation(model, data=(x, y), run_dir=tmp_path, **OPTIONS)
    assert old.values == apart.values
    with pytest.raises(BadInput, match="verbose must be 'auto', 0, 1 or 2"):
        kt.studies.correlation(model, x, y, run_dir=tmp_path, **{**OPTIONS, "verbose": "loud"})
