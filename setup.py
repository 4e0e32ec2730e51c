"""What pyproject.toml cannot say: data of the package that stand at the top of the repository, in one copy."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["modeling_comicseq*"]), "modeling_comicseq.configuration"],
    package_dir={"modeling_comicseq.configuration": "configuration"},
    package_data={
        "modeling_comicseq.configuration": ["*/*", "../model_card.md"],
        "modeling_comicseq.checkpoints": ["imported_card.md"],
        "modeling_comicseq.data": ["dataset_card.md"],
        "modeling_comicseq.evaluation": ["card.md", "report.md"],
        "modeling_comicseq.library.app": ["assets/*", "templates/*"],
        "modeling_comicseq.layouts": ["order_predictor/*"],
        "modeling_comicseq.pages": ["page_card.md"],
    },
)
