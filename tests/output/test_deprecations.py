"""Old names of arguments work for one release, and say so at the line of the caller."""

from dataclasses import dataclass

import pytest

import keras_taylor as kt
from keras_taylor._output.deprecations import gathered, renamed, renamed_attributes
from keras_taylor.errors import BadInput
from tests import nets


@dataclass(frozen=True)
class Options:
    size: int = 1
    colour: str = "red"


@renamed(data="x")
@gathered("options", Options)
def paint(x, *, options=None, colour="own"):
    return x, options or Options(), colour


def test_the_new_names_are_silent():
    assert paint(3, options=Options(2)) == (3, Options(2), "own")


def test_a_renamed_argument():
    with pytest.warns(DeprecationWarning, match="data= of paint is called x= now") as caught:
        assert paint(data=3)[0] == 3
    assert caught[0].filename == __file__


def test_options_one_by_one():
    with pytest.warns(DeprecationWarning, match=r"paint takes size in one value now: options=kt.Options\(size=...\)"):
        assert paint(3, size=2, colour="blue") == (3, Options(2), "blue")  # `colour` is an argument of its own


@pytest.mark.parametrize("call", [lambda: paint(3, data=4), lambda: paint(x=3, data=4)])
def test_both_names(call):
    with pytest.raises(BadInput, match=r"data of paint is called x now\. Received: both\. Pass x alone"):
        call()


def test_both_ways_of_options():
    with pytest.raises(BadInput, match=r"paint takes size in options now\. Received: both"):
        paint(3, options=Options(), size=2)


def test_a_call_of_the_last_release_still_prunes():
    model, data = nets.compiled(nets.chain()), nets.images(8)
    with pytest.warns(DeprecationWarning) as caught:
        result = kt.prune(model, data=data, target=kt.Target(macs=0.5), criterion="taylor", repair=None, verbose=0)
    assert [str(one.message).split(" ")[0:3:2] for one in caught] == [["data=", "prune"], ["prune", "criterion,"]]
    assert result.report.settings["criterion"] == "taylor" and result.repair is None


def test_old_names_of_attributes():
    @renamed_attributes(bytes="size")
    class File:
        size = 3

    with pytest.warns(DeprecationWarning, match=r"\.bytes of File is called \.size now") as warned:
        assert File().bytes == 3
    assert warned[0].filename == __file__
