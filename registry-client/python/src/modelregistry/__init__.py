"""Client of the model registry: publish, pull, promote, watch and follow models."""

from modelregistry.errors import RegistryError
from modelregistry.folder import verify_folder
from modelregistry.registry import Registry
from modelregistry.watch import Change, Watch

__all__ = ["Change", "Registry", "RegistryError", "Watch", "verify_folder"]
