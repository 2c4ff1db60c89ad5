"""``python -m ssim_ae``, for launchers that start modules."""

from ssim_ae.cli import main

main()
