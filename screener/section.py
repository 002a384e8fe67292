"""What every table of config.toml is, and the types that its keys share."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from screener.clock import parse_time, parse_window


class Section(BaseModel):
    """A table of config.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def _is_window(value: str) -> str:
    parse_window(value)
    return value


def _is_time(value: str) -> str:
    parse_time(value)
    return value


Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0)]
ShortName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
Window = Annotated[str, AfterValidator(_is_window)]
TimeOfDay = Annotated[str, AfterValidator(_is_time)]
