"""`comicseq pretrain`."""

import sys

import typer

from .options import passed_on


def pretrain(context: typer.Context) -> None:
    """**Pretrain** on all tasks: `comicseq pretrain [CONFIG] [--option value …]`.

    CONFIG is a YAML file of options, or the name of a shipped one: `base`, `demo`, `demo_pages`, `pages`, `synthetic`,
    `text_only`. The command line wins over it. A run that broke off is resumed by the same command. Its own options:

    - `--dataset`: folder of the Arrow data set that `comicseq convert` wrote
    - `--train-embeddings`, `--train-metadata`: a Stage 3 store instead, which is converted first
    - `--val-embeddings`, `--val-metadata`: the store to validate on; without, the training store is split by book
    - `--pages`: a data set of pages instead, or a JSON list of pages with texts: they are encoded as they are trained on
    - `--encoder`: the panel encoder of these, by default that of `--model`, or the one that installs without a hub
    - `--tune-encoders`: what of it is trained: `none`, `projections`, `last_N`, `all`, or `vision=none text=last_2`
    - `--encoder-learning-rate`, `--layer-decay`: its peak learning rate, and the factor on it from a layer to the one below
    - `--text-reading`, `--text-reading-layers`: `tokens` lets candidate texts read the words of a page's others, with so many
      tuned copies of the text model's last layers
    - `--pages-together`: how many pages of a book in a row stand in a batch together
    - `--fractions`, `--split-books`: how pages or a store are split by book, as in `comicseq convert`
    - `--num-proc`, `--on-error`: processes that convert a store; `stop` or `skip` at a page of it with a fault
    - `--model`: a shipped configuration (`comicseq-base`, `comicseq-small`, `comicseq-tiny`) or a JSON file to start from
      scratch; a checkpoint to go on from
    - `--hidden-size`, `--masked-panel-weight` and all other fields of the model's configuration
    - `--config-overrides`: several of them at once, as in `'{hidden_size: 256, task_weights: {text_cloze: 0}}'`
    - `--tasks`: `all` that the model wants, those `available` with the vectors of the data, or names of tasks
    - `--num-candidates`: candidates of a question, the right one included
    - `--questions-per-page`: how many questions a page asks in a pass
    - `--protocol`: where wrong candidates come from: same_book, cross_book, later_panels, or in_page (leaky); several
    - `--output-dir`: folder of the checkpoints and the final model; by default `outputs/pretraining`
    - `--streams`: `separate` reads a panel's picture and text as two tokens; the data have vectors of both
    - `--modality-dropout`: share of the questions that are shown by pictures or by texts alone
    - `--other-origin`: `true` goes on from a checkpoint that was trained on vectors of another origin
    - `--restart`: `true` trains from the start although `--output-dir` holds a checkpoint to resume from
    - `--early-stopping-patience`: stop after so many evaluations without a new best

    and every field of transformers' `TrainingArguments`, of which `--num-train-epochs`, `--per-device-train-batch-size`,
    `--learning-rate`, `--seed` and `--report-to` are asked for most. **`comicseq pretrain --help-all`** lists every one
    with its default.

    Example: `comicseq pretrain base --dataset data/arrow --output-dir outputs/model`

    Several GPUs or processes: `accelerate launch -m modeling_comicseq.cli pretrain …`
    """
    from ..training.run import main

    sys.exit(main(passed_on(context), "comicseq pretrain"))
