"""Settings for tests whose maps must count to the score by their mean as well."""

from __future__ import annotations

from ssim_ae.config import ResidualSettings


def above_zero(settings: ResidualSettings) -> ResidualSettings:
    """With a first term so much higher that the mean of every map is above ``mean_beyond``."""
    first, *others = settings.terms
    high = first.model_copy(update={"offset": first.offset - 4 * first.scale})
    return settings.model_copy(update={"terms": [high, *others]})
