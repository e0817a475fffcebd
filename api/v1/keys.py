"""Keys, for operators: make, look, change, rotate, revoke."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from api.services import Operator, Services
from api.v1 import door, limits
from api.v1.bodies import SmallBody
from store import keys
from textmill.keys import LARGEST_LIMIT, Key, KeyChange, KeyRequest, KeyWithSecret, RotateRequest

router = APIRouter(prefix="/v1/keys", tags=["keys"])

KeyId = Annotated[int, Path(ge=1, le=LARGEST_LIMIT)]


@router.get("")
def listed(services: Services, _operator: Operator) -> dict[str, list[Key]]:
    """All keys, revoked ones too, oldest first."""
    return {"keys": services.store.read(keys.listed)}


@router.post("", status_code=201)
def create(request: Request, services: Services, _operator: Operator, body: SmallBody) -> KeyWithSecret:
    """Make a key. The answer has its secret, which cannot be read again."""
    asked = door.parse_small(KeyRequest, limits.decoded(request, body, limits.SMALL_BODY))
    made = services.store.write_once(keys.create, asked.name, asked.role, keys.Limits(**asked.limits.model_dump()))
    return KeyWithSecret(key=services.store.read(keys.get, made.id), secret=made.secret)


@router.get("/{key_id}")
def get(services: Services, _operator: Operator, key_id: KeyId) -> Key:
    """One key."""
    return services.store.read(keys.get, key_id)


@router.patch("/{key_id}")
def change(request: Request, services: Services, _operator: Operator, key_id: KeyId, body: SmallBody) -> Key:
    """Change name, role or limits. Every process knows it within `TEXTMILL_KEY_CACHE_SECONDS`."""
    asked = door.parse_small(KeyChange, limits.decoded(request, body, limits.SMALL_BODY)).model_dump(exclude_none=True)
    new_limits = asked.pop("limits", None)
    if new_limits is not None:
        asked |= keys.Limits(**new_limits)._asdict()
    return services.store.write_once(keys.change, key_id, asked)


@router.post("/{key_id}/rotate")
def rotate(request: Request, services: Services, _operator: Operator, key_id: KeyId, body: SmallBody) -> KeyWithSecret:
    """Give the key a new secret. The one of now is taken for `overlap_seconds` more, older ones no longer."""
    asked = door.parse_small(RotateRequest, limits.decoded(request, body, limits.SMALL_BODY) or b"{}")
    made = services.store.write_once(keys.rotate, key_id, asked.overlap_seconds)
    return KeyWithSecret(key=services.store.read(keys.get, key_id), secret=made.secret)


@router.delete("/{key_id}", status_code=204)
def revoke(services: Services, _operator: Operator, key_id: KeyId) -> None:
    """Refuse the key from now on. Its jobs go on."""
    services.store.write_once(keys.revoke, key_id)
