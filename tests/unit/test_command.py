"""The console script around its commands."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pgqueue.cli import main


class Interrupting:
    """As if Ctrl-C came while the commands are imported, which takes the better part of a short command."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "pgqueue.cli.commands":
            raise KeyboardInterrupt


def test_ctrl_c_before_a_command_has_begun_is_no_traceback(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "pgqueue.cli.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, *capsys.readouterr()) == (130, "", "")
