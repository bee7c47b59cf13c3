"""Movement through a scene: flights that keep clear of everything built, vehicles, pedestrians, recorded tracks."""

from channelfm.mobility.cruise import cruise
from channelfm.mobility.pedestrians import pedestrians
from channelfm.mobility.recorded import RecordedTrack, recorded, recorded_with_report
from channelfm.mobility.statistics import FlightStatistics, draw_statistics, flight_statistics
from channelfm.mobility.streets import street_guided
from channelfm.mobility.sumo import sumo_guided
from channelfm.mobility.vehicles import vehicles

__all__ = [
    "FlightStatistics",
    "RecordedTrack",
    "cruise",
    "draw_statistics",
    "flight_statistics",
    "pedestrians",
    "recorded",
    "recorded_with_report",
    "street_guided",
    "sumo_guided",
    "vehicles",
]
