"""What the service keeps where nobody has told it otherwise, and what it says where it cannot."""

from pathlib import Path

import pytest

from amplify_chat.database import database
from amplify_chat.secret import secret_key
from core.errors import ConfigurationError


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that nobody can make, not even root."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "var"


def test_a_secret_that_is_given_is_not_kept(closed: Path) -> None:
    assert secret_key("given", closed / "secret_key") == "given"


def test_a_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "var" / "secret_key"
    made = secret_key("", file)
    assert len(made) > 50 and secret_key("", file) == made
    assert file.stat().st_mode & 0o077 == 0


def test_without_a_place_the_variable_of_the_secret_is_named(closed: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^Set SECRET_KEY to a long random text: .* cannot be kept in "):
        secret_key("", closed / "secret_key")


def test_a_sqlite_file_gets_its_folder(tmp_path: Path) -> None:
    config = database(f"sqlite:///{tmp_path}/var/amplify.sqlite3")
    assert (tmp_path / "var").is_dir() and config["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_without_a_place_the_variable_of_the_database_is_named(closed: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^Set DATABASE_URL to postgres://.* cannot be kept in ") as error:
        database(f"sqlite:///{closed}/amplify.sqlite3")
    assert str(closed) in str(error.value)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, which nobody can write files into")
def test_a_folder_that_is_there_and_closed_is_no_place_either() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        database("sqlite:////proc/self/amplify.sqlite3")


def test_postgresql_needs_no_place() -> None:
    config = database("postgres://chat@127.0.0.1/chat")
    assert config["ENGINE"].endswith("postgresql") and not config.get("OPTIONS")
