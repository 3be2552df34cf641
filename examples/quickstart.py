import keras
from sklearn.datasets import load_digits

import keras_taylor as kt

x, y = load_digits(return_X_y=True)
x, layers = x.reshape(-1, 8, 8, 1) / 16, keras.layers
model = keras.Sequential([keras.Input((8, 8, 1))])
for filters in (32, 64):
    model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
model.add(layers.GlobalAveragePooling2D())
model.add(layers.Dense(10))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x[:1400], y[:1400], epochs=15)

validation = (x[1400:], y[1400:])
result = kt.fit_with_pruning(model, x[:1400], y[:1400], target=kt.Target(macs=0.5), epochs=10, validation_data=validation)
print(result.report)
result.model.save("small.keras")
print(kt.export_tflite(result.model, "small.tflite", quantizer=kt.Float16()))
