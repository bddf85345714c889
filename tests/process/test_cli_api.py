"""``pgq api token``: the token is printed once, and its file contains only the SHA-256."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pgqueue.ui.access.tokens import TokenFile, find, read_tokens
from pgqueue.ui.access.who import Role, Who


def test_a_token_is_printed_once_and_its_hash_is_added_to_the_file(pgq, tmp_path):
    path = tmp_path / "tokens.toml"
    shop = pgq("api", "token", "--name", "shop", "--task", "mail.*", "--queue", "mail", "--file", str(path))
    boss = pgq("api", "token", "--name", "boss", "--role", "admin", "--expires", "90d", "--file", str(path))
    tokens = TokenFile(path).tokens()
    now = datetime.now(UTC)
    assert shop.out.strip() not in path.read_text() + shop.err
    assert find(shop.out.strip(), tokens, now).who == Who("shop", Role.viewer, ("mail.*",), ("mail",))
    assert find(boss.out.strip(), tokens, now).who.role is Role.admin
    assert find(boss.out.strip(), tokens, now + timedelta(days=91)) is None
    assert path.stat().st_mode & 0o077 == 0


def test_without_a_file_the_lines_for_it_are_printed_on_stderr(pgq):
    made = pgq("api", "token", "--name", "shop")
    assert made.out.strip() not in made.err
    lines = made.err.partition("\n\n")[0]
    assert find(made.out.strip(), read_tokens(lines), datetime.now(UTC)).who.name == "shop"


def test_a_name_that_is_taken_a_wrong_role_and_a_wrong_pattern_are_refused_and_nothing_is_written(
    pgq, tmp_path
):
    path = tmp_path / "tokens.toml"
    pgq("api", "token", "--name", "shop", "--file", str(path))
    before = path.read_bytes()
    for more, code, said in (
        (["--name", "shop"], 2, "has a token in"),
        (["--name", "a", "--role", "root"], 2, "use viewer, operator, admin"),
        (["--name", "a", "--task", "a b"], 2, "PGQ-405"),
        (["--name", ""], 2, "visible characters"),
        (["--name", "a", "--expires", "soon"], 2, "soon"),
    ):
        refused = pgq("api", "token", *more, "--file", str(path))
        assert (refused.code, said in refused.err, refused.out) == (code, True, ""), refused.err
    assert path.read_bytes() == before
