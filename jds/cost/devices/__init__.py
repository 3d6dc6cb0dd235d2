"""Devices: their peak rates, published or measured, and published times of networks on them."""

from jds.cost.devices._devices import device_fault as device_fault
from jds.cost.devices._devices import device_key as device_key
from jds.cost.devices._devices import find_device as find_device
from jds.cost.devices._devices import measure_peak as measure_peak
from jds.cost.devices._peak import Peak as Peak
from jds.cost.devices._published import MEASURED as MEASURED
from jds.cost.devices._published import Latency as Latency
from jds.cost.devices._table import ALIASES as ALIASES
from jds.cost.devices._table import DEVICES as DEVICES
