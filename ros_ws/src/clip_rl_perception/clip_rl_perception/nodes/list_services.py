"""The services that replace lists at run time: `set_classes`, what pixels may be; `set_types`, what tags are called.

Embedding texts may take seconds, where a text encoder must be loaded first; frames and transitions go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from clip_rl_interfaces.srv import SetClasses, SetTypes
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode

from clip_rl_perception.errors import one_line
from clip_rl_perception.instrument_types import types_from_texts
from clip_rl_perception.labels import label_space_from_names

if TYPE_CHECKING:
    from clip_rl_perception.stream import LoadedModel

Response = TypeVar("Response", SetClasses.Response, SetTypes.Response)


class ListServices:
    """Both services of a node."""

    def __init__(
        self,
        node: LifecycleNode,
        model: Callable[[], LoadedModel | None],
        *,
        classes_changed: Callable[[], None],
        group: CallbackGroup,
    ) -> None:
        """Offer the services.

        Args:
            node: whose they are.
            model: the one in force; None while there is none.
            classes_changed: called when other classes are in force.
            group: of their callbacks.
        """
        self._node, self._model, self._classes_changed = node, model, classes_changed
        node.create_service(SetClasses, "set_classes", self._set_classes, callback_group=group)
        node.create_service(SetTypes, "set_types", self._set_types, callback_group=group)

    def _set_classes(self, request: SetClasses.Request, response: SetClasses.Response) -> SetClasses.Response:
        def change(model: LoadedModel) -> str:
            labels = label_space_from_names(request.names, request.prompts, request.instrument)
            model.use_classes(labels)
            return f"{len(labels)} classes are in force"

        self._answer(response, "set_classes", change)
        if response.success:
            self._classes_changed()
        return response

    def _set_types(self, request: SetTypes.Request, response: SetTypes.Response) -> SetTypes.Response:
        def change(model: LoadedModel) -> str:
            model.use_types(types_from_texts(request.types) if len(request.types) else None)
            return f"{len(request.types)} types are in force" if len(request.types) else "types are no longer named"

        return self._answer(response, "set_types", change)

    def _answer(self, response: Response, name: str, change: Callable[[LoadedModel], str]) -> Response:
        """Do what is asked for, or say in a line why not."""
        model = self._model()
        if model is None:
            response.message = "the node is not configured; configure it first"
            return response
        try:
            done = change(model)
        except Exception as error:
            response.message = one_line(error)
            self._node.get_logger().warning(f"{name} refused: {response.message}")
            return response
        if self._model() is not model:
            response.message = f"the node was cleaned up meanwhile; call {name} again"
            return response
        response.success, response.message = True, done
        self._node.get_logger().info(done)
        return response
