"""A converted model's place on the device: loaded, counted, given back."""

from collections.abc import Callable
from typing import Any

from textmill.errors import ModelUnavailable
from workers.backends.ctranslate2 import architectures, device
from workers.backends.ctranslate2.conversion import Conversion
from workers.backends.ctranslate2.faults import fault
from workers.checkpoint.checkpoint import Checkpoint
from workers.faults import Fault
from workers.kinds import Kind, ModelSpec, NotOffered


class Converted:
    """A checkpoint's model, run by a class of CTranslate2. Making it converts the checkpoint.

    Raises NotOffered where that cannot be done, ModelUnavailable where the checkpoint cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, config: Any, kind: Kind, spec: ModelSpec) -> None:
        if (reason := architectures.objection(config, kind)) is not None:
            raise NotOffered(reason)
        self._arguments = device.arguments(spec)
        self.dtype = device.number_format(spec)
        self.conversion = Conversion(
            spec.name, checkpoint, checkpoint.commit(config), kind, self.dtype, spec.cache_dir / "ctranslate2"
        )
        self.conversion.ready()
        self._model: Any = None
        self._bytes = 0

    @property
    def model(self) -> Any:
        """Raises ModelUnavailable while it is not loaded."""
        if self._model is None:
            raise ModelUnavailable(f"{self.conversion.name} is not loaded")
        return self._model

    def load(self, make: Callable[..., Any]) -> None:
        """Bring it to the device; make: `ctranslate2.Translator` or its like. A conversion that has gone is made again.

        Raises ModelUnavailable, and CTranslate2's errors of memory and device.
        """
        if self._model is not None:
            return
        try:
            folder = self.conversion.ready()
            model, size = make(str(folder), **self._arguments), self.conversion.size()
        except NotOffered as error:
            raise ModelUnavailable(str(error)) from error
        except (OSError, RuntimeError, ValueError) as error:
            if fault(error) is not Fault.OTHER:
                raise
            raise ModelUnavailable(f"the conversion {self.conversion.folder} could not be loaded: {error}") from error
        self._model, self._bytes = model, size

    def unload(self) -> None:
        """The memory goes back."""
        self._model, self._bytes = None, 0

    def memory_bytes(self) -> int:
        """Bytes of the weights; 0 while unloaded."""
        return self._bytes
