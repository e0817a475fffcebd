"""Lines and objects of the log, and what they are about."""

import json
import logging
import threading

from store import logs


def said(form: logs.Form, message: str, *args: object, error: BaseException | None = None) -> str:
    record = logging.LogRecord("where", logging.WARNING, "", 1, message, args, None)
    if error is not None:
        record.exc_info = (type(error), error, None)
    return logs.formatter(form, "%(levelname)s %(message)s", process="api").format(record)


def test_a_line_names_what_it_is_about() -> None:
    assert said("text", "one %d", 1) == "WARNING one 1"
    with logs.about(job="j"):
        with logs.about(shard=7):
            assert said("text", "two") == "WARNING two [job=j shard=7]"
        assert said("text", "three") == "WARNING three [job=j]"
    assert said("text", "four") == "WARNING four"


def test_an_object_has_it_as_fields() -> None:
    with logs.about(job="j", shard=7):
        found = json.loads(said("json", "it broke: %s", "ä\n", error=ValueError("why")))
    assert found.pop("time")
    assert "ValueError: why" in found.pop("exc_info")
    assert found == {
        "level": "WARNING", "logger": "where", "message": "it broke: ä\n", "process": "api", "job": "j", "shard": 7,
    }  # fmt: skip
    assert "\n" not in said("json", "two\nlines")


def test_other_threads_are_about_something_else() -> None:
    lines: list[str] = []
    with logs.about(job="mine"):
        thread = threading.Thread(target=lambda: lines.append(said("text", "x")))
        thread.start()
        thread.join()
    assert lines == ["WARNING x"]
