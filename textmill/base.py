"""What every model of the contract is one of: something that the server sends, or something that a producer sends."""

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """What the server sends: unknown fields are kept out of the way, so that an older client reads a newer server."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Request(BaseModel):
    """What a producer sends: an unknown field is an error and not a surprise."""

    model_config = ConfigDict(extra="forbid", frozen=True)
