"""`clip-rl fuzz`: bags, pictures and masks damaged by chance, read by everything that reads them, and judged.

Bytes are flipped, overwritten, zeroed, cut off, removed, repeated, swapped and inserted; fields of metadata.yaml are
emptied or made wrong. A finding is: a traceback, a crash, a hang, an error of more than one line, or a reading that
lacks something, or gives something else than was written, without a word about it. Where a format has no checksums
(sqlite3, messages outside of mcap's chunks, pixels of a JPEG that libjpeg finds nothing wrong with) something else that
is as good cannot be known: it is counted as unknowable.

    clip-rl fuzz --count 100000 --first 334 --out DIR       # on from where 2000 cases of six kinds ended
    clip-rl fuzz --only sqlite3:17 --out DIR                # one case again; its files are kept where it is a finding

Exit status: 0; 1 with findings, whose files are in DIR/findings; 2 where it cannot begin; 130 after Ctrl-C.
"""

from __future__ import annotations

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.stress.fuzz_run import FuzzOptions, describe, fuzz


def run(options: FuzzOptions) -> int:
    """Fuzz; returns the exit status."""
    report = fuzz(options)
    write_json(options.out / "report.json", report)
    for line in describe(report):
        print(line)
    return 130 if report["interrupted"] else int(bool(report["findings"]))
