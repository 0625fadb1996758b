"""Reports: one self-contained HTML page about a run or an episode."""

from .run_report import known_duration, report_episode, told_end, write_report
from .scene import Motion

__all__ = ["Motion", "known_duration", "report_episode", "told_end", "write_report"]
