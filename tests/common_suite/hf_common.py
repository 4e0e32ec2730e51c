"""Brings transformers' own model and configuration tests here: only its source distribution carries them."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers
from filelock import FileLock

CACHE = Path(__file__).parents[2] / ".cache" / "transformers_tests"
FILES = ("test_modeling_common.py", "test_configuration_common.py")
# What the two files import and the distribution lacks.
STUBS = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": """config_common_kwargs = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["BertModel"],
    "id2label": {0: "label"},
    "label2id": {"label": "0"},
    "problem_type": "regression",
}
""",
}


class Unreachable(Exception):
    """The source distribution could not be downloaded."""


def download(version: str, folder: Path) -> Path:
    """Downloads the source distribution of transformers `version` into `folder`; returns the archive."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--retries", "1"]
    command += ["--timeout", "20", "--quiet", "--dest", str(folder), f"transformers=={version}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired as error:
        raise Unreachable("pip took more than 5 minutes") from error
    if result.returncode:
        raise Unreachable((result.stderr.strip().splitlines() or ["pip gave no reason"])[-1])
    return next(folder.glob("transformers-*.tar.gz"))


def suite_folder() -> Path:
    """
    The folder that holds the tests of the installed transformers as package `hf_tests`; downloaded at the first call.

    Raises:
        Unreachable: If it is not there yet and the package index does not answer.
    """
    target = CACHE / transformers.__version__
    CACHE.mkdir(parents=True, exist_ok=True)
    # The processes of a run must find the same tests: what the first of them learns holds for all.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    unreachable = CACHE / f"unreachable-{run}"
    with FileLock(CACHE / "lock"):
        if unreachable.exists():
            raise Unreachable(unreachable.read_text())
        if not target.exists():
            try:
                make_suite(target)
            except Unreachable as error:
                unreachable.write_text(str(error))
                raise
    return target


def make_suite(target: Path) -> None:
    """Fills `target`.

    Raises:
        Unreachable: If the package index does not answer.
    """
    version = transformers.__version__
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        package = Path(scratch) / "suite" / "hf_tests"
        for name, text in STUBS.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text(text)
        with tarfile.open(download(version, Path(scratch))) as archive:
            for name in FILES:
                member = archive.extractfile(f"transformers-{version}/tests/{name}")
                assert member is not None, f"{name} is not in the source distribution"
                with open(package / name, "wb") as file:
                    shutil.copyfileobj(member, file)
        os.replace(package.parent, target)
