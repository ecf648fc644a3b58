# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Types of command-line arguments: numbers within limits, which argparse checks."""

from __future__ import annotations

import argparse
import math


def positive_integer(text: str) -> int:
    """A whole number of at least 1.

    Raises:
        ArgumentTypeError: this is not a whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def non_negative_integer(text: str) -> int:
    """A whole number of at least 0.

    Raises:
        ArgumentTypeError: this is not a whole number of at least 0.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0.

    Raises:
        ArgumentTypeError: this is not a finite number above 0.
    """
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def non_negative_number(text: str) -> float:
    """A finite number of at least 0.

    Raises:
        ArgumentTypeError: this is not a finite number of at least 0.
    """
    number = _number(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
