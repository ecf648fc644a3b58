# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The program `referdino`, with the model that is bundled, on real files."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import torch
from cli_program import (
    FRAME_COUNT,
    HEIGHT,
    PROGRAM,
    WIDTH,
    environment,
    error_line,
    scene,
    write_video,
)

import referdino_core as rd
from referdino_core.cli import main
from referdino_core.cli.progress import GracefulShutdown
from referdino_core.media.sources import open_source
from referdino_core.messages import run_lengths


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_video(tmp_path / "scene.mp4")


def read_records(folder: Path) -> dict:
    return json.loads((folder / "frames.json").read_text(encoding="utf-8"))


class TestSegment:
    def test_it_writes_the_overlay_and_what_a_session_gives(
        self, video: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        sentences = ["the red ball", "the green capsule on the left"]
        assert main(["segment", str(video), *sentences, "--out", "results"]) == 0
        captured = capfd.readouterr()
        document = read_records(Path("results"))
        assert document["source"]["frame_rate"] == pytest.approx(10.0)
        assert (document["source"]["height"], document["source"]["width"]) == (HEIGHT, WIDTH)
        assert document["model"] == "nano"
        assert [command["command"] for command in document["commands"]] == sentences
        assert document["complete"] is True

        session = rd.Session("nano")
        session.commands = {
            command["command_id"]: command["command"] for command in document["commands"]
        }
        with open_source(str(video)) as source:
            frames = list(source)
        assert [record["index"] for record in document["frames"]] == list(range(FRAME_COUNT))
        for frame, record in zip(frames, document["frames"], strict=True):
            assert record["stamp"] == pytest.approx(frame.stamp, abs=1e-6)
            targets = session.step(frame.image, frame.stamp)
            for target, entry in zip(targets, record["targets"], strict=True):
                assert entry["command_id"] == target.command_id
                assert entry["state"] == target.state.value
                assert entry["track_id"] == target.track_id
                assert entry["score"] == pytest.approx(target.score, abs=1e-3)
                assert entry["frame_score"] == pytest.approx(target.frame_score, abs=1e-3)
                assert entry["mask"]["size"] == [HEIGHT, WIDTH]
                mask = run_lengths.decode(entry["mask"]["counts"], HEIGHT, WIDTH)
                assert (mask != target.mask).mean() < 1e-3
                assert (entry["box"] is None) == (target.box is None)

        with open_source("results/overlay.mp4") as overlay:
            drawn = list(overlay)
        assert len(drawn) == FRAME_COUNT
        assert drawn[0].image.shape == (360, 480, 3)
        for sentence in sentences:
            assert sum(f'"{sentence}": ' in line for line in captured.out.splitlines()) == 1
        assert re.search(rf"{FRAME_COUNT} frames in .* per second, nano on cpu", captured.out)
        assert sorted(path.name for path in Path("results").iterdir()) == [
            "frames.json",
            "overlay.mp4",
        ]

    def test_every_nth_frame_up_to_a_number_of_frames(self, video: Path) -> None:
        assert main(["segment", str(video), "the red ball", "--every", "2", "--frames", "3"]) == 0
        document = read_records(Path("scene_referdino"))
        assert [frame["index"] for frame in document["frames"]] == [0, 2, 4]
        with open_source("scene_referdino/overlay.mp4") as overlay:
            assert overlay.frame_rate == pytest.approx(5.0)
            assert len(list(overlay)) == 3

    def test_a_folder_of_images_with_a_broken_one(
        self, video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        for index in range(4):
            cv2.imwrite(str(folder / f"{index}.jpg"), scene(index))
        whole = (folder / "2.jpg").read_bytes()
        (folder / "2.jpg").write_bytes(whole[: len(whole) // 3])
        assert main(["segment", str(folder), "the red ball", "--frame-rate", "5"]) == 0
        assert capfd.readouterr().err.count("2.jpg") == 1
        document = read_records(Path("images_referdino"))
        assert [frame["stamp"] for frame in document["frames"]] == [0.0, 0.2, 0.6]

    def test_images_of_changing_size_are_followed(self, video: Path, tmp_path: Path) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        cv2.imwrite(str(folder / "0.png"), scene(0))
        cv2.imwrite(str(folder / "1.png"), cv2.resize(scene(1), (200, 90)))
        assert main(["segment", str(folder), "the red ball"]) == 0
        sizes = [
            frame["targets"][0]["mask"]["size"]
            for frame in read_records(Path("images_referdino"))["frames"]
        ]
        assert sizes == [[HEIGHT, WIDTH], [90, 200]]

    def test_earlier_results_stay_when_a_run_fails(self, video: Path) -> None:
        assert main(["segment", str(video), "the red ball", "--out", "results"]) == 0
        before = {path.name: path.read_bytes() for path in Path("results").iterdir()}
        assert main(["segment", str(video), " ", "--out", "results"]) == 1
        assert {path.name: path.read_bytes() for path in Path("results").iterdir()} == before

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_interrupt_asks_and_the_second_one_stops(
        self, number: signal.Signals
    ) -> None:
        before = signal.getsignal(number)
        with GracefulShutdown() as stop:
            assert not stop.requested
            signal.raise_signal(number)
            assert stop.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is before

    def test_an_interrupted_process_closes_the_files_and_says_so(
        self, video: Path, tmp_path: Path
    ) -> None:
        long_video = write_video(tmp_path / "long.mp4", 5000)
        process = subprocess.Popen(
            [*PROGRAM, "segment", str(long_video), "the red ball", "--out", "results"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        growing = Path("results") / ".frames.partial.json"
        deadline = time.monotonic() + 240
        while not growing.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        document = read_records(Path("results"))
        done = len(document["frames"])
        assert 0 < done < 5000
        assert document["complete"] is False
        assert f"{done} frames in" in out
        assert f"the files hold the first {done} frames" in err
        with open_source("results/overlay.mp4") as overlay:
            assert len(list(overlay)) == done
        assert not growing.exists()


class TestBadInput:
    """Each is one line and exit status 1, leaves nothing behind, and the next run works."""

    @staticmethod
    def refused(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
        assert main(["segment", *arguments, "--out", "refused"]) == 1
        assert not Path("refused").exists()
        return error_line(capfd.readouterr().err)

    @pytest.mark.parametrize(
        ("content", "name", "complaint"),
        [
            (b"This is text.\n" * 50, "text.mp4", "holds no video"),
            (b"", "empty.mp4", "is empty"),
            (b"\0" * 5000, "zeros.avi", "holds no video"),
        ],
    )
    def test_a_video_that_is_none(
        self,
        video: Path,
        capfd: pytest.CaptureFixture[str],
        content: bytes,
        name: str,
        complaint: str,
    ) -> None:
        Path(name).write_bytes(content)
        assert f"{name} {complaint}" in self.refused([name, "the red ball"], capfd)
        assert main(["segment", str(video), "the red ball", "--frames", "1"]) == 0

    @pytest.mark.parametrize(
        ("source", "advice"),
        [
            ("missing.mp4", "give a video file, a folder of images, or a camera index"),
            ("folder", "contains no images"),
            ("97", "check that it is plugged in"),
        ],
    )
    def test_a_source_that_is_not_there(
        self, video: Path, capfd: pytest.CaptureFixture[str], source: str, advice: str
    ) -> None:
        Path("folder").mkdir()
        assert advice in self.refused([source, "the red ball"], capfd)

    def test_a_folder_with_nothing_but_a_truncated_image(
        self, video: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Path("folder").mkdir()
        data = cv2.imencode(".jpg", scene(0))[1].tobytes()
        Path("folder/one.jpg").write_bytes(data[: len(data) // 2])
        assert "one.jpg" in self.refused(["folder", "the red ball"], capfd)

    @pytest.mark.parametrize(
        "sentence",
        ["", "  \t\n", "the red ball " * 8000, "a " * 300],
        ids=["empty", "blank", "100 kB", "300 tokens"],
    )
    def test_a_sentence_that_is_none(
        self, video: Path, capfd: pytest.CaptureFixture[str], sentence: str
    ) -> None:
        assert len(self.refused([str(video), sentence], capfd)) < 400
        assert main(["segment", str(video), "the red ball", "--frames", "1"]) == 0

    def test_a_sentence_that_is_no_text(
        self, video: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.refused([str(video), os.fsdecode(b"\xff\xfe ball")], capfd)
        assert main(["segment", str(video), "the red ball", "--frames", "1"]) == 0

    def test_a_checkpoint_that_is_missing(
        self, video: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        arguments = [str(video), "the red ball", "--model", "nano", "--checkpoint", "missing.pth"]
        assert "missing.pth" in self.refused(arguments, capfd)

    def test_a_released_checkpoint_that_was_not_downloaded(
        self, video: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REFERDINO_CACHE", str(video.parent / "cache"))
        arguments = [str(video), "the red ball", "--checkpoint", "ryt_swinb"]
        assert "referdino download ryt_swinb" in self.refused(arguments, capfd)

    @pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
    def test_a_checkpoint_that_is_cut_off(
        self, video: Path, capfd: pytest.CaptureFixture[str], name: str
    ) -> None:
        tensors = {"weight": torch.arange(1000.0)}
        if name.endswith(".pth"):
            torch.save(tensors, name)
        else:
            from safetensors.torch import save_file

            save_file(tensors, name)
        data = Path(name).read_bytes()
        Path(name).write_bytes(data[: len(data) // 2])
        arguments = [str(video), "the red ball", "--model", "nano", "--checkpoint", name]
        assert name in self.refused(arguments, capfd)

    def test_a_checkpoint_with_code_in_it_is_not_run(
        self, video: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Path("evil.pth").write_bytes(pickle.dumps(_CreatesFolderWhenLoaded()))
        arguments = [str(video), "the red ball", "--model", "nano", "--checkpoint", "evil.pth"]
        assert "evil.pth" in self.refused(arguments, capfd)
        assert not Path("code_was_run").exists()

    def test_a_checkpoint_of_another_architecture(
        self, video: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        torch.save({"model_state_dict": {"some.weight": torch.zeros(3)}}, "other.pth")
        arguments = [str(video), "the red ball", "--model", "nano", "--checkpoint", "other.pth"]
        assert "nano" in self.refused(arguments, capfd)
        assert main(["segment", str(video), "the red ball", "--frames", "1"]) == 0

    def test_a_place_that_cannot_be_written(
        self, video: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Path("taken").touch()
        assert main(["segment", str(video), "the red ball", "--out", "taken"]) == 1
        assert "cannot be written" in error_line(capfd.readouterr().err)

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["segment"],
            ["segment", "video.mp4"],
            ["segment", "video.mp4", "a ball", "--frames", "0"],
            ["segment", "video.mp4", "a ball", "--every", "x"],
            ["segment", "video.mp4", "a ball", "--model", "huge"],
            ["dance"],
        ],
    )
    def test_a_wrong_command_line_is_status_2(
        self, capfd: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "usage: referdino" in capfd.readouterr().err


class _CreatesFolderWhenLoaded:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("code_was_run",)


class TestHelpAndInfo:
    @pytest.mark.parametrize("command", ["segment", "info", "download"])
    def test_every_command_explains_itself_with_examples(
        self, capfd: pytest.CaptureFixture[str], command: str
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        output = capfd.readouterr().out
        assert f"\n  referdino {command}" in output
        assert max(len(line) for line in output.splitlines()) <= 100

    def test_info_shows_versions_models_and_parameters(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["info"]) == 0
        output = capfd.readouterr().out
        assert re.search(rf"torch +{re.escape(torch.__version__)}", output)
        assert re.search(r"nano +is bundled: .*safetensors", output)
        parameters = sum(parameter.numel() for parameter in rd.build("nano").parameters())
        assert re.search(rf"all +{parameters:,}", output)
        for key in rd.capabilities():
            assert key in output

    def test_info_checks_a_checkpoint(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        torch.save({"some.weight": torch.zeros(3)}, tmp_path / "other.pth")
        assert main(["info", "--checkpoint", str(tmp_path / "other.pth")]) == 1
        error_line(capfd.readouterr().err)

    def test_the_module_is_the_program(self) -> None:
        finished = subprocess.run(
            [*PROGRAM, "--help"],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=240,
        )
        assert finished.returncode == 0
        assert "usage: referdino" in finished.stdout


def test_a_sentence_of_several_lines_is_one_line_of_the_summary(
    video: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", str(video), "the red\nball", "--frames", "1", "--out", "lines"]) == 0
    assert '"the red ball": ' in capfd.readouterr().out


def test_help_is_shown_without_loading_pytorch() -> None:
    code = (
        "import sys; from referdino_core.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "--recipe" in shown.stdout and shown.stdout.splitlines()[-1] == "False"
