"""Options that several commands share.

The options of ``pgq work`` and ``pgq dev`` are made from the declarations of a worker's settings (config.py).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from pgqueue.config import SETTINGS
from pgqueue.model.setting import Setting
from pgqueue.sql import JsonObject

Command = Callable[..., None]


def spread(
    parameter: str, options: Mapping[str, object], gather: Callable[[JsonObject], object]
) -> Callable[[Command], Command]:
    """Replaces one parameter of a command by ``options``, which maps the name of each option to its annotation.

    When the command is called, that parameter gets the return value of ``gather``, which is called with the options' values.
    """

    def decorated(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)

        @functools.wraps(command)
        def call(**given: object) -> None:
            gathered = gather({name: given.pop(name) for name in options})
            command(**{parameter: gathered}, **given)

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters: list[inspect.Parameter] = []
        for one in signature.parameters.values():
            if one.name == parameter:
                parameters += [
                    inspect.Parameter(name, keyword, default=None, annotation=annotation)
                    for name, annotation in options.items()
                ]
            else:
                parameters.append(one.replace(kind=keyword))
        return _shown_with(call, parameters)

    return decorated


def with_settings(*names: str) -> Callable[[Command], Command]:
    """Gives a command an option for each of these settings, or for every setting if no names are given.

    The command gets the values of these options as keyword arguments, with None for each option that is not given. Its help shows these
    options after the command's own first option.
    """

    def decorated(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        first, *others = (one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD)
        options = [_option(SETTINGS[name]) for name in names or SETTINGS]
        parameters = [first, *options, *others]
        return _shown_with(command, parameters)

    return decorated


def _shown_with(command: Command, parameters: Sequence[inspect.Parameter]) -> Command:
    """Changes the signature of the command, which typer reads, to these parameters."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _option(said: Setting) -> inspect.Parameter:
    default = f"  \\[default: {said.default_text}]" if said.default_text else ""
    option = typer.Option(
        *(said.flags or (said.flag,)),
        metavar=said.metavar,
        help=said.help + default,
        show_default=False,
        callback=_switched_off if said.default is True else None,
    )
    return inspect.Parameter(
        said.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[said.kind.option | None, option],
    )


def _switched_off(given: bool | None) -> bool | None:
    return False if given else None
