"""The data and the model of the demo: scikit-learn's handwritten digits, and a small network in numpy.

All parameters lie in one flat array, and so do their gradients and their momentum: one all-reduce averages a
step, and three tensors are the whole shared state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LAYERS = (64, 128, 64, 10)
BATCH_SIZE = 256
LEARNING_RATE = 0.02
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
NOISE = 0.25
HELD_OUT = 360


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 values from 0 to 1, and their labels."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_digits(seed: int) -> Digits:
    """The data set, split the same way for the same seed."""
    from sklearn.datasets import load_digits as load

    images, labels = load(return_X_y=True)
    images = (images / 16.0).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    return Digits(images[train], labels[train], images[test], labels[test])


def batch_of_step(step: int, samples: int, seed: int) -> np.ndarray:
    """The samples of one step, the same on every worker. Each pass over the data has its own order."""
    steps_per_pass = samples // BATCH_SIZE
    in_pass = step % steps_per_pass
    order = np.random.default_rng((seed, step // steps_per_pass)).permutation(samples)
    return order[in_pass * BATCH_SIZE : (in_pass + 1) * BATCH_SIZE]


class Network:
    """A multilayer perceptron with ReLU and softmax, trained by gradient descent with momentum."""

    def __init__(self, seed: int) -> None:
        shapes = [shape for pair in zip(LAYERS, LAYERS[1:], strict=False) for shape in (pair, pair[1:])]
        self._shapes = shapes
        self.parameters = np.zeros(sum(int(np.prod(shape)) for shape in shapes), np.float32)
        self.momentum = np.zeros_like(self.parameters)
        random = np.random.default_rng(seed)
        for view in self._views(self.parameters):
            if view.ndim == 2:
                view[:] = random.normal(0.0, np.sqrt(2.0 / view.shape[0]), view.shape)

    def _views(self, flat: np.ndarray) -> list[np.ndarray]:
        views = []
        offset = 0
        for shape in self._shapes:
            size = int(np.prod(shape))
            views.append(flat[offset : offset + size].reshape(shape))
            offset += size
        return views

    def _activations(self, images: np.ndarray) -> list[np.ndarray]:
        """The input of each layer, and the logits at the end."""
        views = self._views(self.parameters)
        values = [images]
        for layer in range(0, len(views), 2):
            output = values[-1] @ views[layer] + views[layer + 1]
            values.append(np.maximum(output, 0.0) if layer + 2 < len(views) else output)
        return values

    def loss_and_gradient(self, images: np.ndarray, labels: np.ndarray, gradient: np.ndarray) -> float:
        """The summed loss of these samples; their summed gradient is written to `gradient`. Sums rather than
        means, so that the sum over workers does not depend on how the batch was divided."""
        values = self._activations(images)
        logits = values[-1] - values[-1].max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        rows = np.arange(len(labels))
        loss = float((log_sum[:, 0] - logits[rows, labels]).sum())
        delta = np.exp(logits - log_sum)
        delta[rows, labels] -= 1.0
        views, gradients = self._views(self.parameters), self._views(gradient)
        for layer in range(len(views) - 2, -1, -2):
            inputs = values[layer // 2]
            gradients[layer][:] = inputs.T @ delta
            gradients[layer + 1][:] = delta.sum(axis=0)
            if layer > 0:
                delta = (delta @ views[layer].T) * (inputs > 0.0)
        return loss

    def apply(self, gradient: np.ndarray) -> None:
        """One step. Element by element, so that equal inputs give equal bits on every worker."""
        self.momentum *= np.float32(MOMENTUM)
        self.momentum += gradient + np.float32(WEIGHT_DECAY) * self.parameters
        self.parameters -= np.float32(LEARNING_RATE) * self.momentum

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The share of images whose digit is recognised."""
        return float((self._activations(images)[-1].argmax(axis=1) == labels).mean())
