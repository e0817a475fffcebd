"""The URLs of the servers: which are taken, and what is said of the others."""

import pytest
from pydantic import ValidationError

from store.session import Store
from store.settings import StoreSettings

PASSWORDS = ["{}/x", "x/{}", "{}#x", "x@{}", "{}@x", "{}[x", "{}]x"]
"""As they are, where they ought to be percent-encoded."""


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_redis_password_that_breaks_its_url_is_not_told(scheme: str, password: str) -> None:
    with pytest.raises(ValidationError, match="percent-encoded") as refused:
        StoreSettings(redis_url=f"{scheme}://:{password.format('secret')}@127.0.0.1:6379/0")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("password", [password for password in PASSWORDS if "@" in password])
def test_a_database_password_that_breaks_its_url_is_not_told(password: str) -> None:
    with pytest.raises(ValidationError, match="percent-encoded") as refused:
        StoreSettings(database_url=f"postgresql://me:{password.format('secret')}@db/textmill")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://me:secret@db:port/x", "secret", "", "postgresql:/me:secret@db/x"])
def test_what_is_no_url_is_not_told(url: str) -> None:
    with pytest.raises(ValidationError, match="cannot be read") as refused:
        StoreSettings(database_url=url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("redis", ["redis://h", "redis://:p%40%2F%23@h:1/0", "rediss://u:p@h/1?ssl_cert_reqs=required"])
@pytest.mark.parametrize("database", ["postgresql://me:p%40/#[]x@h/d?sslmode=require", "postgresql:///d?host=/tmp/a@b"])
def test_what_can_be_read_is_taken(redis: str, database: str) -> None:
    settings = StoreSettings(redis_url=redis, database_url=database)
    Store(database, settings).close()


def test_an_at_sign_in_the_path_of_a_file_is_none_of_a_password(tmp_path: object) -> None:
    assert StoreSettings(database_url=f"sqlite:///{tmp_path}/me@home.sqlite3").database_url.endswith("me@home.sqlite3")
