"""`headrace policy init`: what it writes is a policy without problems, whose cases pass."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from headrace.ext_proc.cli.policy import app
from headrace.ext_proc.cli.policy.writing import Answers, Identity, Pii, cases, policy
from headrace.ext_proc.cli.test.running import run
from headrace.ext_proc.engine.key_files import write_keys
from headrace.ext_proc.engine.policy.lines import read
from headrace.ext_proc.engine.policy.offline import compiled
from tests.cli.command import headrace

ONE = {"standard": "http://127.0.0.1:9001"}
TWO = {**ONE, "large": "http://127.0.0.1:9002"}
runner = CliRunner()


@pytest.mark.parametrize("pii", ["replace", "block", "report", "none"])
@pytest.mark.parametrize(("upstreams", "usd", "identity"), [(ONE, "", "headers"), (TWO, "12.50", "keys")], ids=["small", "large"])
async def test_what_it_writes_is_right(tmp_path: Path, upstreams: dict[str, str], usd: str, identity: Identity, pii: Pii) -> None:
    given = Answers(upstreams, 'my "model"', priced=False, identity=identity, usd=usd, pii=pii)
    written = policy(given).replace("  - pii: {", "  - pii: {model: none, ")  # a language model takes seconds to load
    (tmp_path / "p.yaml").write_text(written)
    (tmp_path / "p.test.yaml").write_text(cases(given))
    write_keys(tmp_path / "keys.yaml", ())
    (tmp_path / "headrace.pepper").write_text("ab" * 32)
    found = compiled(tmp_path / "p.yaml")
    assert not isinstance(found, Exception), found
    result = await run(tmp_path / "p.test.yaml")
    assert [problem for case in result.cases for problem in case.problems] == []
    assert len(result.cases) == 2 + (upstreams is TWO) + (pii != "none")


def test_it_asks_for_what_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    done = runner.invoke(app, ["init", str(file), "--pii", "none"], input="a=http://a:1 b=http://b:1\ngpt-4o\nheaders\n0\n")
    assert done.exit_code == 0, done.output
    assert done.output.count("?") == 0
    written = file.read_text()
    assert "price: auto" in written
    assert "budgets" not in written
    assert not isinstance(compiled(file), Exception)


def test_what_it_says_is_next_comes_next(tmp_path: Path) -> None:
    """A policy for keys has none before one is made."""
    options = ["--upstream", "a=http://a:1", "--model", "gpt-4o", "--identity", "keys", "--usd", "5", "--pii", "none"]
    done = headrace("policy", "init", "p.yaml", *options, cwd=tmp_path)
    (said,) = (line.removeprefix("next: ") for line in done.stdout.splitlines() if line.startswith("next: "))
    for command in said.split(", then "):
        program, *arguments = command.split()
        done = headrace(*arguments, cwd=tmp_path)
        assert (program, done.returncode) == ("headrace", 0), done.stderr


def test_the_schema_that_it_names_takes_what_it_writes(tmp_path: Path) -> None:
    done = runner.invoke(app, ["init", str(tmp_path / "p.yaml"), "--pii", "block"], input="\n" * 4)
    assert done.exit_code == 0, done.output
    named = (tmp_path / "p.yaml").read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((tmp_path / named).read_text())
    jsonschema.Draft202012Validator(schema).validate(read(tmp_path / "p.yaml").value)


WRONG = [
    (["--upstream", "x"], "'x' is not like standard="),
    (["--identity", "magic"], "'magic' is none of headers, keys"),
    (["--usd", "-1"], "'-1' is no amount in USD"),
    (["--usd", "lots"], "'lots' is no amount in USD"),
    (["--pii", "eat"], "'eat' is none of replace, block, report, none"),
]


@pytest.mark.parametrize(("options", "says"), WRONG, ids=[says for _, says in WRONG])
def test_what_is_no_answer_is_said(tmp_path: Path, options: list[str], says: str) -> None:
    done = runner.invoke(app, ["init", str(tmp_path / "p.yaml"), *options], input="\n" * 5)
    assert done.exit_code == 2
    assert says in " ".join(done.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "p.test.yaml").write_text("mine")
    done = runner.invoke(app, ["init", str(tmp_path / "p.yaml")], input="\n" * 5)
    assert done.exit_code == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
