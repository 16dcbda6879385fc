import importlib.resources
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, cast, IO


# The files of plenoptic that are of use beyond its own tests; ``registry.txt`` knows the others
# too.
DOWNLOADABLE_FILES = [
    "portilla_simoncelli_images.tar.gz",
    "test_images.tar.gz",
    "example_eigendistortion.pt",
    "berardino_onoff.pt",
    "berardino_vgg16.pt",
    "tid2013.tar.gz",
    "ps_regression.tar.gz",
    "example_metamer_gaussian.pt",
    "example_metamerCTF_ps.pt",
    "example_mad.pt",
    "example_eigendistortion_color.pt",
    "caltech256_burger.jpg",
]

# Lines of name, sha256 and address.
_REGISTRY = importlib.resources.files("plenoptax.data") / "registry.txt"


def fetch_data(dataset_name: str) -> Path:
    """Download a file of plenoptic's data (https://osf.io/ts37w) once, and check its hash.

    Files are kept in the cache folder of plenoptic, so that the two packages share them: that of
    the operating system, or the one named by the environment variable ``PLENOPTIC_CACHE_DIR``. No
    license is stated for most of them; TID2013 is for research only. The ``.pt`` files need torch
    to be read.

    Args:
        dataset_name: One of ``DOWNLOADABLE_FILES``, or any other file of that project.

    Returns:
        The path of the file; of a ``.tar.gz``, that of the folder into which it was unpacked.

    Raises:
        ValueError: If the name is unknown, or the file does not have the expected hash.
        ConnectionError: If the file is not in the cache and cannot be downloaded.

    Example:
        >>> from plenoptax.data import fetch_data
        >>> folder = fetch_data("portilla_simoncelli_images.tar.gz")  # doctest: +SKIP
        >>> (folder / "fig4a.jpg").exists()  # doctest: +SKIP
        True
    """
    import pooch
    import requests  # comes with pooch, which downloads by it

    retriever = pooch.create(
        path=pooch.os_cache("plenoptic"),
        base_url="",
        env="PLENOPTIC_CACHE_DIR",
        retry_if_failed=2,
    )
    with importlib.resources.as_file(_REGISTRY) as registry:
        retriever.load_registry(registry)
    if dataset_name not in retriever.registry:
        raise ValueError(
            f"dataset_name must be one of {', '.join(DOWNLOADABLE_FILES)}, or another file of "
            f"plenoptic's data, got {dataset_name!r}."
        )
    processor = _unpack if dataset_name.endswith(".tar.gz") else None
    url = retriever.get_url(dataset_name)
    try:
        fetched = retriever.fetch(dataset_name, processor=processor)
    except requests.RequestException as error:
        raise ConnectionError(
            f"{dataset_name} could not be downloaded from {url}. Get it by other means and put it "
            f"into {retriever.abspath}."
        ) from error
    if processor is None:
        return Path(fetched)
    return Path(os.path.commonpath([Path(member).parent for member in fetched]))


def _unpack(path: str, action: str, retriever: Any) -> list[str]:
    """Unpack an archive beside itself, once; a processor for pooch.

    Archives of data hold files and folders. All other members are refused, because they could lead
    out of the folder: links, devices, absolute paths and paths that go up.
    """
    folder = Path(f"{path}.untar")
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        for member in members:
            parts = PurePosixPath(member.name).parts
            is_inside = ".." not in parts and parts[:1] != ("/",) and "\\" not in member.name
            if not is_inside or ":" in member.name or not (member.isfile() or member.isdir()):
                raise ValueError(
                    f"{path} must hold files and folders only, got {member.name!r}, which could "
                    "lead out of its folder. Remove the archive and download it again."
                )
        files = [member for member in members if member.isfile()]
        if action in ("update", "download") or not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as part:
                for member in files:
                    target = Path(part) / folder.name / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(cast(IO[bytes], archive.extractfile(member)).read())
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(Path(part) / folder.name, folder)
    return [str(folder / member.name) for member in files]
