"""A workload of one's own: a residual network with batch norm on randomly shifted digits."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import ddp_sweep


class Residual(nn.Module):
    """Two convolutions, added to their input."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x):
        return functional.relu(x + self.layers(x))


class ShiftedDigits:
    task = ddp_sweep.Multiclass(num_classes=10)

    def __init__(self, width=16):  # workload_options of the sweep file arrive here
        self.width = width

    def build_model(self):
        return nn.Sequential(
            nn.Conv2d(1, self.width, 3, padding=1),
            Residual(self.width),
            nn.MaxPool2d(2),
            Residual(self.width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.width, 10),
        )

    def build_data(self):
        images, labels = load_digits(return_X_y=True)
        parts = train_test_split(
            images / 16, labels, test_size=360, stratify=labels, random_state=0
        )
        train_x, val_x, train_y, val_y = map(torch.from_numpy, parts)
        return (
            TensorDataset(train_x.float().view(-1, 1, 8, 8), train_y),
            TensorDataset(val_x.float().view(-1, 1, 8, 8), val_y),
        )

    def loss(self, outputs, targets):
        return functional.cross_entropy(outputs, targets, reduction="none")

    def augment(self, sample, generator):
        """Shift an image by up to one pixel; the same on any number of workers."""
        image, label = sample
        down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
        padded = functional.pad(image, (1, 1, 1, 1))
        return padded[:, down : down + 8, right : right + 8], label
