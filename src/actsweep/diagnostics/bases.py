"""What the callbacks and `Tables` derive from: Lightning's classes and, where it is loaded, those of its copy, the
package `lightning`, whose trainer and command line know their own alone."""

import sys
from typing import TYPE_CHECKING

import pytorch_lightning as L
from pytorch_lightning.loggers import logger


def with_copys(kind: type) -> type:
    """A class of Lightning's, and its copy's where there is one, as one class."""
    copy = sys.modules.get(kind.__module__.replace("pytorch_lightning", "lightning.pytorch"))
    bases = kind, *({getattr(copy, kind.__name__, kind)} - {kind})
    return type(kind)(kind.__name__, bases, {})


if TYPE_CHECKING:
    from pytorch_lightning import Callback as Callback
    from pytorch_lightning.loggers.logger import Logger as Logger
else:
    Callback, Logger = with_copys(L.Callback), with_copys(logger.Logger)
