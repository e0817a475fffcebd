"""Server-sent events as the client reads them, line by line, without a socket."""

from textmill import wire


class EventReader:
    """What a stream has told so far: how a connection that broke goes on, and whether anything is to come."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        """The id of the last event that was read: the server goes on behind it."""
        self.latest: wire.Job | None = None
        self._id: str | None = None
        self._data: list[str] = []

    def read(self, line: str) -> wire.Job | None:
        """The job that this line completes the event of, if it does."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self._id = value
            return None  # comments, and fields that a newer server may send
        data, self._data = self._data, []
        if not data:
            return None
        self.last_id = self._id or self.last_id
        self._id = None
        self.latest = wire.Job.model_validate_json("\n".join(data))
        return self.latest

    def broken(self) -> None:
        """The connection broke: an event that was not complete never came."""
        self._id, self._data = None, []
