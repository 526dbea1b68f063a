"""How each source does: how often and how fast it answers, how far from the median, what went wrong last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from clarion.protocols.bithedge.units import BP


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatistics:
    """One source's record since the feed was opened. Times in milliseconds, Unix milliseconds where ``at``."""

    requests: int = 0
    answers: int = 0
    latency_total_ms: int = 0
    last_latency_ms: int | None = None
    compared: int = 0
    counted: int = 0
    deviation_total_bp: int = 0
    last_deviation_bp: int | None = None
    last_answer_at_ms: int | None = None
    last_error: str = ""
    last_error_at_ms: int | None = None

    @property
    def success_bp(self) -> int | None:
        """How many of its requests it answered well, in 1/10000; None before the first."""
        return self.answers * BP // self.requests if self.requests else None

    @property
    def mean_latency_ms(self) -> int | None:
        """Mean time to a good answer; None before the first."""
        return self.latency_total_ms // self.answers if self.answers else None

    @property
    def mean_deviation_bp(self) -> int | None:
        """Mean distance from the median, in 1/10000 of it; None before the first."""
        return self.deviation_total_bp // self.compared if self.compared else None

    def answered(self, latency_ms: int, at_ms: int) -> Self:
        """After a good answer."""
        return replace(
            self,
            requests=self.requests + 1,
            answers=self.answers + 1,
            latency_total_ms=self.latency_total_ms + latency_ms,
            last_latency_ms=latency_ms,
            last_answer_at_ms=at_ms,
        )

    def failed(self, error: str, at_ms: int) -> Self:
        """After no answer, or one that is of no use."""
        return replace(self, requests=self.requests + 1, last_error=error, last_error_at_ms=at_ms)

    def judged(self, deviation_bp: int, *, counts: bool) -> Self:
        """After its price was compared with the median."""
        return replace(
            self,
            compared=self.compared + 1,
            counted=self.counted + counts,
            deviation_total_bp=self.deviation_total_bp + abs(deviation_bp),
            last_deviation_bp=deviation_bp,
        )
