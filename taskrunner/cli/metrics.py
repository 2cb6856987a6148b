"""The verb for monitoring systems: metrics."""

import argparse
from typing import Any

from taskrunner.cli.common import Declare, Verbs, declare, door, out_text

EXAMPLES = (
    "  taskrunner metrics\n"
    "  taskrunner metrics --textfile /var/lib/prometheus/node-exporter/taskrunner.prom\n"
)


def _declare_metrics(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    does = "print metrics for a monitoring system, in the OpenMetrics format"
    parser = declare(verbs, common, "metrics", does, _metrics, EXAMPLES)
    parser.add_argument(
        "--textfile",
        metavar="FILE",
        help="write to this file instead, atomically, for the textfile collector of node_exporter",
    )


def _metrics(args: Any) -> int:
    with door(args) as runner:
        if args.textfile is None:
            out_text(runner.metrics().removesuffix("\n"))
        else:
            runner.write_metrics(args.textfile)
    return 0


VERBS: dict[str, Declare] = {"metrics": _declare_metrics}
