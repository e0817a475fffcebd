"""What a document became: a mapping as the server sent it, with the shape that its task gives it on top."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, NoReturn

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from textmill import tasks


class Output(Mapping[str, Any]):
    """The output of one document, read-only.

    `output["summary_text"]` is the JSON of the server. `output.summary_text`, `output.entities` and so on are the same
    in the types of the tasks that this version knows; a field of another task is None. `output.of("ner")` is the whole
    of it in one task's type. Fields and tasks that are newer than this version stay reachable by name.
    """

    __slots__ = ("_fields",)
    _fields: dict[str, Any]

    def __init__(self, fields: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_fields", dict(fields))

    def of(self, task: str) -> Any:
        """This output in the type of a task's `output` (`textmill.tasks`).

        Raises InvalidRequest where there is no such task, pydantic's ValidationError where it is not of that type.
        """
        return tasks.get(task).output.model_validate(self._fields)

    def __getattr__(self, name: str) -> Any:
        shapes = [task.output for task in tasks.TASKS if name in task.output.model_fields]
        if not shapes:
            raise AttributeError(f"no task that this version knows gives {name!r}; this output has: {', '.join(self)}")
        if name not in self._fields:
            return None
        # Two tasks may give a field of the same name: the one whose other fields are here as well.
        fitting = next((shape for shape in shapes if _needed(shape) <= self._fields.keys()), shapes[0])
        return getattr(fitting.model_validate(self._fields), name)

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Output({self._fields!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an output is read-only")

    def __reduce__(self) -> tuple[type["Output"], tuple[dict[str, Any]]]:
        return Output, (self._fields,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        made = core_schema.no_info_after_validator_function(cls, fields)
        return core_schema.json_or_python_schema(
            made,
            core_schema.union_schema([core_schema.is_instance_schema(cls), made]),
            # Not `dict`, which runs this class' Python code: a Ctrl-C in there comes out as a failed serialization.
            serialization=core_schema.plain_serializer_function_ser_schema(attrgetter("_fields"), return_schema=fields),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """One of the tasks' outputs, for those who read the OpenAPI document."""
        return {"anyOf": [handler(task.output.__pydantic_core_schema__) for task in tasks.TASKS]}


def _needed(shape: type[BaseModel]) -> set[str]:
    return {name for name, field in shape.model_fields.items() if field.is_required()}
