# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Renderer of sampled scenes to clips with ground truth, based on MuJoCo."""

from __future__ import annotations

import os
import sys
from types import ModuleType, TracebackType
from typing import Any, TypeVar

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.world.clip import SPLITS, Clip, SceneObject, Split
from referdino_core.world.dressing import dress_body, dress_light, dress_surface, put_wall
from referdino_core.world.expressions import enumerate_expressions
from referdino_core.world.observation import Observation
from referdino_core.world.robot_scene import sample_robot_scene
from referdino_core.world.scene import FINISHES, MAX_OBJECTS, Body, Scene, sample_scene
from referdino_core.world.settings import WorldSettings
from referdino_core.world.textures import TEXTURE_COUNT, TEXTURE_SIZE, build_textures

AnyContext = TypeVar("AnyContext", bound="OpenGLContext")

_MAX_WALLS = 3
_ROOT_SEED = 2026
_CAMERA, _FIRST_WALL, _FIRST_OBJECT = 0, 1, 1 + _MAX_WALLS
"""Indices among the mocap bodies of the model."""
_NO_DISPLAY = (
    "MuJoCo cannot render: it was imported for a window system (GLFW), and there is no display;"
    " set MUJOCO_GL=egl before MuJoCo is imported"
)
_HIDDEN_GROUP, _SHOWN_GROUP = 5, 0


class WorldUnavailable(ReferDINOError):
    """The world cannot be rendered: MuJoCo is not installed, or OpenGL is unavailable."""


def clip_generator(split: Split, index: int) -> np.random.Generator:
    """The random generator of one clip; splits and indices have disjoint seed sequences.

    Raises:
        ReferDINOError: the split is unknown, or the index negative.
    """
    if split not in SPLITS:
        raise ReferDINOError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
    if index < 0:
        raise ReferDINOError(f"clip index is {index}; give a whole number from 0")
    key = (SPLITS.index(split), index)
    return np.random.default_rng(np.random.SeedSequence(_ROOT_SEED, spawn_key=key))


class OpenGLContext:
    """Base of what owns a `mujoco.Renderer`; a context manager."""

    _renderer: Any = None

    def __enter__(self: AnyContext) -> AnyContext:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, model: Any, height: int, width: int, max_geom: int) -> None:
        """Open the renderer of an `mujoco.MjModel`; raises WorldUnavailable without OpenGL."""
        mujoco = import_mujoco()
        if _needs_a_display_that_is_missing(mujoco):
            raise WorldUnavailable(_NO_DISPLAY)
        try:
            self._renderer = mujoco.Renderer(model, height, width, max_geom=max_geom)
        except Exception as error:  # each OpenGL platform raises its own type
            raise WorldUnavailable(_no_opengl(error)) from error

    def close(self) -> None:
        """Free the OpenGL context; nothing can be rendered afterwards."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class WorldRenderer(OpenGLContext):
    """Renderer of clips by split and index; a context manager that owns an OpenGL context.

    Creating it takes about a second, so reuse it. The context belongs to the creating thread.

    Raises:
        WorldUnavailable: MuJoCo or OpenGL is missing.
    """

    def __init__(self, settings: WorldSettings | None = None) -> None:
        self.settings = settings or WorldSettings()
        self._mujoco = import_mujoco()
        self._model = self._build_model()
        self._data = self._mujoco.MjData(self._model)
        self._open(self._model, self.settings.height, self.settings.width, max_geom=64)

    def clip(self, split: Split, index: int) -> Clip:
        """The clip of a split ("train", "validation" or "test") and an index from 0.

        The same split, index and settings always give the same clip.
        """
        rng = clip_generator(split, index)
        if self._renderer is None:
            raise ReferDINOError("this WorldRenderer is closed; make a new one")
        sample = sample_robot_scene if self.settings.scenes == "robot" else sample_scene
        scene = sample(rng, self.settings)
        frames, segmentation = self._render(scene)
        objects = tuple(
            self._describe(scene, body, segmentation, number)
            for number, body in enumerate(scene.bodies, start=1)
        )
        observation = Observation(objects, self.settings, scene.camera.moving)
        expressions = enumerate_expressions(rng, observation)
        stamps = self.settings.stamps
        return Clip(
            split, index, frames, stamps, segmentation, objects, expressions, scene.camera.moving
        )

    def _describe(
        self, scene: Scene, body: Body, segmentation: np.ndarray, number: int
    ) -> SceneObject:
        pixels, distances = scene.camera.project(body.path, self.settings)
        duration = self.settings.stamps[-1]
        velocity = (body.path[-1] - body.path[0]) / duration if duration > 0 else np.zeros(3)
        areas = np.count_nonzero(segmentation == number, axis=(1, 2))
        return SceneObject(
            body.look.shape,
            body.look.colour,
            body.look.size,
            body.moving,
            (float(velocity[0]), float(velocity[1])),
            body.path,
            pixels,
            distances,
            areas,
        )

    def _render(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        settings, mujoco, data = self.settings, self._mujoco, self._data
        self._dress(scene)
        size = (settings.frames, settings.height, settings.width)
        frames = np.empty((*size, 3), np.uint8)
        segmentation = np.empty(size, np.uint8)
        object_of_geom = np.zeros(self._model.ngeom + 1, np.uint8)
        object_of_geom[self._object_geoms] = np.arange(1, MAX_OBJECTS + 1)
        for frame in range(settings.frames):
            for slot, body in enumerate(scene.bodies):
                data.mocap_pos[_FIRST_OBJECT + slot] = body.path[frame]
                data.mocap_quat[_FIRST_OBJECT + slot] = body.quaternion
            data.mocap_pos[_CAMERA] = scene.camera.positions[frame]
            mujoco.mju_mat2Quat(data.mocap_quat[_CAMERA], scene.camera.rotations[frame].ravel())
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_camlight(self._model, data)
            self._renderer.update_scene(data, "eye")
            self._renderer.disable_segmentation_rendering()
            self._renderer.render(out=frames[frame])
            self._renderer.enable_segmentation_rendering()
            segmentation[frame] = object_of_geom[self._renderer.render()[:, :, 0]]
        return frames, segmentation

    def _dress(self, scene: Scene) -> None:
        """Write the scene's appearance into the model; poses are set frame by frame."""
        model = self._model
        model.cam_fovy[0] = scene.camera.fovy
        dress_surface(model, self._floor_geom, scene.floor)
        for slot, geom in enumerate(self._wall_geoms):
            shown = slot < len(scene.walls)
            model.geom_group[geom] = _SHOWN_GROUP if shown else _HIDDEN_GROUP
            if shown:
                mocap = _FIRST_WALL + slot
                put_wall(model, self._data, self._mujoco, geom, mocap, scene.walls[slot])
        for slot, geom in enumerate(self._object_geoms):
            shown = slot < len(scene.bodies)
            model.geom_group[geom] = _SHOWN_GROUP if shown else _HIDDEN_GROUP
            if shown:
                dress_body(model, self._mujoco, geom, scene.bodies[slot])
        dress_light(model, scene.lighting)

    def _build_model(self) -> Any:
        mujoco = self._mujoco
        model = mujoco.MjModel.from_xml_string(model_xml(self.settings))
        model.tex_data[:] = build_textures().ravel()
        self._floor_geom = model.geom("floor").id
        self._wall_geoms = [model.geom(f"wall{slot}").id for slot in range(_MAX_WALLS)]
        self._object_geoms = [model.geom(f"object{slot}").id for slot in range(MAX_OBJECTS)]
        return model


