"""Keys: their secrets, the pepper, and the file they are kept in."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.principal import is_part
from headrace.ext_proc.engine.key_files import read_keys, write_keys
from headrace.ext_proc.engine.keys import REMEMBERED, KeyRecord, PepperError, digest, load_pepper, make_pepper, new_id, new_secret
from headrace.ext_proc.engine.policy.problems import PolicyErrors

PEPPER = b"p" * 32


def key(number: int = 1, **members: Any) -> KeyRecord:
    return KeyRecord(**({"id": f"key_{number}", "digest": digest(PEPPER, str(number))} | members))


def problems(path: Path) -> list[str]:
    with pytest.raises(PolicyErrors) as raised:
        read_keys(path)
    return [str(problem).replace(f"{path}", "keys.yaml") for problem in raised.value.problems]


def test_secrets_and_ids_are_all_different() -> None:
    assert len({new_secret() for _ in range(1000)}) == len({new_id() for _ in range(1000)}) == 1000
    assert new_secret().startswith("hr-") and len(new_secret()) == 46


def test_a_digest_is_an_hmac_under_the_pepper() -> None:
    assert digest(PEPPER, "a") == hmac.new(PEPPER, b"a", hashlib.sha256).hexdigest()
    assert digest(PEPPER, "a") != digest(b"q" * 32, "a")


def test_a_digest_is_the_same_when_it_is_remembered_and_when_more_came_than_are() -> None:
    shown = [f"hr-{number}" for number in range(REMEMBERED + 1)]
    first = [digest(PEPPER, secret) for secret in shown]
    assert [digest(PEPPER, secret) for secret in shown] == first
    assert first == [hmac.new(PEPPER, secret.encode(), hashlib.sha256).hexdigest() for secret in shown]


class TestPepper:
    def test_is_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "headrace.pepper"
        make_pepper(path)
        first = load_pepper(path, {})
        make_pepper(path)
        assert load_pepper(path, {}) == first and len(first) == 64
        assert path.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [path]

    def test_of_the_environment_comes_first(self, tmp_path: Path) -> None:
        make_pepper(tmp_path / "headrace.pepper")
        assert load_pepper(tmp_path / "headrace.pepper", {"HEADRACE_PEPPER": "e" * 32}) == b"e" * 32

    @pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\xff" * 64])
    def test_that_protects_nothing_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "headrace.pepper").write_bytes(content)
        with pytest.raises(PepperError):
            load_pepper(tmp_path / "headrace.pepper", {})

    def test_that_is_missing_is_an_error_that_says_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(PepperError, match="set HEADRACE_PEPPER, or make a first key with `headrace keys create`"):
            load_pepper(tmp_path / "headrace.pepper", {})


class TestFile:
    def test_gives_back_what_was_written(self, tmp_path: Path) -> None:
        keys = (
            key(1, team='quote " and \\ and ☃', models=("gpt-*",), expires=datetime(2030, 1, 1, tzinfo=UTC)),
            key(2, disabled=True, organisation="acme", app="a", user="b", created=datetime(2026, 1, 1, tzinfo=UTC)),
        )
        write_keys(tmp_path / "keys.yaml", keys)
        assert read_keys(tmp_path / "keys.yaml") == keys

    def test_may_be_empty(self, tmp_path: Path) -> None:
        write_keys(tmp_path / "keys.yaml", ())
        assert read_keys(tmp_path / "keys.yaml") == ()

    def test_is_replaced_in_one_step_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.yaml"
        path.write_text("{keys: []}")
        old = path.stat().st_ino
        write_keys(path, (key(),))
        assert path.stat().st_ino != old and path.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [path]

    def test_stays_a_link_where_it_is_one(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "keys.yaml").symlink_to("real/keys.yaml")
        write_keys(tmp_path / "keys.yaml", (key(),))
        assert (tmp_path / "keys.yaml").is_symlink()
        assert read_keys(tmp_path / "real" / "keys.yaml") == (key(),)

    def test_written_by_hand_is_yaml(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.yaml"
        path.write_text(f"keys:  # ours\n  - id: a\n    digest: '{'0' * 64}'\n    expires: 2030-01-01T00:00:00Z\n")
        (found,) = read_keys(path)
        assert found.expires == datetime(2030, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("keys:\n- {id: a}\n", ["keys.yaml:2: keys[0]: 'digest' is missing"]),
            ("keys:\n- {id: a b, digest: x}\n", [
                "keys.yaml:2: keys[0].digest: 'x' is not an HMAC-SHA-256 of 64 hexadecimal digits",
                "keys.yaml:2: keys[0].id: 'a b' is not an id of 1 to 64 characters A-Z a-z 0-9 _ . -",
            ]),
            ('{"keys": [\n{"id": "a", "id": "b"}]}', [
                "keys.yaml:2: key 'id' is given twice; first on line 2",
            ]),
            ("keys: [\n{}", ["keys.yaml:2: not well-formed YAML: expected ',' or ']', but got '<stream end>'"]),
            ("secrets: []\n", ["keys.yaml:1: secrets: unknown key; there is keys"]),
        ],
    )  # fmt: skip
    def test_with_mistakes_says_where(self, tmp_path: Path, text: str, expected: list[str]) -> None:
        (tmp_path / "keys.yaml").write_text(text)
        assert problems(tmp_path / "keys.yaml") == expected

    @pytest.mark.parametrize("members", [
        {"team": "a{b"}, {"user": ""}, {"organisation": " x"}, {"app": "a\nb"}, {"expires": "soon"}, {"expires": "2030-01-01"},
        {"models": "gpt"}, {"models": [""]}, {"disabled": "no"}, {"secret": "x"},
    ])  # fmt: skip
    def test_with_a_key_that_is_none_admits_nobody(self, tmp_path: Path, members: dict[str, Any]) -> None:
        record = {"id": "a", "digest": "0" * 64} | members
        (tmp_path / "keys.yaml").write_text(json.dumps({"keys": [record]}))
        assert len(problems(tmp_path / "keys.yaml")) == 1

    @pytest.mark.parametrize("name", ["id", "digest"])
    def test_with_a_key_twice_says_which(self, tmp_path: Path, name: str) -> None:
        write_keys(tmp_path / "keys.yaml", (key(1), key(2), key(3, **{name: getattr(key(1), name)})))
        assert problems(tmp_path / "keys.yaml") == [
            f"keys.yaml:4: keys[2].{name}: keys[0] has the same {name}; each key has its own"
        ]

    def test_may_hold_ten_thousand_keys(self, tmp_path: Path) -> None:
        keys = tuple(key(number) for number in range(10_000))
        write_keys(tmp_path / "keys.yaml", keys)
        assert read_keys(tmp_path / "keys.yaml") == keys

    def test_that_is_large_and_not_as_written_here_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "keys.yaml").write_text("keys: []\n" + "# comment\n" * 200_000)
        assert problems(tmp_path / "keys.yaml") == [
            "keys.yaml: is larger than 1,048,576 bytes and not as `headrace keys` writes it"
        ]


@settings(deadline=None)
@given(st.text(max_size=300))
def test_a_part_of_a_principal_fits_into_a_store_key_and_a_log_line(value: str) -> None:
    if is_part(value):
        assert 0 < len(value) <= 256
        assert value.isprintable() and not set(value) & set("{}\n\r\0") and value == value.strip()
        value.encode()
