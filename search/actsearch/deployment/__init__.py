"""From a formula to what runs in a product: tables of codes, hinges, C, ONNX, compiled code, whole models."""

from actsearch.deployment.entry import deploy
from actsearch.deployment.made import Deployment
from actsearch.deployment.whole_model import DeployedModel, DeployedSite

__all__ = ["DeployedModel", "DeployedSite", "Deployment", "deploy"]
