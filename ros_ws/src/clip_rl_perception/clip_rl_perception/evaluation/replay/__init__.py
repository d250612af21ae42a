"""Replay evaluation: what was seen frame by frame, the records it leaves, and the report made of them.

Whoever runs frames (offline replay, the online evaluator, the demo) does the same four things:

    scorer = FrameScorer(space, mapping)                        # scoring.py; mapping from ../class_mapping.py
    scored = scorer.score(topic, mask, truth, confidence, rgb)  # a frame's measures
    record = FrameRecord(..., measures=scored.measures)         # run_record.py
    pictures.on_frame(SeenFrame(record, rgb, ...))              # pictures.py: an observer, as every viewer is

and at the end `write_report(RunRecord(..., frames=records), out, pictures)` (report_files.py) makes report.json and
report.html of it.
"""
