"""Movement through a scene: flights that keep clear of everything built."""

from channelfm.mobility.cruise import cruise
from channelfm.mobility.streets import street_guided

__all__ = ["cruise", "street_guided"]
