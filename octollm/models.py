"""The models of this app, gathered where Django looks for them."""

from octollm.access.models import ApiKey, Owner
from octollm.resilience.models import Leader, Slot, Switch, Worker

__all__ = ["ApiKey", "Leader", "Owner", "Slot", "Switch", "Worker"]