def import_mujoco() -> ModuleType:
    """Import MuJoCo with its offscreen renderer; raises WorldUnavailable if that fails."""
    if sys.platform == "linux" and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco
        import mujoco.renderer  # loads OpenGL, which may be missing
    except ModuleNotFoundError as error:
        if error.name == "mujoco":
            raise WorldUnavailable(
                "the world needs MuJoCo, which is not installed; run: pip install mujoco"
            ) from error
        raise WorldUnavailable(_no_opengl(error)) from error
    except Exception as error:  # a missing EGL library shows as an AttributeError, among others
        raise WorldUnavailable(_no_opengl(error)) from error
    return mujoco


def _needs_a_display_that_is_missing(mujoco: ModuleType) -> bool:
    """Whether MuJoCo chose GLFW when it was imported, which may end the process without a display.

    That is its choice on Linux where MUJOCO_GL is unset.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return False
    context = getattr(mujoco, "GLContext", None)
    return getattr(context, "__module__", "").startswith("mujoco.glfw")


def _no_opengl(error: Exception) -> str:
    platform = os.environ.get("MUJOCO_GL", "default")
    return (
        f"MuJoCo cannot render: no OpenGL through MUJOCO_GL={platform} ({error});"
        " install Mesa's EGL (on Debian: libegl1 and libgl1-mesa-dri) and unset MUJOCO_GL"
    ).replace("\n", " ")


def model_xml(settings: WorldSettings) -> str:
    """The model of all scenes: textures, finishes, floor, walls, camera and slots for objects."""
    rng = np.random.default_rng(TEXTURE_COUNT)
    assets = []
    for number in range(TEXTURE_COUNT):
        repeat = rng.uniform(0.35, 1.3)
        assets.append(
            f'<texture name="t{number}" type="2d" builtin="flat" rgb1="1 1 1"'
            f' width="{TEXTURE_SIZE}" height="{TEXTURE_SIZE}"/>'
            f'<material name="surface{number}" texture="t{number}" texuniform="true"'
            f' texrepeat="{repeat:.3f} {repeat:.3f}" specular="0.1" shininess="0.1"/>'
        )
    for number, (specular, shininess) in enumerate(FINISHES):
        assets.append(
            f'<material name="finish{number}" specular="{specular}" shininess="{shininess}"/>'
        )
    walls = "".join(
        f'<body mocap="true"><geom name="wall{slot}" type="plane" size="8 1.6 0.1"'
        ' material="surface0"/></body>'
        for slot in range(_MAX_WALLS)
    )
    objects = "".join(
        f'<body mocap="true"><geom name="object{slot}" type="sphere" size="0.1 0.1 0.1"'
        ' material="finish0"/></body>'
        for slot in range(MAX_OBJECTS)
    )
    return f"""<mujoco>
      <statistic extent="5" center="0 3 0.5"/>
      <visual>
        <global offwidth="{settings.width}" offheight="{settings.height}"/>
        <quality offsamples="0" shadowsize="256"/>
        <map shadowclip="0.75"/>
      </visual>
      <asset>{"".join(assets)}</asset>
      <worldbody>
        <light name="sun" type="directional" castshadow="true" pos="0 0 5" dir="0 0 -1"
         specular="0.4 0.4 0.4"/>
        <body mocap="true"><camera name="eye"/></body>
        <geom name="floor" type="plane" pos="0 3 0" size="8 5.5 0.1" material="surface0"/>
        {walls}{objects}
      </worldbody>
    </mujoco>"""
