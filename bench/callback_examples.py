"""The three examples of docs/callbacks.md: their tables, and what TensorBoard shows of them.

    python -m bench.callback_examples

Trains a ResNet-18, a transformer and a GAN on digits, prints a row for each layer with the first and the last measured
step, and writes docs/callbacks-NAME.png. Takes a minute; the pictures need chromium.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as L
import torch
import torch.nn.functional as F
from playwright.sync_api import sync_playwright
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from actsweep.callbacks import ActivationHistogram, DeadUnits, GradientNorm, Tables, UpdateRatio
from actsweep.data import digits
from actsweep.places import REPOSITORY

ADDRESS = re.compile(r"TensorBoard \S+ at (http://\S+)/")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run"]  # fmt: skip
SEARCH = {  # tags in the picture
    "resnet": r"(grad_norm|update_ratio)/net\.(conv1|layer4.1.conv2|fc)$",
    "transformer": r"grad_norm/(embed|head|.*linear1)$|saturated_fraction",
    "gan": r"dead_fraction/gen|grad_norm/(gen|critic.0)",
}


class ResNet(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = resnet18(num_classes=10)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images = F.interpolate(batch[0].view(-1, 1, 8, 8), size=32).expand(-1, 3, -1, -1)
        return F.cross_entropy(self.net(images), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Transformer(L.LightningModule):
    """An image's eight rows are its tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True)
        self.embed = nn.Linear(8, 32)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 10)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        tokens = self.encoder(self.embed(batch[0].view(-1, 8, 8)))
        return F.cross_entropy(self.head(tokens.mean(1)), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class GAN(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid())
        self.critic = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def training_step(self, batch: list[Tensor]) -> None:
        real, optimizers = (batch[0] + 1) / 2, self.optimizers()
        assert isinstance(optimizers, list)
        of_critic, of_generator = optimizers
        made = self.generator(torch.randn(len(real), 16))
        scores = self.critic(torch.cat([real, made.detach()])).squeeze(1)
        is_real = torch.cat([torch.ones(len(real)), torch.zeros(len(made))])
        self._step(of_critic, F.binary_cross_entropy_with_logits(scores, is_real))
        fooled = self.critic(made).squeeze(1)
        self._step(of_generator, F.binary_cross_entropy_with_logits(fooled, torch.ones(len(made))))

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(part.parameters(), lr=0.002) for part in (self.critic, self.generator)]


EXAMPLES = {"resnet": (ResNet, 1), "transformer": (Transformer, 5), "gan": (GAN, 20)}  # with their epochs


def train(name: str, folder: Path) -> pd.DataFrame:
    """Layers as rows, first and last value of each quantity as columns."""
    L.seed_everything(0, verbose=False)
    kind, epochs = EXAMPLES[name]
    pool = digits.load().pool
    data = TensorDataset(pool.inputs.float() / 8 - 1, pool.labels)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=5, logger=[Tables(folder), TensorBoardLogger(folder, "", "")],
        callbacks=[each(every_n_steps=5) for each in (GradientNorm, DeadUnits, UpdateRatio, ActivationHistogram)],
    )  # fmt: skip
    trainer.fit(kind(), DataLoader(data, batch_size=64, shuffle=True, drop_last=True))
    rows = pd.read_csv(folder / "layers.csv").groupby(["layer", "quantity"], sort=False).value
    found = pd.concat({"first": rows.first(), "last": rows.last()}, axis=1)
    return found.reset_index().pivot(index="layer", columns="quantity", values=["first", "last"])


def picture(folder: Path, name: str) -> None:
    """TensorBoard's time series of a run, as a person sees them."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0"]
    said = folder / "said"
    with said.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            while not (found := ADDRESS.search(said.read_text())):
                time.sleep(0.1)
            shoot(f"{found[1]}/?darkMode=false#timeseries", SEARCH[name], REPOSITORY / "docs" / f"callbacks-{name}.png")
        finally:
            server.terminate()


def shoot(address: str, search: str, picture: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(address)
        page.reload()
        page.get_by_text("grad_norm").first.wait_for(state="attached")
        page.locator("input[placeholder^='Filter tags']").fill(search)
        page.get_by_label("Toggle settings side pane").click()
        page.wait_for_timeout(5000)  # for the charts
        page.screenshot(path=picture)
        browser.close()


def main() -> None:
    for name in EXAMPLES:
        with tempfile.TemporaryDirectory() as folder:
            print(name, train(name, Path(folder)).to_string(float_format="{:.2g}".format), sep="\n")
            picture(Path(folder), name)


if __name__ == "__main__":
    main()
