"""Reports: one self-contained HTML page about a run or an episode."""

from .page import known_duration, report_episode, write_report

__all__ = ["known_duration", "report_episode", "write_report"]
