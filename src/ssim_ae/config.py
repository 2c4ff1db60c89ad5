"""The settings: one pydantic model. Where their values come from: ``config_files``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

CELL = 16  # pixels to one feature at the joint network's bottleneck
Probability = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class AugmentSettings(_Section):
    """What happens to a training patch, each with its probability."""

    rotate_angle: float = Field(
        default=45.0, ge=0, le=180, description="degrees, drawn from +-angle"
    )
    p_rotate: Probability = 0.3
    p_horizontal_flip: Probability = 0.3
    p_vertical_flip: Probability = 0.3


PLAIN = AugmentSettings(p_rotate=0, p_horizontal_flip=0, p_vertical_flip=0)  # patches as they are


class ResidualTerm(_Section):
    """One kind of difference between picture and reconstruction."""

    kind: Literal["ssim", "l1", "gradient", "band", "head", "rarity", "memory", "features"]
    window: int = Field(11, ge=1, le=127, description="uniform window, pixels, odd")
    sigma: float | None = Field(None, gt=0, le=18, description="Gaussian window instead, pixels")
    weight: float = Field(1.0, gt=0)
    offset: float = Field(0.0, description="subtracted from the map ...")
    scale: float = Field(1.0, gt=0, description="... before it is divided by this")

    @model_validator(mode="after")
    def _odd(self) -> ResidualTerm:
        if self.window % 2 == 0:
            raise ValueError(f"window is {self.window}, but a centred window needs an odd number")
        if self.kind == "band" and self.sigma is None:
            raise ValueError("a residual of kind band needs sigma, its fine end in pixels")
        return self


class ResidualSettings(_Section):
    """How picture and reconstruction become one map."""

    terms: list[ResidualTerm] = Field(min_length=1)
    combine: Literal["sum", "max"] = "sum"
    smooth: float | None = Field(None, gt=0, le=18, description="Gaussian blur at last, pixels")
    smooth_share: float = Field(
        1.0, gt=0, le=1, description="share of the blurred map; the rest of it stays sharp"
    )
    bound: float | None = Field(
        None, gt=1, description="what a term counts at most, in units of its scale"
    )
    surround: float | None = Field(
        None, gt=0, le=1, description="share of the mean over the surroundings to subtract"
    )
    mean_beyond: float | None = Field(
        None,
        ge=0,
        description="share of the unit; what the mean exceeds it by adds to scores",
    )

    @property
    def unit(self) -> float:
        """The sum of the terms, or the largest, where each lies at its scale."""
        weights = [term.weight for term in self.terms]
        return sum(weights) if self.combine == "sum" else max(weights)

    def has(self, kind: str) -> bool:
        """Whether a term is of this kind."""
        return any(term.kind == kind for term in self.terms)


class Stretch(_Section):
    """What becomes of pictures' grey levels before anything looks at them, see data/contrast."""

    gain: float = Field(ge=1, le=64, description="above 1 for faint pictures")
    level: Probability | Annotated[list[Probability], Field(min_length=3, max_length=3)] = Field(
        description="grey level that comes to the middle, of 0..1; of RGB one for each channel"
    )
    low: Probability = Field(default=0.0, description="clipped to this below, after the gain")
    high: Probability = Field(default=1.0, description="clipped to this above, after the gain")


class ZooSettings(_Section):
    """The zoo's thresholds and post-processing, for its own ok / nok / acc numbers."""

    percent: float = Field(98.0, ge=0, le=100, description="percentile of training residuals")
    ssim_threshold: float | None = Field(None, gt=0, description="fixed; else by percent")
    l1_threshold: float | None = Field(None, gt=0, description="fixed; else by percent")
    bg_mask: Literal["B", "W"] | None = Field(None, description="black or white background")
    image_level: bool = True
    border: int = Field(5, ge=0, description="frame in pixels ...")
    border_weight: Probability = 0.2
    opening: int = Field(4, ge=0, description="radius of the disk, pixels")


