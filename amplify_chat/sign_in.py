"""Whose tokens count and where browsers sign in, from the environment."""

from accounts.identity import Naming
from accounts.issuer import Issuer, cognito_issuer
from accounts.provider import Provider
from accounts.tokens import AccessTokens, Directory, Rules, Trusted, cognito_rules, oidc_rules
from amplify_chat.env import Env, EnvError
from core.http import HttpClient


class SignIn:
    """The sign-in services that are set up. Raises EnvError where half of what one needs is missing."""

    def __init__(self, env: Env, client: HttpClient, directory: Directory) -> None:
        _check(env)
        self._env = env
        self._client = client
        self._directory = directory
        self._cognito = self._cognito_issuer() if env.cognito_pool_id else None
        self._oidc = self._oidc_issuer() if env.oidc_issuer and not self._is_cognito(env.oidc_issuer) else None

    def access_tokens(self) -> AccessTokens | None:
        """The scheme for bearer tokens, or None where no issuer's count."""
        env = self._env
        trusted = []
        if self._cognito is not None:
            rules = cognito_rules(self._cognito.url, env.cognito_client_id)
            trusted.append(Trusted(issuer=self._cognito, rules=rules, naming=Naming(prefix=env.idp_prefix)))
        if self._oidc is not None and env.oidc_audience:
            rules = oidc_rules(self._oidc.url, env.oidc_audience)
            trusted.append(Trusted(issuer=self._oidc, rules=rules, naming=Naming(claim=env.oidc_user_claim)))
        return AccessTokens(trusted, self._directory) if trusted else None

    def provider(self) -> Provider | None:
        """Where browsers sign in; None where they do not."""
        env = self._env
        issuer = self._oidc or self._cognito
        if not env.oidc_client_id or issuer is None:
            return None
        is_cognito = issuer is self._cognito
        return Provider(
            issuer=issuer,
            client_id=env.oidc_client_id,
            directory=self._directory,
            naming=Naming(prefix=env.idp_prefix) if is_cognito else Naming(claim=env.oidc_user_claim),
            groups_claim=env.oidc_groups_claim or ("cognito:groups" if is_cognito else "groups"),
            staff_groups=frozenset(env.staff_groups),
            admin_groups=frozenset(env.admin_groups),
            id_rules=Rules(
                issuer=issuer.url, audience=env.oidc_client_id, exact={"token_use": "id"} if is_cognito else {}
            ),
            access_rules=cognito_rules(issuer.url, env.oidc_client_id) if is_cognito else None,
        )

    def _is_cognito(self, url: str) -> bool:
        return self._cognito is not None and self._cognito.url == url

    def _cognito_issuer(self) -> Issuer:
        url = cognito_issuer(self._env.cognito_pool_id)
        stand_in = self._env.aws_endpoint_url
        base = f"{stand_in}/{self._env.cognito_pool_id}" if stand_in else url
        return Issuer(url, client=self._client, reached_at=base, jwks_uri=f"{base}/.well-known/jwks.json")

    def _oidc_issuer(self) -> Issuer:
        return Issuer(self._env.oidc_issuer, client=self._client, algorithm=self._env.oidc_algorithm)


def _check(env: Env) -> None:
    if bool(env.cognito_pool_id) != bool(env.cognito_client_id):
        missing = "COGNITO_CLIENT_ID" if env.cognito_pool_id else "COGNITO_USER_POOL_ID"
        raise EnvError(f"{missing} is missing: access tokens of Cognito are checked by the pool and the app client.")
    if env.oidc_audience and not env.oidc_issuer:
        raise EnvError("OIDC_ISSUER is missing: OIDC_AUDIENCE says which of its access tokens count.")
    if env.oidc_client_id and not (env.oidc_issuer or env.cognito_pool_id):
        raise EnvError("OIDC_ISSUER is missing: OIDC_CLIENT_ID is this service's id over there.")
    if not env.local_login and not env.oidc_client_id:
        raise EnvError(
            "LOCAL_LOGIN=off leaves no way to sign in: set OIDC_CLIENT_ID and OIDC_ISSUER, or leave LOCAL_LOGIN on."
        )
