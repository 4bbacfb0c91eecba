"""What images look like, cell by cell, to whoever has not asked for anything yet: features without supports."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from hdm_pipeline.model.network import CELL
from hdm_pipeline.model.pyramid.labels import pad_images
from hdm_pipeline.model.reduction import reduced_size, shrink_valid
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import three_channels


@torch.no_grad()
def cell_features(
    segmenter: FewShotSegmenter, image: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], reduction: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features of an image in cells of `CELL` pixels of the reduced image.

    Of more than three bands the first three are looked at: what they are projected to depends on the examples, and
    these features must not.

    Args:
        segmenter: its network and its device.
        image: [C, H, W] float32 in 0..1.
        valid: [H, W] bool.
        reduction: how many times smaller the network sees it.

    Returns:
        [rows, columns, D] float32, and [rows, columns] float32: the share of valid pixels of each cell, 0..1.
    """
    channels = three_channels(image[None, :3])
    seen = torch.from_numpy(np.ascontiguousarray(valid & np.isfinite(image).all(axis=0)))[None].to(segmenter.device)
    pixels = torch.nan_to_num(torch.from_numpy(channels).to(segmenter.device))
    small, kept = shrink_valid(pixels, seen, reduced_size(valid.shape[0], valid.shape[1], reduction))
    normalized = segmenter.network.normalize(small).masked_fill(~kept[:, None], 0.0)
    found = segmenter.network.cells(pad_images(normalized, CELL))[0].float()
    height, width = kept.shape[-2:]
    share = F.pad(kept[:, None].float(), (0, -width % CELL, 0, -height % CELL))
    shares = F.avg_pool2d(share, CELL)[0, 0]
    return np.ascontiguousarray(found.permute(1, 2, 0).cpu().numpy()), shares.cpu().numpy()
