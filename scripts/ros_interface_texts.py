"""What docs/ros_interface.md says beyond the code, by the names that the code uses; see ros_interface.py."""

from __future__ import annotations

INPUTS = {
    "image": "The camera, with `image_transport: raw`. bgr8, rgb8, bgra8, rgba8, mono8, mono16, bayer_*, yuv422*; "
    "size and encoding may change with any frame.",
    "image/compressed": "The camera, with `image_transport: compressed`. JPEG or PNG.",
    "camera_info": "Optional, and used for `markers` alone: the newest message's P, or K where P is zero.",
}

ALWAYS = "every frame"
PROCESSED = "every processed frame"
OUTPUTS = {
    "mask": (
        PROCESSED,
        "mono8: class ids, 255 = unlabelled (outside the endoscope's picture). At the input's size, or with "
        "`mask_size: network` the whole frame scaled down.",
    ),
    "instruments": (PROCESSED, "One tag per instrument; an empty list means that none was seen."),
    "status": (
        ALWAYS,
        "Published after mask, instruments and confidence of the same stamp, and for rejected frames alone.",
    ),
    "confidence": (
        f"{PROCESSED}, while subscribed",
        "mono8: calibrated probability of the chosen class x 255; as large as the mask.",
    ),
    "overlay": (f"{PROCESSED}, while subscribed", "bgr8 picture for people, after the status."),
    "overlay/compressed": (f"{PROCESSED}, while subscribed", "The same as JPEG."),
    "classes": ("at activation and after `set_classes`", "Transient local: late subscribers get the list in force."),
    "markers": (
        f"{ALWAYS}, while subscribed; where visualization_msgs is installed",
        "Boxes, axes, tips and names for 3-D viewers; see below.",
    ),
    "detections": (
        f"{PROCESSED}, while subscribed; where vision_msgs is installed",
        "Boxes with class names, scores and track ids.",
    ),
    "label_info": ("with `classes`; where vision_msgs is installed", "What the mask's values mean."),
    "/diagnostics": ("1 Hz of wall time, in every state", "See below."),
}

SERVICES = {
    "set_classes": "Replace the classes by names and prompts while configured: the text encoder runs again, the "
    "engine stays. Frames in work keep the old list. Refused with a reason, and without effect, otherwise.",
    "reset": "Forget tracks and the previous frame, for example when the endoscope was taken out and cleaned; track "
    "ids begin at 1. Only while active.",
}

STATUS = {
    "OK": "may use mask and tags of this stamp.",
    "DEGRADED": "may use them knowingly: read `reason`; widen safety margins, or treat as not OK where precision "
    "counts.",
    "STALE": "must not close a loop on them: the world has moved on. Hold the last safe command; if it lasts, find out "
    "what is slow (`total_ms`, `age_ms`), or lower `latency_budget_ms`.",
    "OUT_OF_BODY": "must not act on them: stop vision-guided motion until OK comes back.",
    "OUT_OF_DISTRIBUTION": "should not act on them: hold, tell the user. The image is unlike the training's (smoke, "
    "blood, another camera), and confidence means little.",
    "INVALID_INPUT": "has nothing to act on: no mask and no tags exist for this stamp. Hold; if it lasts, the driver "
    "is broken, and `reason` says how.",
}

TRANSITIONS = {
    "configure": (
        "unconfigured, inactive",
        "Loads and verifies checkpoint and engine, runs golden frames, warms up, makes publishers. On failure one line "
        "in log and diagnostics says why; the node stays unconfigured.",
    ),
    "activate": ("inactive, active", "Subscribes; counters begin at 0; publishes `classes`."),
    "deactivate": ("active, inactive", "Unsubscribes, finishes the frame in work (10 s at most), falls silent."),
    "cleanup": ("inactive, unconfigured", "Frees engine and publishers."),
    "shutdown": ("any, finalized", "As deactivate and cleanup."),
    "error": ("error processing, unconfigured", "After a transition that raised: frees everything; configure again."),
}

DIAGNOSTICS = {
    "input: topic": "Input topic after remapping.",
    "input: matched publishers": "0: nobody publishes; WARN.",
    "input: lost in transport": "Images that the middleware knows to be lost on their way.",
    "input: received": "Since activation, as in SceneStatus.",
    "input: dropped": "Since activation, as in SceneStatus.",
    "input: invalid": "Since activation, as in SceneStatus; WARN while there are any in the last 10 s.",
    "input: event: TOPIC": "A lasting fact about a topic, such as incompatible QoS; WARN.",
    "input: input rate (Hz)": "Images received per second, over 10 s.",
    "inference: state": "Lifecycle state.",
    "inference: model": "First 12 hex digits of the checkpoint's SHA-256.",
    "inference: engine": "Backend, precision and network size.",
    "inference: classes": "Number of classes in force.",
    "inference: processed": "Since activation, as in SceneStatus.",
    "inference: output rate (Hz)": "Frames processed per second, over 10 s.",
    "inference: total p50, p95, p99, max (ms)": "Taken up until published, over 10 s.",
    "inference: age p50, p95, p99, max (ms)": "Header stamp until published, node clock, over 10 s.",
    "inference: frames CODE": "Frames of the last 10 s by status code; WARN while any is not OK.",
    "inference: last problem": "Newest reason for a frame that was not OK, or an error.",
}
