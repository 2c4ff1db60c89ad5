"""From settings to a network, and from a trained network to the one inspection graph."""

from __future__ import annotations

from torch import nn

from ssim_ae.config import Settings
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.features import FeatureDistance
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.joint import JointNetwork, WholePicture
from ssim_ae.model.network import Autoencoder, initialize
from ssim_ae.model.tiling import BlendedFeatures, TiledReconstruction


def network_of(settings: Settings) -> nn.Module:
    """The network of the settings, its weights not yet trained."""
    channels, latent, width = settings.channels, settings.latent, settings.first_layer_channels
    if settings.network == "joint":
        joint = JointNetwork(channels, latent, width)
        if settings.residual.has("memory"):
            joint.memory = joint.new_memory()
        if settings.residual.has("features"):
            joint.features = FeatureDistance(channels)
        return joint
    network = Autoencoder(settings.tile, channels, latent, width)
    initialize(network, settings.initialization)
    return network


def on_whole_pictures(network: nn.Module, settings: Settings) -> nn.Module:
    """A trained network as a module that takes pictures of any size."""
    if isinstance(network, JointNetwork):
        return WholePicture(network)
    assert isinstance(network, Autoencoder)
    if settings.blend == "features":
        return BlendedFeatures(network, settings.stride)
    return TiledReconstruction(network, settings.tile, settings.stride)


def inspector_of(network: nn.Module, settings: Settings) -> Inspector:
    """The one inspection graph of a trained network."""
    whole, residual = on_whole_pictures(network, settings), Residual(settings.residual)
    return Inspector(whole, residual, settings.stretch).eval()
