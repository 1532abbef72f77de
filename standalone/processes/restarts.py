"""How long to wait before what died is started again."""

from dataclasses import dataclass

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
STABLE_LIFE_S = 30.0


@dataclass
class RestartBackoff:
    """Delays double with each death in a row; a life of `STABLE_LIFE_S` begins a new row."""

    _deaths_in_a_row: int = 0

    def delay_s(self, lived_s: float) -> float:
        """The wait after a life of `lived_s` seconds."""
        if lived_s >= STABLE_LIFE_S:
            self._deaths_in_a_row = 0
        delay_s = FIRST_DELAY_S * 2.0**self._deaths_in_a_row
        if delay_s < LONGEST_DELAY_S:
            self._deaths_in_a_row += 1
        return min(delay_s, LONGEST_DELAY_S)
