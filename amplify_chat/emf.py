"""Figures for autoscaling, as lines of the log that CloudWatch makes metrics of (Embedded Metric Format,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).

One line a period and process: the scaling policy takes the mean over the tasks of a service.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from typing import BinaryIO

import orjson

from chat.service import ChatService

NAMESPACE = "AmplifyChat"
PERIOD_SECONDS = 60.0
"""CloudWatch's own grain: more would cost more and tell no more."""


def figures(service: ChatService) -> dict[str, float]:
    """What a task is busy with, by metric name; all are counts."""
    return {"ActiveStreams": service.runs.live, "OpenConnections": len(service.connections)}


def line(values: Mapping[str, float], *, service_name: str, milliseconds: int) -> bytes:
    """One line of the log; `milliseconds` since 1970."""
    metrics = [{"Name": name, "Unit": "Count"} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["Service"]], "Metrics": metrics}
    marks = {"_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [directive]}, "Service": service_name}
    return orjson.dumps({**marks, **values}) + b"\n"


async def report_figures(
    service: ChatService, *, service_name: str, out: BinaryIO | None = None, clock: Callable[[], float] = time.time
) -> None:
    """Write a line now and each period, until cancelled."""
    stream = sys.stderr.buffer if out is None else out
    while True:
        stream.write(line(figures(service), service_name=service_name, milliseconds=round(clock() * 1000)))
        stream.flush()
        await asyncio.sleep(PERIOD_SECONDS)
