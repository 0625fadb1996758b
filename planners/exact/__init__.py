"""Exact inference where states and actions are few: message passing and value iteration."""

from .message_passing import Messages, message_passing
from .value_iteration import Values, value_iteration

__all__ = ["Messages", "Values", "message_passing", "value_iteration"]
