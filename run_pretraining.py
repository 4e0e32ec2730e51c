"""Pretrains ComicSeq on a converted data set, or on Stage 3 stores: `comicseq pretrain` for `accelerate launch`.

accelerate launch run_pretraining.py demo --dataset DIR --output_dir DIR
"""

import sys

from modeling_comicseq.training.run import main

if __name__ == "__main__":
    sys.exit(main())
