"""From claims to a user id. Of functions: their table is the contract with the platform (wire-protocol §2.2)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.identity import MAX_LENGTH, Naming, NoUserId, groups_of, without_prefix

COGNITO = Naming(prefix="Vandy")


@pytest.mark.parametrize(
    ("claims", "known", "user_id"),
    [
        ({"immutable_id": "007", "sub": "s", "username": "vandy_alice"}, True, "007"),
        ({"immutable_id": "", "sub": "s", "username": "vandy_alice"}, True, "s"),
        ({"sub": "s", "username": "vandy_alice"}, True, "s"),
        ({"sub": "s", "username": "vandy_alice"}, False, "alice"),
        ({"sub": "s", "username": "VANDY_alice@x.edu"}, False, "alice@x.edu"),
        ({"sub": "s", "username": "vandyke@x.edu"}, False, "vandyke@x.edu"),
        ({"sub": "s", "username": "vandy-alice"}, False, "vandy-alice"),
        ({"sub": "s", "username": "alice_vandy_"}, False, "alice_vandy_"),
        ({"sub": "s", "username": "vandy_vandy_alice"}, False, "vandy_alice"),
    ],
)
def test_the_platforms_rule(claims: dict[str, Any], known: bool, user_id: str) -> None:
    assert COGNITO.user_id(claims, sub_is_known=known) == user_id


def test_the_directory_is_asked_only_where_it_matters() -> None:
    assert COGNITO.asks_directory({"sub": "s", "username": "u"})
    assert not COGNITO.asks_directory({"immutable_id": "007", "sub": "s"})
    assert not Naming(claim="sub").asks_directory({"sub": "s"})


def test_another_issuers_claim() -> None:
    claims = {"sub": "s", "email": "alice@x.edu", "immutable_id": "007", "username": "u"}
    assert Naming(claim="email").user_id(claims, sub_is_known=True) == "alice@x.edu"
    with pytest.raises(NoUserId):
        Naming(claim="upn").user_id(claims)
    assert Naming(claim="email").user_id({**claims, "email_verified": True}) == "alice@x.edu"


@pytest.mark.parametrize("said", [False, "false"])
def test_an_address_that_is_not_verified_names_nobody(said: Any) -> None:
    with pytest.raises(NoUserId, match="verified"):
        Naming(claim="email").user_id({"sub": "s", "email": "alice@x.edu", "email_verified": said})


@pytest.mark.parametrize(
    "value",
    [
        None, "", 7, True, ["alice"], {"id": "alice"}, "a" * (MAX_LENGTH + 1), "alice#lab-7", "alice\n",
        "al\x00ice", "alice ", " alice", "al\u200bice", "\u202ealice", "al\ud800ice", "\uff41dmin", "a\u0301lice",
        "alice\u2028",
    ],
)  # fmt: skip
@pytest.mark.parametrize("claim", ["immutable_id", "username", "sub", "upn"])
def test_what_is_no_user_id(value: Any, claim: str) -> None:
    naming = Naming(claim="upn") if claim == "upn" else COGNITO
    falls_through = claim == "immutable_id" and not value
    with pytest.raises(NoUserId) as error:
        naming.user_id({claim: value}, sub_is_known=claim == "sub")
    assert "alice" not in str(error.value)
    assert falls_through or str(error.value).startswith("it")


def test_nothing_is_left_of_a_bare_prefix() -> None:
    with pytest.raises(NoUserId):
        COGNITO.user_id({"username": "vandy_"})


@given(st.text(), st.text(alphabet=st.characters(codec="ascii")))
def test_a_prefix_goes_only_with_its_underscore(name: str, prefix: str) -> None:
    kept = without_prefix(name, prefix)
    assert name.endswith(kept)
    gone = name[: len(name) - len(kept)]
    assert gone == "" or gone.lower() == f"{prefix}_".lower()


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        (["a", "b"], {"a", "b"}),
        ("a", {"a"}),
        (None, set()),
        ([], set()),
        (7, set()),
        ({"a": 1}, set()),
        (["a", 7, None, ["b"]], {"a"}),
    ],
)
def test_groups(value: Any, groups: set[str]) -> None:
    assert groups_of({"cognito:groups": value}, "cognito:groups") == groups
