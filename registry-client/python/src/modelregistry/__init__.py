"""Client of the model registry: publish, pull, promote, watch and follow models."""

from modelregistry.errors import RegistryError
from modelregistry.folder import verify_folder
from modelregistry.follow import Follower, Served
from modelregistry.registry import Registry
from modelregistry.watch import Change, Watch

__all__ = ["Change", "Follower", "Registry", "RegistryError", "Served", "Watch", "verify_folder"]
