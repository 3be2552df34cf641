"""Random functional models out of recipes that hypothesis draws (and shrinks)."""

import keras
from hypothesis import strategies as st

layers = keras.layers
ops = keras.ops


def _conv(b, x, i, j, k):
    filters, kernel, strides = 2 + i, (1, 3)[j % 2], (1, 2)[k % 2]
    activation = (None, "relu", "sigmoid", "gelu")[j % 4]
    return layers.Conv2D(filters, kernel, strides=strides, padding="same", activation=activation, use_bias=k < 4)(x)


def _valid_conv(b, x, i, j, k):
    return layers.Conv2D(2 + i, min(3, x.shape[1], x.shape[2]), activation="relu")(x)


def _grouped(b, x, i, j, k):
    channels = x.shape[-1]
    divisors = [g for g in range(2, channels + 1) if channels % g == 0]
    if not divisors:
        return _conv(b, x, i, j, k)
    groups = divisors[i % len(divisors)]
    return layers.Conv2D(groups * (1 + j % 3), 3, padding="same", groups=groups, activation="relu")(x)


def _depthwise(b, x, i, j, k):
    return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1 + i % 2, use_bias=j % 2 == 0)(x)


def _separable(b, x, i, j, k):
    return layers.SeparableConv2D(2 + i, 3, padding="same", depth_multiplier=1 + j % 2, activation="relu")(x)


def _transposed(b, x, i, j, k):
    strides = 2 if x.shape[1] <= 4 and x.shape[2] <= 4 else 1
    return layers.Conv2DTranspose(2 + i, 2 + j % 2, strides=strides, padding="same")(x)


def _dense(b, x, i, j, k):
    return layers.Dense(2 + i, activation=(None, "relu", "tanh")[j % 3], use_bias=k % 2 == 0)(x)


def _batch_norm(b, x, i, j, k):
    return layers.BatchNormalization(scale=i % 2 == 0, center=j % 2 == 0)(x)


def _layer_norm(b, x, i, j, k):
    return layers.LayerNormalization(axis=(-1, [1, 2])[i % 2])(x)


def _activation(b, x, i, j, k):
    kinds = (
        layers.ReLU,
        layers.LeakyReLU,
        layers.PReLU,
        lambda: layers.PReLU(shared_axes=[1, 2]),
        lambda: layers.Activation("sigmoid"),
        lambda: layers.Dropout(0.5),
        lambda: layers.Softmax(axis=(-1, [1, 2])[j % 2]),
        lambda: layers.Rescaling(0.5, 0.25),
    )
    return kinds[i % len(kinds)]()(x)


def _add(b, x, i, j, k):
    y = b.like(x, j)
    y = layers.Conv2D(x.shape[-1], 3, padding="same")(x) if y is None else y
    meet = (lambda: layers.Add()([x, y]), lambda: x + y, lambda: x - y, lambda: layers.Average()([x, y]))
    return meet[i % 4]()


def _multiply(b, x, i, j, k):
    y = b.like(x, j)
    y = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(x) if y is None else y
    meet = (lambda: layers.Multiply()([x, y]), lambda: x * y, lambda: ops.maximum(x, y), lambda: layers.Minimum()([x, y]))
    return meet[i % 4]()


def _squeeze_excite(b, x, i, j, k):
    channels = x.shape[-1]
    if k % 2:
        gate = layers.Conv2D(2 + j, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
        return x * layers.Conv2D(channels, 1, activation="sigmoid")(gate)
    gate = layers.Dense(2 + j, activation="relu")(layers.GlobalMaxPooling2D()(x))
    return layers.Multiply()([x, layers.Reshape((1, 1, channels))(layers.Dense(channels, activation="sigmoid")(gate))])


def _spatial_gate(b, x, i, j, k):
    return layers.Multiply()([x, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)])


def _channel_gate(b, x, i, j, k):
    """A gate without spatial axes: `(batch, channels)` meets `(batch, h, w, channels)` after two new axes."""
    gate = layers.Dense(x.shape[-1], activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    return x * ops.expand_dims(ops.expand_dims(gate, 1), 1)


def _concat(b, x, i, j, k):
    y = b.beside(x, j)
    y = layers.Conv2D(2 + i, 3, padding="same", activation="relu")(x) if y is None else y
    return layers.Concatenate()([x, y]) if k % 2 else ops.concatenate([y, x], axis=-1)


def _concat_rows(b, x, i, j, k):
    if x.shape[1] > 8:
        return x
    y = layers.Conv2D(x.shape[-1], 3, padding="same")(x)
    return layers.Concatenate(axis=1)([x, y])


def _split(b, x, i, j, k):
    channels = x.shape[-1]
    if channels < 2:
        return x
    sections = next((n for n in (2, 3, 5, 7) if channels % n == 0), [1 + i % (channels - 1)])
    first, *rest = ops.split(x, sections if k % 2 else [1 + i % (channels - 1)], axis=-1)
    b.pool.extend(rest)
    return first


def _slice(b, x, i, j, k):
    channels = x.shape[-1]
    if k % 4 == 0 and x.shape[1] > 1:
        return x[:, 1:, :, :]
    if k % 4 == 1 and x.shape[1] > 1:
        return x[:, ::2, ::2]
    if channels < 2:
        return x
    at = 1 + i % (channels - 1)
    b.pool.append(x[..., :at])
    return x[..., at:] if k % 4 == 2 else x[..., -at:]


def _pad(b, x, i, j, k):
    if i % 2 and max(x.shape[1:3]) <= 8:
        return layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (j % 3, k % 3)))


