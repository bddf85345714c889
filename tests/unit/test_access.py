"""Who is served by the HTTP API and the web page: tokens, roles, the lock-out of guesses, other web sites and other host names."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from pgqueue.errors import (
    AccessError,
    ForeignRequestError,
    InvalidNameError,
    InvalidSettingError,
    NotAllowedError,
    NotAuthenticatedError,
    TooManyGuessesError,
    UnknownHostError,
)
from pgqueue.ui.access import access as access_module
from pgqueue.ui.access import guesses as limits
from pgqueue.ui.access.access import Access, http_answer
from pgqueue.ui.access.counted import counted
from pgqueue.ui.access.guesses import Guesses
from pgqueue.ui.access.origins import host_name, is_loopback
from pgqueue.ui.access.tokens import (
    Token,
    TokenFile,
    append,
    digest_of,
    find,
    new_token,
    read_tokens,
    written,
)
from pgqueue.ui.access.who import Role, Who, fits

ADA = Who("ada", Role.operator, ("mail.*",), ("*",))


def scope(method="GET", client="127.0.0.1", host="localhost:8000", **headers):
    """Returns what an ASGI server passes. ``_`` in the name of a header stands for ``-``."""
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "method": method,
        "client": None if client is None else (client, 4000),
        "headers": [
            (name.encode(), value.encode("latin-1")) for name, value in named.items() if value is not None
        ],
    }


def admit(access, **request):
    return asyncio.run(access.admit(scope(**request)))


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def token():
    return new_token()


@pytest.fixture
def access(token):
    return Access([Token(digest_of(token), ADA)], hosts=["jobs.example.com", "*.shop.test"])


# ---------------------------------------------------------------- tokens


def test_a_token_is_accepted_as_bearer_and_as_the_password_of_its_name(access, token):
    assert admit(access, authorization=f"Bearer {token}") == ADA
    assert admit(access, authorization=f"bearer   {token}") == ADA
    assert admit(access, authorization=basic(f"ada:{token}")) == ADA
    assert (
        admit(access, client="203.0.113.9", host="jobs.example.com", authorization=f"Bearer {token}") == ADA
    )


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer x", "Bearer " + "x" * 100_000, "Basic", "Basic !!", "Basic " + "eA" * 5000,
     basic("ada"), basic("ada:"), basic("ada:x"), basic(":"), "Digest x", "Bearer \xff\xfe", "Bearer é", "\t", "Negotiate"],
)  # fmt: skip
def test_a_request_with_no_token_or_a_wrong_one_is_refused(access, authorization):
    with pytest.raises(NotAuthenticatedError) as refused:
        admit(access, authorization=authorization)
    code, headers = http_answer(refused.value)
    assert code == 401
    assert headers["WWW-Authenticate"].startswith("Basic ")


def test_a_token_under_the_name_of_another_caller_is_refused(access, token):
    with pytest.raises(NotAuthenticatedError):
        admit(access, authorization=basic(f"bob:{token}"))


def test_a_request_with_two_headers_authorization_is_refused(access, token):
    twice = scope(authorization=f"Bearer {token}")
    twice["headers"].append((b"Authorization", f"Bearer {token}".encode()))
    with pytest.raises(NotAuthenticatedError):
        asyncio.run(access.admit(twice))


def test_only_the_hash_of_a_token_is_stored(token):
    text = written(token, ADA)
    assert token not in text
    assert read_tokens(text) == (Token(digest_of(token), ADA),)
    assert len({new_token() for _ in range(100)}) == 100


def test_an_expired_token_is_refused_and_every_token_is_compared(token):
    now = datetime.now(UTC)
    stored = [Token(digest_of(token), ADA, now), Token("0" * 64, Who("b"))]
    assert find(token, stored, now - timedelta(seconds=1)) is stored[0]
    assert find(token, stored, now) is None


def test_the_file_of_tokens_is_read_again_when_it_changes(tmp_path, token):
    path = tmp_path / "tokens.toml"
    append(path, token, ADA, datetime(2999, 1, 1, tzinfo=UTC))
    assert path.stat().st_mode & 0o077 == 0
    access = Access(TokenFile(path).tokens)
    assert admit(access, authorization=f"Bearer {token}") == ADA
    append(path, other := new_token(), Who("bob"))
    with pytest.raises(InvalidSettingError, match=r"'bob' has a token in .* already"):
        append(path, new_token(), Who("bob"))
    assert admit(access, authorization=f"Bearer {other}").name == "bob"
    path.write_text(written(other, Who("bob")))
    with pytest.raises(NotAuthenticatedError):
        admit(access, authorization=f"Bearer {token}")


@pytest.mark.parametrize("ruin", ["missing", "not TOML", "world-writable", "too large", "binary", "a folder"])
def test_no_token_is_accepted_while_the_file_is_missing_or_wrong(tmp_path, token, ruin):
    path = tmp_path / "tokens.toml"
    append(path, token, ADA)
    access = Access(TokenFile(path).tokens)
    assert admit(access, authorization=f"Bearer {token}") == ADA
    text = path.read_text()
    if ruin == "missing":
        path.unlink()
    elif ruin == "world-writable":
        path.write_text(text + "\n")
        path.chmod(0o666)
    elif ruin == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {"not TOML": b"[[token", "too large": text.encode() + b"#" * 1_000_001, "binary": b"\xff"}[ruin]
        )
    for _ in range(2):
        with pytest.raises(InvalidSettingError, match="tokens"):
            admit(access, authorization=f"Bearer {token}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token = 1", "token as 1"),
        ("tokens = []", "did you mean token"),
        ("[[token]]\nname='a'", "no SHA-256"),
        ("[[token]]\nname='a'\nsha256='x'", "no SHA-256"),
        (f"[[token]]\nsha256='{'0' * 64}'", "name is None"),
        (f"[[token]]\nname='a\\u001b'\nsha256='{'0' * 64}'", "name is"),
        (f"[[token]]\nname='a'\nsha256='{'0' * 64}'\nrole='admn'", "did you mean admin"),
        (f"[[token]]\nname='a'\nsha256='{'0' * 64}'\nrols='admin'", "did you mean role"),
        (f"[[token]]\nname='a'\nsha256='{'0' * 64}'\ntasks='mail'", "give a list"),
        (f"[[token]]\nname='a'\nsha256='{'0' * 64}'\ntasks=['']", "pattern ''"),
        (f"[[token]]\nname='a'\nsha256='{'0' * 64}'\nqueues=[1]", "pattern 1"),
        (f"[[token]]\nname='a'\nsha256='{'0' * 64}'\nexpires=2027-01-01", "expires of token 1"),
        (f"[[token]]\nname='a'\nsha256='{'0' * 64}'\n" * 2, "same name"),
    ],
)
def test_a_wrong_file_of_tokens_is_refused_with_the_reason(text, said):
    with pytest.raises(InvalidSettingError) as refused:
        read_tokens(
            text.replace("\\u001b", "\x1b")
            if "u001b" not in text
            else text.replace("'a\\u001b'", '"a\\u001b"')
        )
    assert said in str(refused.value)


def test_a_pattern_that_fits_no_name_is_refused():
    with pytest.raises(InvalidNameError):
        Who("a", tasks=("mail send",))


# ---------------------------------------------------------------- roles


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("mail.send", "mail.*", True), ("mail", "mail.*", False), ("mailxsend", "mail.*", False), ("a", "*", True), ("", "*", True),
        ("mail", "mail", True), ("mail2", "mail", False), ("abc", "a*c", True), ("ac", "a*c", True), ("a", "a*a", False),
        ("axbxc", "a*b*c", True), ("axc", "a*b*c", False), ("a[b]", "a[b]", True), ("ab", "a?", False),
    ],
)  # fmt: skip
def test_a_star_stands_for_any_text_and_other_characters_for_themselves(name, pattern, expected):
    assert fits(name, [pattern]) is expected


def test_a_pattern_of_many_stars_is_compared_quickly():
    assert not fits("a" * 127, ["*a" * 60 + "*b"])


def test_each_role_may_do_what_the_roles_before_it_may_do():
    ADA.require(Role.viewer, "read")
    ADA.require(Role.operator, "cancel jobs")
    with pytest.raises(NotAllowedError, match="ada may not pause queues"):
        ADA.require(Role.admin, "pause queues")
    assert ADA.may_enqueue("mail.send")
    assert not ADA.may_enqueue("pay")
    assert not Who("b").may_enqueue("mail.send"), "no caller may enqueue unless its tasks say so"
    assert not Who("b", queues=()).may_see("mail")


# ---------------------------------------------------------------- without tokens


def test_without_tokens_only_programs_on_this_machine_are_served_and_only_as_viewers():
    open_access = Access(hosts=["jobs.example.com"])
    for client, host in (
        ("127.0.0.1", "localhost"),
        ("::1", "[::1]:8000"),
        ("127.9.9.9", "127.0.0.1:80"),
        ("::ffff:127.0.0.1", "LOCALHOST:1"),
    ):
        who = admit(open_access, client=client, host=host)
        assert (who.role, who.tasks) == (Role.viewer, ())
    for request in (
        {"client": "10.0.0.1"},
        {"client": None},
        {"client": ""},
        {"host": "jobs.example.com"},
        {"x_forwarded_for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"x_real_ip": "127.0.0.1"},
        {"via": "1.1 proxy"},
    ):
        with pytest.raises(NotAuthenticatedError, match="no tokens"):
            admit(open_access, **request)
    with pytest.raises(NotAuthenticatedError):
        admit(Access(anonymous=None))


def test_an_empty_file_of_tokens_serves_nobody(tmp_path):
    (tmp_path / "tokens.toml").write_text("")
    with pytest.raises(NotAuthenticatedError):
        admit(Access(TokenFile(tmp_path / "tokens.toml").tokens))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "jobs.example.com"])
def test_a_server_without_tokens_does_not_listen_where_other_machines_reach_it(access, host):
    with pytest.raises(InvalidSettingError, match="Without tokens"):
        Access().check_bind(host)
    access.check_bind(host)
    for here in ("127.0.0.1", "::1", "localhost", "[::1]"):
        Access().check_bind(here)


def test_a_server_without_tokens_is_not_put_behind_a_proxy(access):
    with pytest.raises(InvalidSettingError, match="behind a proxy"):
        Access().check_bind("127.0.0.1", "/jobs")
    with pytest.raises(InvalidSettingError, match="behind a proxy"):
        Access(hosts=["jobs.example.com"]).check_bind("127.0.0.1")
    access.check_bind("127.0.0.1", "/jobs")


# ---------------------------------------------------------------- the host app's own authentication


def test_the_host_app_says_who_sends_the_request_and_tokens_are_asked_next(token):
    def by_cookie(scope):
        return Who("eve", Role.admin) if any(name == b"cookie" for name, _ in scope["headers"]) else None

    async def later(scope):
        return by_cookie(scope)

    for authenticate in (by_cookie, later):
        both = Access([Token(digest_of(token), ADA)], authenticate=authenticate)
        assert admit(both, cookie="session=1").role is Role.admin
        assert admit(both, authorization=f"Bearer {token}") == ADA
        with pytest.raises(NotAuthenticatedError):
            admit(Access(authenticate=authenticate))


def test_whatever_the_host_app_raises_or_returns_nobody_is_served_by_mistake():
    def broken(scope):
        raise KeyError("x")

    with pytest.raises(KeyError):
        admit(Access(authenticate=broken))
    with pytest.raises(InvalidSettingError, match="returned a bool"):
        admit(Access(authenticate=lambda scope: True))


# ---------------------------------------------------------------- guesses


def test_an_address_is_locked_out_after_ten_wrong_tokens_and_others_are_not(access, token, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(access_module, "monotonic", lambda: now[0])
    for _ in range(10):
        with pytest.raises(NotAuthenticatedError):
            admit(access, authorization="Bearer wrong")
    with pytest.raises(TooManyGuessesError) as refused:
        admit(access, authorization=f"Bearer {token}")
    code, headers = http_answer(refused.value)
    assert (code, headers) == (429, {"Retry-After": "60"})
    assert admit(access, client="127.0.0.2", authorization=f"Bearer {token}") == ADA
    now[0] += 60.0
    assert admit(access, authorization=f"Bearer {token}") == ADA


def test_requests_without_a_token_do_not_count_as_guesses(access, token):
    for _ in range(30):
        with pytest.raises(NotAuthenticatedError):
            admit(access)
    assert admit(access, authorization=f"Bearer {token}") == ADA


def test_the_memory_for_guesses_is_bounded_and_one_ipv6_network_counts_as_one_address():
    guesses = Guesses()
    for number in range(limits.MOST_ADDRESSES * 2):
        guesses.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(guesses) == limits.MOST_ADDRESSES
    for number in range(10):
        guesses.note(f"2001:db8::{number:x}", 1.0)
    assert guesses.locked_for("2001:db8::ffff", 2.0) == 59.0
    assert guesses.locked_for("2001:db8:0:1::1", 2.0) == 0.0


# ---------------------------------------------------------------- other host names, other web sites


@pytest.mark.parametrize(
    "host", [None, "", "evil.test", "localhost.evil.test", "evil.test:80", "a b", "localhost:x", "[::1", "jobs.example.com@evil.test",
             "localhost, evil.test", "shop.test", ".shop.test", "1.2.3.4", "\xff"]
)  # fmt: skip
def test_a_request_for_another_host_name_is_refused(access, token, host):
    with pytest.raises(UnknownHostError) as refused:
        admit(access, host=host, authorization=f"Bearer {token}")
    assert http_answer(refused.value)[0] == 421


@pytest.mark.parametrize(
    "host",
    ["jobs.example.com", "JOBS.example.com:443", "a.shop.test", "localhost", "[::1]:80", "jobs.example.com."],
)
def test_a_request_for_an_allowed_host_name_is_served(access, token, host):
    assert admit(access, host=host, authorization=f"Bearer {token}") == ADA


FOREIGN = [
    {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"sec_fetch_site": ""}, {"sec_fetch_site": "none, cross-site"},
    {"origin": "https://evil.test"}, {"origin": "null"}, {"origin": ""}, {"origin": "http://[bad"}, {"origin": "http://localhost:9"},
    {"origin": "http://localhost:8000.evil.test"}, {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "X"])
def test_a_page_of_another_site_cannot_make_a_browser_change_anything(access, token, headers, method):
    with pytest.raises(ForeignRequestError) as refused:
        admit(access, method=method, authorization=f"Bearer {token}", **headers)
    assert http_answer(refused.value)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}, {"origin": "http://localhost:8000"}],
)
def test_pages_of_this_server_and_programs_can_change_jobs(access, token, headers):
    assert admit(access, method="POST", authorization=f"Bearer {token}", **headers) == ADA


def test_a_link_on_another_site_opens_a_page_but_its_scripts_cannot_read(access, token):
    request = {"authorization": f"Bearer {token}", "sec_fetch_site": "cross-site"}
    assert admit(access, sec_fetch_mode="navigate", **request) == ADA
    for mode in ("cors", "no-cors", None):
        with pytest.raises(ForeignRequestError):
            admit(access, sec_fetch_mode=mode, **request)


def test_a_trusted_site_can_send_requests(token):
    trusting = Access([Token(digest_of(token), ADA)], origins=["https://intranet.example.com"])
    request = {"method": "POST", "authorization": f"Bearer {token}", "sec_fetch_site": "cross-site"}
    assert admit(trusting, origin="https://intranet.example.com", **request) == ADA
    with pytest.raises(ForeignRequestError):
        admit(trusting, origin="https://intranet.example.com.evil.test", **request)


def test_host_names_and_loopback_addresses_are_recognized():
    assert [host_name(text) for text in ("A.b:1", "[::1]:2", "[::1]x", "a:b:c", "")] == [
        "a.b",
        "::1",
        "",
        "",
        "",
    ]
    assert [is_loopback(text) for text in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", "x")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_every_refusal_has_an_http_answer():
    kinds = AccessError.__subclasses__()
    assert len(kinds) == 5
    for kind in kinds:
        error = kind("x", do="y", seconds=1.0) if kind is TooManyGuessesError else kind("x")
        assert 400 <= http_answer(error)[0] < 500


def test_a_caller_that_has_nothing_open_is_forgotten():
    counts = Counter[str]()
    with counted(counts, "ann"), counted(counts, "ann"), counted(counts, "bob"):
        assert counts == {"ann": 2, "bob": 1}
    assert not list(counts)
