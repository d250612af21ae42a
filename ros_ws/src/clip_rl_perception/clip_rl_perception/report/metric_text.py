"""What the accuracy metrics are called and mean, for people."""

from __future__ import annotations

METRIC_TEXT = {
    "miou": ("mIoU", "pooled over all pixels, mean of classes"),
    "miou_no_background": ("mIoU without background", "the same, instruments and tissue classes alone"),
    "dice": ("Dice", "pooled, mean of classes without background"),
    "nsd": ("NSD", "share of boundary within tolerance, mean of frames and classes"),
    "hd95": ("HD95, px", "95th percentile of boundary distance, where the class is in both; less is better"),
    "challenge_iou": ("Challenge IoU", "mean over frames and the classes in their truth"),
    "isi_iou": ("ISI IoU", "mean over frames and the classes in truth or prediction"),
    "mciou": ("mcIoU", "mean of classes of their frame means"),
    "isinet_miou": ("ISINet mIoU", "summed intersections over summed unions"),
    "scene_iou": ("scene IoU", "STswinCL's: mean over frames, classes of the truth"),
    "scene_dice": ("scene Dice", "the same as Dice"),
    "eps_miou": ("eps-mIoU", "Surg-SegFormer's: absent classes score 1, not comparable with the others"),
    "ece": ("ECE", "gap between confidence and correctness; less is better"),
    "temporal_consistency": ("temporal consistency", "IoU with the previous mask moved along the optical flow"),
}
"""Name and meaning of each metric, in the order shown; definitions: docs/evaluation.md."""

DEFINITIONS = ("challenge_iou", "isi_iou", "mciou", "isinet_miou", "scene_iou", "scene_dice", "eps_miou")
"""Those that only tell the same in the words of a benchmark."""

TAG_TEXT = {
    "tag_recall": "tags: recall",
    "tag_precision": "tags: precision",
    "tag_ap50": "tags: AP50",
    "tag_pq": "tags: PQ",
    "mask_pq": "tags: PQ by pixels",
    "tag_hota": "tags: HOTA",
    "tag_idf1": "tags: IDF1",
    "tag_switches_per_500": "tags: switches in 500 matches",
    "tip_median_percent": "tips: median error, % of the diagonal",
    "tip_near": "tips: share within 4 % of the diagonal",
    "type_right": "types: right, of tags",
    "track_type_right": "types: right, of tracks",
}
"""Numbers of tags that comparisons tell of."""
