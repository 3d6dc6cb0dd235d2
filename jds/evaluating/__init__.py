"""Compares networks and exported files on a folder of images: accuracy, agreement and time."""

from jds.evaluating._evaluate import evaluate as evaluate
from jds.evaluating._evaluation import Change as Change
from jds.evaluating._evaluation import Column as Column
from jds.evaluating._evaluation import Evaluation as Evaluation
from jds.evaluating._evaluation import Share as Share
