"""What ``Redact`` marks in types and what has a secret name is masked in values and in texts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, Field, RootModel, TypeAdapter, computed_field
from typing_extensions import TypedDict

from pgqueue import App, Redact
from pgqueue.model.job import Job
from pgqueue.model.redact import paths_in, result_paths
from pgqueue.model.redaction import (
    EVERYTHING,
    MASK,
    NAMES,
    NOTHING,
    Redaction,
    Undecoded,
    is_secret_name,
    masked,
    masked_value,
    redacted,
    redacted_key,
    redacted_text,
    secrets,
)

Secret = Annotated[str, Redact]


class Card(BaseModel):
    number: Secret
    owner: str = ""
    code: Annotated[int, Redact] = Field(default=0, alias="CODE")

    @computed_field(alias="label")
    def shown(self) -> Annotated[str, Redact]:
        return self.number


class Tree(BaseModel):
    word: Secret
    below: list[Tree] = []


@dataclass
class Wallet:
    cards: list[Card]
    pin: Annotated[int | None, Redact()] = None


class Known(TypedDict):
    plain: str
    hidden: Secret


class Named(BaseModel):
    value: Secret = Field(validation_alias=AliasChoices("first", "second"), serialization_alias="third")


class Cards(RootModel[list[Card]]): ...


CARD = (("number",), ("code",), ("CODE",))
OUT = (*CARD, ("shown",), ("label",))


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        (Secret, {()}),
        (Annotated[Card, Redact], {()}),
        (Secret | None, {()}),
        (str, set()),
        (list[Secret], {("*",)}),
        (tuple[int, Secret], {("*",)}),
        (dict[str, Secret], {("*",)}),
        (dict[Secret, int], {()}),
        (Card, set(OUT)),
        (Card | int | None, set(OUT)),
        (Cards, {("*", *path) for path in OUT}),
        (Known, {("hidden",)}),
        (Wallet, {("cards", "*", *path) for path in OUT} | {("pin",)}),
        (Named, {(name,) for name in ("value", "first", "second", "third")}),
        (Tree, {("**", "word")}),
        (dict[str, list[Tree]], {("*", "*", "**", "word")}),
    ],
)
def test_marks_in_a_type_are_found_as_paths(kind: Any, paths: set[tuple[str, ...]]) -> None:
    assert set(paths_in(TypeAdapter(kind).core_schema)) == paths
    assert set(result_paths(kind)) == paths


def test_a_mark_in_a_return_type_that_pydantic_cannot_describe_masks_the_whole_result() -> None:
    class Odd: ...

    assert result_paths(tuple[Odd, Secret]) == ((),)
    assert result_paths(AsyncIterator[Odd]) == ()
    assert result_paths(object) == ()


def test_the_redaction_of_a_task_comes_from_its_parameters_and_its_return_type() -> None:
    app = App()

    @app.task(name="pay")
    def pay(card: Card, note: str, key: Secret, job: Job) -> Annotated[str, Redact]: ...  # type: ignore[empty-body]

    found = app.tasks["pay"].spec.redaction
    assert set(found.args) == {("key",), *(("card", *path) for path in OUT)}
    assert found.result == ((),)
    assert Redaction.of_json(json.loads(json.dumps(found.as_json()))) == found


def test_the_redaction_of_a_chunked_task_is_that_of_its_items() -> None:
    app = App()

    @app.task(name="many", chunk=10)
    def many(cards: list[Wallet]) -> list[Annotated[str, Redact]]: ...  # type: ignore[empty-body]

    found = app.tasks["many"].spec.redaction
    assert ("pin",) in found.args
    assert found.result == ((),)


def test_a_marked_argument_reaches_its_handler_unchanged() -> None:
    app = App()

    @app.task(name="pay")
    def pay(card: Card, key: Secret) -> None: ...

    spec = app.tasks["pay"].spec
    text = spec.encode((), {"card": Card(number="4711", CODE=1), "key": "abc"})
    assert spec.decode(text) == {"card": Card(number="4711", CODE=1), "key": "abc"}


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (None, NOTHING), ({}, NOTHING), ([], EVERYTHING), ("x", EVERYTHING), ({"args": 7}, EVERYTHING),
        ({"args": [["a", 1]]}, Redaction((("a", "1"),))), ({"args": [7]}, EVERYTHING),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_be_read_masks_everything(stored: Any, found: Redaction) -> None:
    assert Redaction.of_json(stored) == found


# ------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("value", "paths", "shown"),
    [
        ({"a": 1, "b": [1, 2]}, (("b",),), {"a": 1, "b": MASK}),
        ({"a": {"b": 1, "c": 2}}, (("a", "b"),), {"a": {"b": MASK, "c": 2}}),
        ({"a": [{"b": 1}, {"b": None}, {}]}, (("a", "*", "b"),), {"a": [{"b": MASK}, {"b": None}, {}]}),
        ({"a": {"x": 1, "y": {"z": 2}}}, (("a", "*"),), {"a": {"x": MASK, "y": MASK}}),
        ({"w": 1, "n": [{"w": 2, "n": []}]}, (("**", "w"),), {"w": MASK, "n": [{"w": MASK, "n": []}]}),
        ({"a": 1}, ((),), MASK),
        (None, ((),), None),
        ({"a": 1}, (("b",),), {"a": 1}),
        ({"user": {"Password": "x", "accessToken": "y", "max_tokens": 3}, "api-key": [1]}, (),
         {"user": {"Password": MASK, "accessToken": MASK, "max_tokens": 3}, "api-key": MASK}),
    ],
)  # fmt: skip
def test_values_at_a_path_or_under_a_secret_name_are_masked(value: Any, paths: Any, shown: Any) -> None:
    before = json.dumps(value)
    assert redacted(value, paths) == shown
    assert json.dumps(value) == before


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "dbPassword", "client-secret", "Set Cookie", "api  key", "x_api_key", "CVV"],
)
def test_these_names_are_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["passwords_changed", "tokens", "token_count", "secretary", "key", "", "card"]
)
def test_these_names_are_not_secret(name: str) -> None:
    assert not is_secret_name(name)


def test_a_document_that_cannot_be_decoded_is_masked_as_a_whole_if_it_can_contain_a_secret() -> None:
    assert redacted_text('{"n": 1', (("n",),)) == MASK
    assert redacted_text('{"dbPassword": 1', ()) == MASK
    assert redacted_text("api  key: 1", ()) == MASK
    assert redacted_text("Private-Key: 1", ()) == MASK
    assert redacted_text('{"n": 1', ()) == '{"n": 1'
    for mask in (redacted, lambda value: masked_value(value, frozenset())):
        assert mask(Undecoded('{"api key": 1')) == MASK
        assert mask(Undecoded('{"n": 1')) == '{"n": 1'
        assert mask("the api key is on the table") == "the api key is on the table"


def test_the_texts_of_a_document_that_cannot_be_decoded_are_masked_in_errors_if_it_can_contain_a_secret() -> (
    None
):
    deep = Undecoded('{"key": "hunter2-\\u00e9", "n": ' + "9" * 5000 + "}")
    assert secrets(deep, (("key",),)) == {"hunter2-é"}
    assert secrets(deep) == frozenset()
    assert secrets(Undecoded('{"password": "hunter2"')) == {"password", "hunter2"}


def test_a_value_that_is_too_deep_is_masked_as_a_whole() -> None:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    assert redacted(value, (("a",),)) == MASK


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot log in with 'hunter2-abc'", f"cannot log in with '{MASK}'"),
        ("hunter2-abc and hunter2-abc", f"{MASK} and {MASK}"),
        ("pin 4711, not 47110", f"pin {MASK}, not 47110"),
        ("7 of 7", "7 of 7"),
        (r"got 'line\nsecond \'quoted\''", f"got '{MASK}'"),
        ('{"a": "line\\nsecond \'quoted\'"}', f'{{"a": "{MASK}"}}'),
        ("input_value='0123456789abcdefghijkl...ABCDEFGHIJKLMNOP'", f"input_value='{MASK}...{MASK}'"),
    ],
)  # fmt: skip
def test_secret_values_are_masked_in_a_text(text: str, shown: str) -> None:
    values = [
        "hunter2-abc",
        "4711",
        "line\nsecond 'quoted'",
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP",
    ]
    assert masked(text, values) == shown


def test_the_secret_values_of_arguments_are_their_texts_of_four_characters_or_more() -> None:
    value = {
        "a": ["abcd", 12345, True, None, "x"],
        "b": {"deep": {"word": "hidden"}},
        "token": {"a": "bearer"},
        "c": "plain",
    }
    assert secrets(value, (("a",), ("b", "deep"))) == {"abcd", "12345", "hidden", "bearer"}


@given(st.text(min_size=4, max_size=80), st.text(max_size=30), st.text(max_size=30))
def test_no_secret_value_of_eight_characters_or_more_stays_in_a_text(
    value: str, before: str, after: str
) -> None:
    if len(value) < 8:
        return
    for form in (value, repr(value), json.dumps(value)):
        shown = masked(before + form + after, [value])
        assert value not in shown or value in MASK or value in before + after


def test_masked_values_keep_their_shape() -> None:
    value = {"a": ["x hunter2-abc", 12345, 1.5, None], "password": "short"}
    assert masked_value(value, frozenset({"hunter2-abc", "12345"})) == {
        "a": [f"x {MASK}", MASK, 1.5, None],
        "password": MASK,
    }


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("mine", "mine"),
        (None, None),
        ('pgq:args:{"a": "s", "b": 1}', f'pgq:args:{{"a": "{MASK}", "b": 1}}'),
        ('pgq:by:{"a": "s"}@19/60', f'pgq:by:{{"a": "{MASK}"}}@19/60'),
        ('pgq:by:{"b": "s"}@19/60', 'pgq:by:{"b": "s"}@19/60'),
        ('pgq:by:{"a": ', f"pgq:by:{MASK}"),
    ],
)
def test_a_key_that_was_derived_from_arguments_is_masked(key: str | None, shown: str | None) -> None:
    assert redacted_key(key, (("a",),)) == shown


def test_the_code_of_the_page_runs_and_the_page_lists_each_secret_name() -> None:
    page = (Path(__file__).parents[2] / "docs/redaction.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "page", "exec", dont_inherit=True), namespace)
    found = namespace["app"].tasks["page.pay"].spec.redaction
    assert set(found.args) == {("card", "number"), ("key",)}
    assert found.result == ((),)
    assert [name for name in NAMES if f"`{name}`" not in page] == []


def test_everything_is_secret_in_jobs_of_a_task_whose_types_are_not_defined() -> None:
    class Half(BaseModel):
        other: Missing  # type: ignore[name-defined]  # noqa: F821

    def work(half) -> None: ...  # type: ignore[no-untyped-def]

    work.__annotations__["half"] = Half
    app = App()
    app.task(name="work")(work)
    assert app.tasks["work"].spec.redaction == EVERYTHING