def _reshape(b, x, i, j, k):
    _, h, w, c = x.shape
    if i % 3 == 0:
        y = layers.Conv1D(2 + j, 3, padding="same", activation="relu")(layers.Reshape((h * w, c))(x))
        return layers.Reshape((h, w, -1) if k % 2 else (h, w, 2 + j))(y)
    if i % 3 == 1:
        y = layers.Dense(2 + j)(ops.reshape(x, (-1, h * w, c)))
        return ops.reshape(y, (-1, h, w, 2 + j))
    return ops.transpose(layers.Permute((2, 1, 3))(x), (0, 2, 1, 3))


def _shuffle(b, x, i, j, k):
    """A channel shuffle, as in ShuffleNet."""
    _, h, w, c = x.shape
    groups = next((g for g in (2, 3, 5) if c % g == 0), 1)
    y = layers.Permute((1, 2, 4, 3))(layers.Reshape((h, w, groups, c // groups))(x))
    return layers.Reshape((h, w, c))(y)


def _flatten(b, x, i, j, k):
    side, filters = 1 + j % 2, 2 + i % 3
    y = layers.Dense(side * side * filters, activation="relu")(layers.Flatten()(x))
    return layers.Reshape((side, side, filters))(y)


def _pool(b, x, i, j, k):
    if min(x.shape[1:3]) < 2:
        return x
    return (layers.MaxPooling2D, layers.AveragePooling2D)[i % 2](2)(x)


def _global_pool(b, x, i, j, k):
    if i % 2:
        return layers.GlobalAveragePooling2D(keepdims=True)(x)
    return ops.mean(x, axis=(1, 2), keepdims=True)


def _upsample(b, x, i, j, k):
    return layers.UpSampling2D(2)(x) if max(x.shape[1:3]) <= 4 else layers.Cropping2D(((1, 0), (0, 1)))(x)


def _nested(b, x, i, j, k):
    y = inner = keras.Input(x.shape[1:])
    y = layers.Conv2D(2 + i, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    model = keras.Model(inner, layers.ReLU()(y)) if j % 2 else keras.Sequential([inner, layers.Conv2D(3, 1), layers.ReLU()])
    if k % 3 == 1:
        other = b.like(x, k)
        if other is not None:
            b.pool.append(model(other))
    return model(x, training=False) if k % 3 == 2 else model(x)


def _shared(b, x, i, j, k):
    """One layer, called twice."""
    shared = layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu")
    if k % 3 == 0:
        return shared(shared(x))
    y = b.like(x, j)
    b.pool.append(shared(x if y is None else y))
    return shared(x)


def _scalar(b, x, i, j, k):
    return (x * 2.0, x + 0.5, 1.0 - x, x / 3.0, -x, ops.maximum(x, 0.1), ops.tanh(x), abs(x))[i]


OPERATIONS = {
    f.__name__[1:]: f
    for f in (
        _conv,
        _valid_conv,
        _grouped,
        _depthwise,
        _separable,
        _transposed,
        _dense,
        _batch_norm,
        _layer_norm,
        _activation,
        _add,
        _multiply,
        _squeeze_excite,
        _spatial_gate,
        _channel_gate,
        _concat,
        _concat_rows,
        _split,
        _slice,
        _pad,
        _reshape,
        _shuffle,
        _flatten,
        _pool,
        _global_pool,
        _upsample,
        _nested,
        _shared,
        _scalar,
    )
}

_DIGIT = st.integers(0, 7)
_STEP = st.tuples(st.sampled_from(sorted(OPERATIONS)), _DIGIT, _DIGIT, _DIGIT, _DIGIT)
RECIPES = st.tuples(st.lists(_STEP, min_size=4, max_size=10), st.integers(0, 5))


class Builder:
    """Builds the model of a recipe: `(operation, source, i, j, k)` for each step, and how the model ends."""

    def __init__(self):
        self.pool = []

    def like(self, x, number):
        """Another tensor of the same shape, or None."""
        return self._choose([y for y in self.pool if y is not x and y.shape == x.shape], number)

    def beside(self, x, number):
        """Another tensor of the same height and width, or None."""
        return self._choose([y for y in self.pool if y is not x and y.shape[1:3] == x.shape[1:3]], number)

    @staticmethod
    def _choose(found, number):
        return found[number % len(found)] if found else None

    def build(self, recipe):
        steps, end = recipe
        inputs = [keras.Input((8, 8, 3)) for _ in range(1 + end % 2)]
        self.pool = [layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x) for x in inputs]
        for name, source, i, j, k in steps:
            # Mostly the newest tensor, sometimes an older one, so that nets are deep and have branches.
            x = self.pool[-1 - source % len(self.pool)] if source < 3 else self.pool[-1]
            if x.shape[-1] > 12:
                x = layers.Conv2D(6, 1)(x)
            self.pool.append(OPERATIONS[name](self, x, i, j, k))
        heads = [self._head(self.pool[-1], end)]
        heads += [self._head(y, end + n) for n, y in enumerate(self._leaves()[-2:], start=1)]
        return keras.Model(inputs, heads, name="drawn")

    def _leaves(self):
        """Tensors that nothing reads, without the newest."""
        return [y for y in self.pool[:-1] if not y._keras_history.operation._outbound_nodes and y is not self.pool[-1]]

    @staticmethod
    def _head(x, end):
        if end % 3 == 0:
            return layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
        return layers.Conv2D(2, 1)(x) if end % 3 == 1 else layers.Dense(3)(layers.Flatten()(x))
