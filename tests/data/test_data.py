import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import random_split
from torchvision import transforms

from actsweep.data import classification, digits, fashion_mnist, line, spiral
from actsweep.data.batches import OrderedBatches, Sampling, TrainingBatches
from actsweep.data.datamodule import DataModule
from actsweep.data.dataset import Examples, Scale


def shuffled(batch_size: int, seed: int = 0) -> Sampling:
    return Sampling(batch_size, replacement=False, steps_per_epoch=None, seed=seed)


@pytest.fixture(scope="module")
def fashion() -> DataModule:
    return DataModule(fashion_mnist.load("data"), shuffled(256, seed=3), val_size=10_000, split_seed=42)


def test_the_splits_have_the_published_sizes(fashion: DataModule) -> None:
    assert [len(part) for part in (fashion.train, fashion.val, fashion.test)] == [50_000, 10_000, 10_000]
    assert fashion.train.inputs.dtype == torch.uint8
    assert len(fashion.train_dataloader()) == 195


def test_the_split_is_that_of_random_split(fashion: DataModule) -> None:
    training, validation = random_split(range(60_000), [50_000, 10_000], torch.Generator().manual_seed(42))
    pool = fashion.dataset.pool
    assert torch.equal(fashion.train.inputs, pool.inputs[torch.tensor(training.indices)])
    assert torch.equal(fashion.val.labels, pool.labels[torch.tensor(validation.indices)])


def test_numbers_are_identical_to_torchvisions(fashion: DataModule) -> None:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    every_value = torch.arange(784).remainder(256).to(torch.uint8)
    for raw in (every_value, fashion.train.inputs[17]):
        expected = transform(Image.fromarray(raw.view(28, 28).numpy()))
        assert torch.equal(fashion.dataset.scale(raw.view(1, 28, 28)), expected)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> torch.Tensor:
        return shuffled(10, seed).rows(epoch, 1000).flatten()

    assert torch.equal(order(1, 5), order(1, 5))
    assert order(1, 5).tolist() == np.random.default_rng([1, 5]).permutation(1000).tolist()
    orders = [order(seed, epoch) for seed, epoch in ((1, 5), (1, 6), (2, 5), (5, 1))]
    assert all(torch.equal(order.sort().values, torch.arange(1000)) for order in orders)
    assert len({tuple(order[:5].tolist()) for order in orders}) == 4


def numbered(n: int) -> Examples:
    return Examples(torch.arange(n).unsqueeze(1).to(torch.uint8), torch.arange(n))


def labels_in(batches: TrainingBatches) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def test_an_epoch_shows_every_example_once_and_drops_the_rest() -> None:
    batches = TrainingBatches(numbered(103), Scale(1, 0, 1), shuffled(10))
    seen = [label for labels in labels_in(batches) for label in labels]
    assert len(batches) == len(labels_in(batches)) == 10
    assert len(set(seen)) == len(seen) == 100
    for inputs, labels in batches:
        assert torch.equal(inputs[:, 0], labels.float())


def test_batches_in_order_are_the_same_in_every_epoch_and_start_again_at_the_end() -> None:
    batches = TrainingBatches(numbered(5), Scale(1, 0, 1), Sampling(2, False, 4, seed=0, in_order=True))
    batches.set_epoch(3)
    assert labels_in(batches) == [[0, 1], [2, 3], [4, 0], [1, 2]]


def test_drawing_with_replacement_repeats_examples_and_depends_on_seed_and_epoch() -> None:
    sampling = Sampling(128, replacement=True, steps_per_epoch=7, seed=1)
    rows = sampling.rows(0, 100)
    assert rows.shape == (7, 128)
    assert set(rows.flatten().tolist()) == set(range(100))
    assert not torch.equal(rows, sampling.rows(1, 100))


def test_full_batches_show_everything_in_order_at_every_step() -> None:
    batches = TrainingBatches(numbered(5), Scale(1, 0, 1), Sampling("all", False, 3, seed=0))
    assert labels_in(batches) == [[0, 1, 2, 3, 4]] * 3


