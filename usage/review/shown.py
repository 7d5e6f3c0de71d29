"""Numbers as the review writes them."""

from accounts.limits import MICRO

_STEPS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def money(micro_dollars: int) -> str:
    """To the cent, $1,234.05; what is less than a cent and not nothing as <$0.01."""
    if 0 < micro_dollars < MICRO // 100:
        return "<$0.01"
    cents = (micro_dollars + MICRO // 200) // (MICRO // 100)
    return f"${cents // 100:,}.{cents % 100:02d}"


def whole(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"


def short(number: float) -> str:
    """For a scale or where there is little room: 0, 950, 1.2k, 34M."""
    for step, letter in _STEPS:
        if number >= step:
            return f"{number / step:.3g}{letter}"
    return f"{number:.3g}"


def short_money(micro_dollars: float) -> str:
    return f"${short(micro_dollars / MICRO)}"


def per_cent(part: int, whole: int) -> str:
    return f"{part * 100 / whole:.1f} %" if whole else "\u2013"
