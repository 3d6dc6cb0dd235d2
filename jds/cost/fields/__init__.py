"""Receptive fields: which positions of the image a position of a result depends on."""

from jds.cost.fields._fields import Field as Field
from jds.cost.fields._fields import receptive_fields as receptive_fields
