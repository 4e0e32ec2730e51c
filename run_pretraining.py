"""Pretrains ComicSeq on a converted data set, or on Stage 3 stores: `comicseq pretrain` for `accelerate launch`.

accelerate launch run_pretraining.py demo --dataset DIR --output_dir DIR
"""

import os
import signal
import sys
from types import FrameType


def stop(number: int, frame: FrameType | None) -> None:
    """Ends the process while nothing is begun."""
    line = "run_pretraining.py: stopped before anything was begun: run the same command again."
    print(line, file=sys.stderr, flush=True)
    os._exit(128 + number)


if __name__ == "__main__":
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    from modeling_comicseq.training.run import main  # takes seconds

    for number, handler in before.items():
        signal.signal(number, handler)
    sys.exit(main())
