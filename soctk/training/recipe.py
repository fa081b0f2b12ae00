"""A recipe's own settings: conf/recipe.yaml."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from soctk.errors import SoctkError, listing
from soctk.mappings import read_yaml

Name = Literal["data", "features", "experiment", "expdir"]
# Shell variables of bin/recipe.sh: an option with one of these names would overwrite it.
_RESERVED = {
    *("data", "experiment", "extras", "feats", "finetune", "log", "model", "number", "plan", "recipe", "source"),
    "status",
}
OptionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusOption(_Section):
    """The option --corpus.

    Attributes:
        help: the text in --help.
        default: the folder, relative to the recipe, that is used without --corpus.
        download: the place from which stage 0 downloads the recordings without --corpus.
        obtain: how to get the recordings; a sentence for the message that --corpus is missing.
    """

    help: str = "Folder of the recordings."
    default: str | None = None
    download: str | None = None
    obtain: str | None = None


class OwnOption(_Section):
    """An option that only this recipe has.

    Attributes:
        help: the text in --help.
        default: the value without the option.
        choices: the allowed values; None allows any text.
        is_folder: whether the value is the path of a folder; it then becomes absolute.
        names: the directories whose names get the suffix `-VALUE`, if the value is not the default. `expdir` gets a
            folder VALUE, so that each value has its own table of scores.
    """

    help: str
    default: str = ""
    choices: list[str] | None = None
    is_folder: bool = False
    names: list[Name] = []

    @model_validator(mode="after")
    def _check_default(self) -> "OwnOption":
        if self.choices is not None and self.default not in self.choices:
            raise ValueError(f"default '{self.default}' is not among the choices")
        return self


class OwnProtocol(_Section):
    """A protocol that this recipe allows besides soctk and emobox.

    Attributes:
        names: the directories whose names get the suffix `-PROTOCOL`.
        needs: own option -> the only value that it may have under this protocol.
    """

    names: list[Name] = []
    needs: dict[OptionName, str] = {}


class Recipe(_Section):
    """The settings in conf/recipe.yaml; all are optional, and so is the file.

    Attributes:
        path: the recipe's directory.
        corpus: the option --corpus.
        defaults: option -> its default in this recipe.
        options: the recipe's own options.
        protocols: the recipe's own protocols.
    """

    path: Path
    corpus: CorpusOption = CorpusOption()
    defaults: dict[OptionName, str] = {}
    options: dict[OptionName, OwnOption] = {}
    protocols: dict[Literal["cross-lingual"], OwnProtocol] = {}

    @field_validator("defaults", mode="before")
    @classmethod
    def _write_out(cls, defaults: object) -> object:
        """Convert numbers to text, because each default is parsed like an argument on the command line."""
        if not isinstance(defaults, dict):
            return defaults
        return {name: str(value) if isinstance(value, int | float) else value for name, value in defaults.items()}

    @field_validator("options")
    @classmethod
    def _check_names(cls, options: dict[str, OwnOption]) -> dict[str, OwnOption]:
        for name in options:
            if name in _RESERVED or name.endswith("-log"):
                raise ValueError(f"'{name}' is a variable of bin/recipe.sh; rename the option")
        return options

    @model_validator(mode="after")
    def _check_needs(self) -> "Recipe":
        unknown = {name for protocol in self.protocols.values() for name in protocol.needs} - self.options.keys()
        if unknown:
            raise ValueError(f"a protocol needs the option '{min(unknown)}', which the recipe does not have")
        return self


def read(path: Path) -> Recipe:
    """Read conf/recipe.yaml of the recipe in the directory `path`.

    Raises:
        SoctkError: the file is malformed.
    """
    file = path / "conf" / "recipe.yaml"
    content = read_yaml(file) if file.is_file() else {}
    try:
        return Recipe.model_validate({**content, "path": path})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        raise SoctkError(f"malformed\n{listing(problems)}", remedy="Correct the file.", where=file) from error
