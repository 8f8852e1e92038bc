"""Client of the model registry: publish, pull, promote, watch and follow models."""

from modelregistry.errors import RegistryError
from modelregistry.folder import verify_folder
from modelregistry.registry import Registry

__all__ = ["Registry", "RegistryError", "verify_folder"]
