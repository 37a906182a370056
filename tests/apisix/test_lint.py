"""The Lua code is clean in luacheck's eyes: no globals, nothing unused, no line beyond 132."""

import shutil
import subprocess

import pytest

from tests.apisix.nginx import ROOT

LUACHECK = shutil.which("luacheck")
RULES = ("--std", "ngx_lua", "--no-self", "--max-line-length", "132", "--no-color")


@pytest.mark.skipif(LUACHECK is None, reason="not installed: luacheck (Debian package lua-check)")
def test_luacheck_finds_nothing() -> None:
    ran = subprocess.run([str(LUACHECK), str(ROOT / "apisix/lua"), *RULES], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
