# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of a replay: files with times, changes in their order, and what ran when."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import referdino_core as rd
from referdino_core.errors import SourceError
from referdino_core.replay.commands import (
    CommandChange,
    CommandLog,
    check_sentences,
    from_sentences,
    read_commands,
)

SECOND = 10**9


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano", image_short_side=96, num_queries=20)


@pytest.fixture
def session(model: rd.ReferDINO) -> rd.Session:
    return rd.Session(model)


def file_of(folder: Path, content: str) -> Path:
    path = folder / "commands.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_a_file_of_commands_is_read_in_the_order_of_its_times(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        '- {at: 12.5, text: "the blue box"}\n'
        "- at: 0\n  text: the red ball\n  id: ball\n  objects: [2, 3]\n"
        '- {at: 20, text: ""}\n',
    )

    assert read_commands(path) == (
        CommandChange("the red ball", "ball", (2, 3), 0.0),
        CommandChange("the blue box", None, None, 12.5),
        CommandChange("", None, None, 20.0),
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- {at: 0, text: a\n- b", "line 2, is not valid YAML"),
        ("", "must be a list"),
        ("at: 0", "must be a list"),
        ("- the red ball", "entry 1: it is 'the red ball', not a mapping"),
        ("- {at: 0, text: a}\n- {text: b}", "entry 2: at is None"),
        ("- {at: -1, text: a}", "entry 1: at is -1"),
        ("- {at: .nan, text: a}", "entry 1: at is nan"),
        ("- {at: 1.0e+300, text: a}", "entry 1: at is 1e+300; give seconds"),
        ("- {at: 0, text: 5}", "entry 1: text is 5"),
        ("- {at: 0, text: a, id: ''}", "entry 1: id is ''"),
        ("- {at: 0, text: a, objects: 2}", "entry 1: objects is 2"),
        ("- {at: 0, text: a, objects: [-1]}", "entry 1: objects is [-1]"),
        ("- {at: 0, words: a}", "entry 1: unknown 'words'"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_commands(file_of(tmp_path, content))

    assert said in str(caught.value)
    assert "commands.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_changes_are_made_when_their_time_has_come(session: rd.Session) -> None:
    log = CommandLog((CommandChange("the red ball"), CommandChange("the blue box", at=2.0)))
    log.begin(100 * SECOND)

    (first,) = log.apply(session, 100 * SECOND)
    assert (first.text, first.at, first.until) == ("the red ball", 0.0, None)
    assert log.apply(session, 102 * SECOND - 1) == []
    (second,) = log.apply(session, 103 * SECOND)

    assert session.commands == {"command": "the blue box"}
    assert (second.at, first.until) == (2.0, 2.0)
    assert list(log.running()) == [second]


def test_commands_with_ids_run_beside_each_other(session: rd.Session) -> None:
    log = CommandLog(
        (
            CommandChange("the red ball", "a"),
            CommandChange("the blue box", "b", at=1.0),
            CommandChange("", "a", at=2.0),
            CommandChange("", at=3.0),
        )
    )
    log.begin(0)

    log.apply(session, SECOND)
    assert session.commands == {"a": "the red ball", "b": "the blue box"}
    log.apply(session, 2 * SECOND)
    assert session.commands == {"b": "the blue box"}
    log.apply(session, 3 * SECOND)

    assert session.commands == {}
    assert [(one.command_id, one.until) for one in log.given] == [("a", 2.0), ("b", 3.0)]


def test_a_recorded_command_replaces_the_one_before(session: rd.Session) -> None:
    log = CommandLog((), {"the blue box": (4,)})
    log.add(5, "the red ball")  # before the first frame
    log.begin(10 * SECOND)
    log.apply(session, 10 * SECOND)
    log.add(11 * SECOND, "the red ball")  # again: goes on
    log.add(12 * SECOND, "the blue box")
    log.apply(session, 12 * SECOND)

    assert [(one.text, one.objects, one.at, one.until) for one in log.given] == [
        ("the red ball", None, 0.0, 2.0),
        ("the blue box", (4,), 2.0, None),
    ]


def test_a_command_that_is_refused_is_a_problem_and_what_ran_continues(session: rd.Session) -> None:
    log = CommandLog((CommandChange("the red ball"), CommandChange("word " * 400, at=1.0)))
    log.begin(0)
    log.add(2 * SECOND, "caf\ufffd")
    log.apply(session, 2 * SECOND)

    assert session.commands == {"command": "the red ball"}
    too_long, no_text = log.problems
    assert "at 1.000 s was refused" in too_long and "not text" in no_text


def test_a_sentence_that_means_other_objects_is_another_command(session: rd.Session) -> None:
    log = CommandLog(
        (
            CommandChange("the red ball", "a", (1,)),
            CommandChange("the red ball", "a", (2,), at=1.0),
            CommandChange("the red ball", "a", at=2.0),
        )
    )
    log.begin(0)
    (first,) = log.apply(session, 0)
    running = session.running["a"]
    (second,) = log.apply(session, 3 * SECOND)

    assert (first.objects, first.until, second.objects, second.at) == ((1,), 1.0, (2,), 1.0)
    assert list(log.running()) == [second] and log.place_of("a", "the red ball") == 1
    assert session.running["a"] is running  # what it remembers stays


def test_what_was_never_given_is_reported(session: rd.Session) -> None:
    log = CommandLog((CommandChange("the red ball", at=60.0), CommandChange("", at=70.0)))
    log.begin(0)
    log.apply(session, SECOND)

    assert log.problems == [
        "The command 'the red ball' was never given: the recording ends before 60 s.",
        "No command was given, so nothing was searched for.",
    ]


@pytest.mark.parametrize("text", ["", "  ", "?!", "a" * 20_000])
def test_a_sentence_that_can_never_be_used_is_refused(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        check_sentences(from_sentences([text]))

    assert len(str(caught.value)) < 200


def test_one_sentence_is_the_command_and_several_have_numbers() -> None:
    assert [one.command_id for one in from_sentences(["a"])] == [None]
    assert [one.command_id for one in from_sentences(["a", "b"])] == ["command 1", "command 2"]
