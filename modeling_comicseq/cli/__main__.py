"""`python -m modeling_comicseq.cli`, which `accelerate launch -m` starts."""

from ..command import main

main()
