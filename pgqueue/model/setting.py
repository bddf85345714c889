"""Declares each setting as a field of a dataclass. From this field come its option, key in the file, range, help and row in the docs.

A new setting needs one new field: ``concurrency: int = setting(COUNT, 10, "Jobs that run …", low=1, high=10_000)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import ClassVar, Protocol, TypeVar

from pgqueue.errors import InvalidOptionError, InvalidSettingError
from pgqueue.model.units import seconds, size, written_size
from pgqueue.text.nearest import guess, rather
from pgqueue.text.values import shown

T = TypeVar("T")
KEY = "setting"  # the key in a field's metadata


class Settings(Protocol):
    """A dataclass whose fields are settings, or an instance of such a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


Given = tuple[object, str]  # a value, and its name in messages: --poll, or poll in [tool.pgqueue]


# ------------------------------------------------------------------- kinds


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidSettingError(f"{what} is {shown(value)}.", do="give a whole number")
    return value


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidSettingError(f"{what} is {shown(value)}.", do="give a number of seconds")
    return value


def _duration(value: object, what: str) -> float:
    try:
        return seconds(value, what)
    except InvalidOptionError as error:
        raise InvalidSettingError(error.what, do=error.do) from None


def _switch(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidSettingError(f"{what} is {shown(value)}.", do="give true or false")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidSettingError(f"{what} is {shown(value)}.", do="give one text")
    return value.strip()


def _secret(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidSettingError(
            f"{what} is no text.", why="its value is not shown, because it can be a secret"
        )
    return value.strip()


def _texts(value: object, what: str) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise InvalidSettingError(f"{what} is {shown(value)}.", do="give a list of texts")
    return tuple(part.strip() for part in parts)


def _or_text(number: Callable[[str], object]) -> Callable[[str], object]:
    def from_text(text: str) -> object:
        try:
            return number(text)
        except ValueError:
            return text

    return from_text


SWITCHED = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of values, such as durations. ``read`` checks a given value. ``written`` turns a number into a text.

    ``metavar`` stands for the value in ``--help``. None: the option takes no value. ``noun``: what error messages call a value.
    """

    metavar: str | None
    option: type[object]
    read: Callable[[object, str], object]
    noun: str = "number"
    written: Callable[[float], str] = "{:.15g}".format
    # Reads the text of an environment variable. A text that it does not know stays a text, which ``read`` refuses.
    from_text: Callable[[str], object] = str


COUNT = Kind("N", int, _whole, from_text=_or_text(int))
SECONDS = Kind("SECONDS", float, _number, from_text=_or_text(float))
DURATION = Kind("DURATION", str, _duration)
SIZE = Kind("SIZE", str, size, "size", written_size)
SWITCH = Kind(None, bool, _switch, from_text=lambda text: SWITCHED.get(text.strip().lower(), text))
TEXT = Kind("TEXT", str, _text)
NAMES = Kind("NAMES", str, _text)
SECRET = Kind("TEXT", str, _secret)
TEXTS = Kind("TEXTS", str, _texts)


# ---------------------------------------------------------------- settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting. ``flags``: its options on the command line, the long one last. ``words``: its values, if only certain words are allowed."""

    kind: Kind
    help: str
    low: float | None = None
    high: float | None = None
    words: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    in_file: bool = True
    name: str = ""  # settings_of() sets the name and the default from the field
    default: object = None

    @property
    def flag(self) -> str:
        return self.flags[-1] if self.flags else "--" + self.name.replace("_", "-")

    @property
    def metavar(self) -> str | None:
        return "|".join(self.words) or self.kind.metavar

    @property
    def default_text(self) -> str:
        """The default as a text for people. Empty if there is no default to show."""
        if isinstance(self.default, bool) or not isinstance(self.default, int | float | str):
            return ""
        return self.default if isinstance(self.default, str) else self.kind.written(self.default)

    @property
    def range_text(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{self.kind.written(self.low)} to {self.kind.written(self.high)}"

    @property
    def variable(self) -> str:
        """The environment variable of the setting. Empty if it has none."""
        return f"PGQUEUE_{self.name.upper()}" if self.in_file else ""

    def check(self, value: object, what: str = "") -> None:
        """Raises InvalidSettingError if the value is out of range, or is not one of ``words``. ``what``: the place of the value, if known."""
        what = what or self.flag
        if self.words and value not in self.words:
            raise InvalidSettingError(f"{what} is {value!r}.", do=rather(value, self.words))
        if self.low is None or self.high is None or not isinstance(value, int | float):
            return
        if not self.low <= value <= self.high:
            raise InvalidSettingError(
                f"{what} is {self.kind.written(value)}.",
                do=f"use a {self.kind.noun} from {self.range_text}",
            )


def setting(
    kind: Kind,
    default: T,
    help: str,  # noqa: A002 - typer uses the same name
    *,
    low: float | None = None,
    high: float | None = None,
    words: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    in_file: bool = True,
) -> T:
    """Returns a field of a dataclass that declares a setting."""
    said = Setting(kind=kind, help=help, low=low, high=high, words=words, flags=flags, in_file=in_file)
    return field(default=default, repr=kind is not SECRET, metadata={KEY: said})


def settings_of(kind: Settings | type[Settings]) -> dict[str, Setting]:
    """Returns the settings of a class, by name, in the order of the fields."""
    return {
        found.name: replace(found.metadata[KEY], name=found.name, default=found.default)
        for found in fields(kind)
        if KEY in found.metadata
    }


def check_all(values: Settings) -> None:
    """Checks all settings. Raises InvalidSettingError for the first setting whose value is not allowed."""
    for name, found in settings_of(values).items():
        found.check(getattr(values, name))


def read_given(kind: type[Settings], given: Mapping[str, Given]) -> dict[str, object]:
    """Returns the values of the given settings, read by their kinds. Raises InvalidSettingError if a value is wrong.

    The error names the place of the value: the flag, or the key in the file.
    """
    values: dict[str, object] = {}
    for name, found in settings_of(kind).items():
        if name in given:
            values[name] = found.kind.read(*given[name])
            found.check(values[name], given[name][1])
    return values


def checked_table(table: object, known: Iterable[str], where: str) -> dict[str, object]:
    """Returns ``table``, a table of a TOML file. Raises InvalidSettingError if it is not a table, or has an unknown key."""
    if not isinstance(table, dict):
        raise InvalidSettingError(f"{where} is no table.")
    names = list(known)
    for key in table:
        if key not in names:
            raise InvalidSettingError(
                f"{where} has an unknown key {key!r}.",
                do=guess(key, names, "known keys: " + ", ".join(names)),
            )
    return table
