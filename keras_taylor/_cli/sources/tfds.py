"""`tfds:NAME`: a data set of TensorFlow Datasets."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_taylor._cli.sources.images import Images, Wanted
from keras_taylor._output.optional import optional
from keras_taylor.errors import BadInput


def read(name: str, wanted: Wanted, splits: tuple[str, str] | None = None) -> Images:
    """The data set's parts `train` and `test` or `validation`; a fifth is held back where there is one part alone.

    Args:
        name: of the data set.
        wanted: how the model takes its images.
        splits: other parts to train and to test on, as TFDS writes them: `("train+validation", "test")`.
    """
    tfds = optional("tensorflow_datasets", "datasets")
    builder = _prepared(tfds, name)
    if not builder.info.supervised_keys or (splits is None and "train" not in builder.info.splits):
        raise BadInput(f"A data set must have labels and a part 'train'. Received: {name!r} with {list(builder.info.splits)}.")
    if splits is None:
        test_part = next((part for part in ("test", "validation") if _labelled(builder, part)), None)
        splits = ("train[:80%]", "train[80%:]") if test_part is None else ("train", test_part)

    def prepare(x: Any, y: Any) -> tuple[Any, Any]:
        smooth = wanted.dtype == "uint8"  # what a net was trained with elsewhere is not known: then as Keras resizes
        return wanted.scaled(tf.image.resize(_coloured(x, wanted.shape[2]), wanted.shape[:2], antialias=smooth)), y

    train, test = (
        builder.as_dataset(
            split=split,
            as_supervised=True,
            shuffle_files=shuffle,
            read_config=tfds.ReadConfig(shuffle_seed=wanted.seed, try_autocache=False),
        )
        for split, shuffle in zip(splits, (True, False), strict=True)
    )
    train = train.shuffle(1024, seed=wanted.seed)
    first, second = (part.map(prepare).batch(wanted.batch_size).prefetch(tf.data.AUTOTUNE) for part in (train, test))
    return Images(first, second, builder.info.features[builder.info.supervised_keys[1]].num_classes)


def _prepared(tfds: Any, name: str) -> Any:
    """The builder of a data set whose files are there, if need be after a download."""
    try:
        builder = tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise BadInput(f"tfds: must name a data set. Received: {name!r} ({str(error).splitlines()[0]}).") from None
    try:
        builder.download_and_prepare()
    except Exception as error:  # what a download raises without a network is no one class
        reason, folder = (str(error).splitlines() or [""])[0][:200], str(builder.data_dir)
        raise BadInput(
            f"tfds: must name a data set that is prepared, or that can be downloaded. Received: {name!r}, for which {folder!r} "
            f"has no files, and {type(error).__name__}: {reason}. By hand: run `tfds build {name}` where there is a network, "
            f"and copy the folder that it makes, ~/tensorflow_datasets/{name}, into {folder.split(f'/{name}')[0]!r} here, or "
            "into any folder that the environment variable TFDS_DATA_DIR names."
        ) from error
    return builder


def _labelled(builder: Any, part: str) -> bool:
    """Whether the data set has this part with labels: those of ImageNet's test images, say, are all -1."""
    if part not in builder.info.splits:
        return False
    return all(int(y) >= 0 for _, y in builder.as_dataset(split=part, as_supervised=True).take(1))


def _coloured(x: Any, colours: int) -> Any:
    if x.shape[-1] == colours:
        return x
    if {x.shape[-1], colours} == {1, 3}:
        return tf.image.grayscale_to_rgb(x) if colours == 3 else tf.image.rgb_to_grayscale(x)
    raise BadInput(f"The model must take the images' colours. Received: {colours} for images of {x.shape[-1]}.")