class Settings(_Section):
    """Every setting of a training and of the detector it makes."""

    preset: str = "auto"
    network: Literal["reference", "joint"] = "reference"
    color: Literal["auto", "grey", "rgb"] = Field(
        "grey", description="auto: rgb when the training pictures are coloured"
    )
    contrast: Literal["as-is", "auto"] = Field(
        "as-is", description="auto: stretch is found out from the good pictures"
    )
    stretch: Stretch | None = None
    resize: int | None = Field(256, ge=11, description="short side in pixels; none keeps the size")
    centre_crop: int | None = Field(None, ge=11, description="pixels, after resize")
    depth: int = Field(16, ge=8, le=16, description="bits of grey 16-bit files that count")
    tile: Literal[128, 256] = Field(128, description="side of a patch, and of a tile")
    stride: int = Field(32, ge=1, le=256)
    blend: Literal["pixels", "features"] = "pixels"
    latent: int = Field(100, ge=1, le=4096)
    first_layer_channels: int = Field(32, ge=1, le=512)
    initialization: Literal["xavier", "kaiming"] = "xavier"
    pretrained: bool = Field(
        False, description="start from the package's weights, where they fit: the joint network"
    )
    augment: AugmentSettings = AugmentSettings()
    steps: int = Field(600, ge=1)
    batch_size: int = Field(32, ge=1, le=4096)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    weight_decay: float = Field(1e-5, ge=0, le=1)
    clip_gradient: float | None = Field(None, gt=0, description="largest norm; none: no clipping")
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "float32", description="auto: bf16 where the device multiplies it in hardware"
    )
    device: Literal["auto", "cpu"] = "auto"
    seed: int = Field(0, ge=0, lt=2**31)
    residual: ResidualSettings
    choose: bool = Field(
        False, description="weights and smoothing of the residual, on generated defects"
    )
    held_out: float = Field(0.2, gt=0, le=0.5, description="share of the good pictures")
    false_reject_rate: float = Field(0.05, ge=1e-6, le=0.999)
    pixel_false_reject_rate: float = Field(0.002, gt=0, lt=1)
    group: str | None = Field(
        None, description="regular expression on file names; auto: found in these"
    )
    zoo: ZooSettings | None = None

    @model_validator(mode="after")
    def _fit(self) -> Settings:
        size = self.centre_crop or self.resize
        if self.centre_crop and self.resize and self.centre_crop > self.resize:
            raise ValueError(
                f"centre_crop is {self.centre_crop}, larger than resize {self.resize}: lower it"
            )
        if size is not None and size < self.tile:
            raise ValueError(
                f"tile is {self.tile}, larger than the working size {size}: "
                "raise resize or centre_crop, or lower tile"
            )
        if not self.tile // 16 <= self.stride <= self.tile:
            raise ValueError(
                f"stride is {self.stride}, but tiles of {self.tile} need {self.tile // 16} "
                f"to {self.tile} (smaller ones do not fit in memory)"
            )
        joint_only = any(
            self.residual.has(kind) for kind in ("head", "rarity", "memory", "features")
        )
        if self.network == "reference" and (joint_only or self.choose):
            raise ValueError(
                "residuals of kind head, rarity, memory and features, and choose, need "
                "network=joint"
            )
        kinds = [term.kind for term in self.residual.terms]
        known = {"head", "gradient", "band", "rarity", "memory", "features"}
        if self.choose and not ("head" in kinds and set(kinds) <= known):
            raise ValueError(
                "choose weighs head against gradient, band, rarity, memory and features: let "
                "residual.terms hold head and some of these, or set choose=false"
            )
        if self.choose and len(set(kinds)) < len(kinds):
            raise ValueError("choose takes each kind of residual once: remove one, or choose=false")
        # the kinds that halve the picture must halve blocks of large pictures at the same places
        cell = max({"gradient": 8, "band": 2}.get(kind, 1) for kind in kinds)
        cell = 8 if self.residual.surround else cell
        if self.network == "reference" and self.stride % cell:
            raise ValueError(
                f"stride is {self.stride}, but this residual needs a multiple of {cell}"
            )
        if self.network == "reference" and (self.stretch or self.contrast == "auto"):
            raise ValueError("stretched contrast needs network=joint: leave contrast as-is")
        if self.network == "joint" and self.zoo:
            raise ValueError("the zoo rule belongs to network=reference: leave zoo out")
        if self.blend == "features" and self.stride % (self.tile // 8):
            raise ValueError(
                f"stride is {self.stride}, but blend=features with tiles of {self.tile} needs a "
                f"multiple of {self.tile // 8}"
            )
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """(side of a tile, step between them) of inspection; the joint network has no tiles."""
        return (CELL, CELL) if self.network == "joint" else (self.tile, self.stride)

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3
