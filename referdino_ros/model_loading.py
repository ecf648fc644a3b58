# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of the model into the cameras' sessions, according to the node's parameters."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from referdino_core.errors import ReferDINOError
from referdino_core.peers import STREAMING_PEER_NAMES
from referdino_core.progress import ProgressMonitor
from referdino_core.session.command_request import single_command
from referdino_core.user_files import user_path
from referdino_ros.command_input import received_text
from referdino_ros.error_log import ErrorLog
from referdino_ros.managed_node import ManagedNode
from referdino_ros.model_worker import WorkerStopped
from referdino_ros.parameters import NodeParameters

if TYPE_CHECKING:
    from referdino_core import CameraGroup
    from referdino_core.session.peer_cameras import AnyCameraGroup, PeerCameraGroup

LOADING_LOG_PERIOD = 5.0
_LOADING_POLL = 0.2


def load_cameras(
    parameters: NodeParameters,
    monitor: ProgressMonitor,
    logger: Any,
    errors: ErrorLog,
) -> AnyCameraGroup:
    """Load the model into the cameras' sessions, prepared for the image size if it is known.

    Another published model runs camera by camera, in PyTorch, and is not prepared.

    Args:
        parameters: of the node.
        monitor: for progress and cancellation of a runtime's preparation.
        logger: of the node.
        errors: log of an initial command that is refused.

    Raises:
        ReferDINOError: the model cannot be loaded.
    """
    if parameters["model"] in STREAMING_PEER_NAMES:
        group: AnyCameraGroup = _load_peer(parameters)
    else:
        group = _load_own(parameters, monitor, logger)
    try:
        initial = single_command(received_text(parameters["initial_command"]))
        group.set_commands(dict.fromkeys(range(len(group.sessions)), initial))
    except ReferDINOError as error:
        errors.report("command", f"initial_command: {error}")
    return group


def _load_own(parameters: NodeParameters, monitor: ProgressMonitor, logger: Any) -> CameraGroup:
    # PyTorch is imported only here: it takes seconds, while the node is already on the graph.
    from referdino_core import CameraGroup, Session
    from referdino_core.installation import choose_threads

    session = Session(
        parameters.model,
        settings=parameters.session_settings,
        device=parameters["device"],
        runtime=parameters["runtime"],
        precision=parameters["precision"],
        exports=parameters["exports"] or None,
        watch=monitor,
    )
    logger.info(f"CPU threads of the model: {choose_threads(session.model)}.")
    size = parameters.image_size
    if size is not None:
        width, height = size
        session.prepare(height, width)
    return CameraGroup(session, len(parameters.cameras))


def _load_peer(parameters: NodeParameters) -> PeerCameraGroup:
    from referdino_core.peers.following import PeerSettings
    from referdino_core.session.model_choice import ModelChoice, load_peer
    from referdino_core.session.peer_cameras import PeerCameraGroup, adopted

    checkpoint, exports = parameters["checkpoint"], parameters["exports"]
    loaded = load_peer(
        ModelChoice(
            model=parameters["model"],
            checkpoint=user_path(checkpoint) if checkpoint else None,
            device=parameters["device"],
            runtime=parameters["runtime"],
            precision=parameters["precision"],
            exports=user_path(exports) if exports else None,
            peer_settings=adopted(PeerSettings(), parameters.session_settings),
        )
    )
    return PeerCameraGroup(loaded.session, len(parameters.cameras))


def wait_until_loaded(
    loaded: concurrent.futures.Future[None], node: ManagedNode, doing: Callable[[], str]
) -> None:
    """Block until the model is loaded, and log the current activity every few seconds.

    Args:
        loaded: resolves when the model is loaded.
        node: the node that logs; waiting ends with the process.
        doing: returns the current activity, such as "loading".

    Raises:
        WorkerStopped: the process is ending.
        Exception: the model cannot be loaded.
    """
    began = said = time.monotonic()
    while not concurrent.futures.wait([loaded], timeout=_LOADING_POLL).done:
        if node.ending:
            raise WorkerStopped("The process ended while the model was loading.")
        if time.monotonic() - said >= LOADING_LOG_PERIOD:
            said = time.monotonic()
            node.get_logger().info(f"Still {doing()} ({said - began:.0f} s).")
    loaded.result()