def test_processes_share_each_batch() -> None:
    whole = TrainingBatches(numbered(64), Scale(1, 0, 1), shuffled(8, 4))
    shares = [TrainingBatches(numbered(64), Scale(1, 0, 1), shuffled(8, 4), rank=rank, ranks=2) for rank in range(2)]
    for batches in (whole, *shares):
        batches.set_epoch(3)
    joined = [first + second for first, second in zip(*map(labels_in, shares), strict=True)]
    assert joined == labels_in(whole)
    with pytest.raises(ValueError, match=r"batch_size=8: must be divisible by the 3 devices"):
        TrainingBatches(numbered(64), Scale(1, 0, 1), shuffled(8, 4), rank=0, ranks=3)


def test_ordered_batches_show_everything_in_order() -> None:
    batches = OrderedBatches(numbered(25), Scale(1, 0, 1), 10)
    assert [len(labels) for _, labels in batches] == [10, 10, 5]
    assert len(batches) == 3


def test_the_probe_is_the_beginning_of_the_training_split(fashion: DataModule) -> None:
    inputs, labels = fashion.probe(256)
    assert torch.equal(inputs, fashion.dataset.scale(fashion.train.inputs[:256]))
    assert torch.equal(labels, fashion.train.labels[:256])


@pytest.mark.parametrize(
    ("batch_size", "val_size", "message"),
    [(50_001, 10_000, "at most 50000"), (256, 60_000, "between 0 and 59999")],
)
def test_sizes_that_leave_nothing_are_refused(batch_size: int, val_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataModule(fashion_mnist.load("data"), shuffled(batch_size), val_size, 42)


def test_digits_are_the_published_ones() -> None:
    data = digits.load()
    assert (len(data.pool), len(data.test), data.input_size) == (1437, 360, 64)
    assert int(data.pool.inputs.max()) == 16
    assert data.scale(torch.tensor([0, 8, 16])).tolist() == [-1, 0, 1]
    per_class = data.pool.labels.bincount() + data.test.labels.bincount()
    assert per_class.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_spiral_and_the_weights_after_it_are_the_notebooks_bit_for_bit() -> None:
    np.random.seed(0)  # noqa: NPY002  as the notebook does
    x, y = np.zeros((300, 2)), np.zeros(300, dtype="uint8")
    for arm in range(3):
        rows = range(100 * arm, 100 * (arm + 1))
        r = np.linspace(0.0, 1, 100)
        t = np.linspace(arm * 4, (arm + 1) * 4, 100) + np.random.randn(100) * 0.2  # noqa: NPY002
        x[rows], y[rows] = np.c_[r * np.sin(t), r * np.cos(t)], arm
    first, second = (0.1 * np.random.randn(*shape) for shape in ((2, 50), (50, 50)))  # noqa: NPY002
    pool = spiral.load().pool
    assert np.array_equal(pool.inputs.numpy(), x)
    assert pool.labels.tolist() == y.tolist()
    generator = spiral.after_the_data(0, 300)
    for expected in (first, second):
        weight = torch.empty(expected.T.shape, dtype=torch.float64)
        assert np.array_equal(spiral.fill_in_order(weight, generator, 0.1).numpy(), expected.T)


def test_a_line_has_one_label_and_a_sine_has_real_ones() -> None:
    constant = line.constant(points=5, label=0)
    assert constant.pool.inputs[:, 0].tolist() == [-7, -3.5, 0, 3.5, 7]
    assert constant.pool.labels.tolist() == [0] * 5
    curve = line.sine(points=200, noise=0.0)
    assert (len(curve.pool), len(curve.test or ()), curve.classes) == (150, 50, ())
    assert torch.equal(curve.pool.labels, curve.pool.inputs[:, 0].sin())
    with pytest.raises(ValueError, match=r"data.source.label=2: must be a whole number from 0 to 1"):
        line.constant(label=2)


def test_classification_takes_scikit_learns_arguments() -> None:
    arguments = {"n_samples": 60, "n_features": 4, "n_informative": 3, "n_redundant": 0, "random_state": 1}
    data = classification.load(n_classes=3, **arguments)
    assert data.pool.inputs.shape == (60, 4)
    assert data.classes == ("class 0", "class 1", "class 2")
    assert sorted(set(data.pool.labels.tolist())) == [0, 1, 2]


def test_nothing_held_out_means_that_training_validation_and_test_are_the_same() -> None:
    data = DataModule(spiral.load(), Sampling("all", False, None, 0), val_size=0, split_seed=42)
    assert data.train is data.val
    assert data.test is data.dataset.pool
    assert data.examples_per_step == 300
