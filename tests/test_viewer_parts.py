"""The viewer's mesh, depth, second scene, edits and camera paths: what is read of them, drawn, and sent to a browser."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("viser")

from recon.depth.maps import DepthMaps, save_map, save_maps
from recon.errors import InputError
from recon.geometry import Sim3, World, rotation_from_quat, se3_inverse
from recon.mesh import Mesh, save_mesh
from recon.page.pictures import UNKNOWN_RGB, colour_table
from render.edits import Ball, Edits, edits_path, read_edits, write_edits
from render.formats.glb import write_glb
from tests.browser import FakeBrowser, wait_for
from tests.fabricate import (
    SIZE,
    fabricate,
    photo_of,
    ring_cameras,
    splat_columns,
    splats_of,
    write_preview,
    write_scene,
    write_stage,
)
from tests.test_viewer_clients import picture, splat_buffers
from viewer import live
from viewer.layers import WORLD_FROM_GLTF
from viewer.live import Watch, read_sparse
from viewer.options import ViewOptions
from viewer.paths import read_path
from viewer.pictures import MARK, labelled, marked, pack, pose_of, split, true_image
from viewer.recorder import path_file, saved_paths
from viewer.server import Viewer
from viewer.session import Session
from viewer.surfaces import MOST_POINTS, DepthCloud, depth_picture, depth_points, read_depth_folder, unfinished_depth

QUICK = ViewOptions(port=0, rest_long_side=48, device="cpu")
WORLD = World(up="estimated")
WALL = 3.5
"""z of every pixel of the depth maps."""


def add_mesh(root: Path, name: str = "main", world: World = WORLD) -> Path:
    """mesh/NAME: one triangle."""
    xyz = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    mesh = Mesh(xyz, np.array([[0, 1, 2]], np.int32), np.full((3, 3), 200, np.uint8), world=world)
    folder = root / "mesh" / name
    folder.mkdir(parents=True)
    write_glb(folder / "mesh.glb", mesh)
    save_mesh(folder / "mesh.npz", mesh)
    write_stage(folder)
    return folder


def wall_maps(root: Path, world: World = WORLD) -> DepthMaps:
    """Maps of half the photos' size: a wall across each view, its left half not measured."""
    cameras = ring_cameras(8)[np.array([1, 2])].resized(np.array([SIZE[0] // 2, SIZE[1] // 2]))
    z = np.full((SIZE[1] // 2, SIZE[0] // 2), WALL, np.float32)
    sure = np.ones_like(z)
    sure[:, : z.shape[1] // 2] = 0
    normal = np.zeros((*z.shape, 3), np.float32)
    return DepthMaps(("photo 01.jpg", "photo 02.jpg"), cameras, (z, z), (sure, sure), (normal, normal), world)


def add_second(root: Path, count: int = 120) -> None:
    write_scene(root / "train" / "fine" / "scene.npz", splat_columns(count, seed=11), WORLD)


# What is read


def test_watch_finds_meshes_depth_and_other_scenes_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fabricate(tmp_path / "ws")
    watch = Watch(root)
    seen = watch.poll({"fine"})
    assert seen.meshes == () and seen.depth is None and seen.others == {} and seen.names == ("main",)
    add_mesh(root, "a")
    add_mesh(root, "main")
    add_mesh(root, "old", World(world_from_sfm=Sim3(2.0)))
    maps = wall_maps(root)
    save_map(root / ".building" / "depth", maps.names[0], maps.z[0], maps.confidence[0], maps.normal[0])
    add_second(root)
    write_preview(root / ".building" / "train" / "later" / "preview.npz", splat_columns(9), 5)
    seen = watch.poll({"fine", "never"})
    assert [mesh.name for mesh in seen.meshes] == ["main", "a"], "the scene's own first; none of another frame"
    assert any("mesh old" in problem for problem in seen.problems)
    assert seen.depth is not None and seen.depth.names == maps.names[:1]
    assert seen.names == ("fine", "later", "main") and list(seen.others) == ["fine"]
    assert seen.others["fine"].scene is not None and watch.poll({"fine", "never"}).same(seen)
    assert watch.poll().others == {}, "what nobody looks at is let go"
    save_maps(maps, root / "depth")
    shutil.rmtree(root / ".building")
    whole = watch.poll()
    assert whole.depth is not None and whole.depth.names == maps.names and whole.depth.cameras is not None
    monkeypatch.setattr(live, "SWAP_SECONDS", -1.0)
    shutil.rmtree(root / "mesh")
    shutil.rmtree(root / "depth")
    gone = watch.poll()
    assert gone.meshes == () and gone.depth is None


def test_watch_shows_the_scene_without_what_was_deleted(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    watch = Watch(root)
    whole = watch.poll()
    edits = Edits((Ball((0, 0, 0), 0.6),), WORLD)
    write_edits(edits_path(root), edits)
    seen = watch.poll()
    assert seen.whole is whole.whole and seen.scene is not None and seen.scene.splats is not None
    left = int((~edits.removes(splat_columns()["mean"])).sum())
    assert 0 < len(seen.scene.splats) == left < 300 and seen.edits.regions == edits.regions
    cameras = ring_cameras(1)
    drawn = [np.asarray(s.depth(cameras).alpha) for s in (whole.scene, seen.scene) if s is not None and s.depth]
    assert drawn[1].sum() < 0.9 * drawn[0].sum()
    edits_path(root).write_text("{")
    broken = watch.poll()
    assert any("main.json" in problem for problem in broken.problems)
    edits_path(root).unlink()
    assert watch.poll().scene is whole.whole


def test_points_of_depth_lie_where_the_depth_says(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    maps = wall_maps(root)
    save_maps(maps, root / "depth")
    sparse, folder = read_sparse(root, "align"), read_depth_folder(root / "depth")
    xyz, rgb = depth_points(folder, sparse, maps.names[0], 10**6)
    height, width = maps.z[0].shape
    assert len(xyz) == height * width // 2, "what was not measured makes no point"
    pixels, z = (a[0] for a in maps.cameras[0].project(xyz))
    np.testing.assert_allclose(z, WALL, rtol=1e-5)
    np.testing.assert_allclose(pixels % 1, 0.5, atol=1e-3)
    assert pixels[:, 0].min() > width / 2
    truth = photo_of(1).reshape(height, 2, width, 2, 3).mean((1, 3))[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    assert np.abs(rgb / 255 - truth).max() < 0.02
    assert 80 < len(depth_points(folder, sparse, maps.names[0], 200)[0]) <= 200
    cloud = DepthCloud(folder, sparse)
    while not cloud.done:
        cloud.step()
    assert len(cloud.points[0]) == height * width < MOST_POINTS
    save_map(root / ".building" / "depth", maps.names[1], maps.z[1], maps.confidence[1], maps.normal[1])
    half = unfinished_depth(root / ".building" / "depth", sparse.model.names)
    assert half is not None and half.names == maps.names[1:]
    pixels = maps.cameras[1].project(depth_points(half, sparse, maps.names[1], 10**6)[0])[0][0]
    np.testing.assert_allclose(pixels % 1, 0.5, atol=1e-3)
    (root / ".building" / "depth" / "z" / f"{maps.names[1]}.npy").write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read"):
        depth_points(half, sparse, maps.names[1], 10)


def test_a_picture_of_depth_is_bright_where_it_is_near_and_grey_where_nothing_was_measured(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    maps = wall_maps(root)
    for z in maps.z:
        z[: z.shape[0] // 2] = 2 * WALL
    save_maps(maps, root / "depth")
    image = depth_picture(read_depth_folder(root / "depth"), read_sparse(root, "align"), maps.names[0])
    height, width = image.shape[:2]
    table = colour_table("viridis")
    assert (image[:, : width // 2 - 1] == UNKNOWN_RGB).all()
    assert (image[: height // 2 - 1, width // 2 + 1 :] == table[0]).all()
    assert (image[height // 2 + 1 :, width // 2 + 1 :] == table[255]).all()


# What is drawn


def test_a_split_picture_has_one_scene_on_each_side_and_both_names() -> None:
    a, b = np.full((300, 800, 3), 10, np.uint8), np.full((300, 800, 3), 90, np.uint8)
    both = split(a, b, 0.25)
    assert (both[:, :199] == 10).all() and (both[:, 201:] == 90).all() and (both[:, 199:201] == 255).any()
    assert (split(a, b, 0.0) == b).all() and (split(a, b, 1.0) == a).all()
    named = labelled(both, ("A  main", "B  größe"), 0.25)
    assert (named != both).any((0, 2))[:199].any() and (named != both).any((0, 2))[201:].any()
    assert not (named != both).any((0, 2))[[0, 200, 799]].any()
    assert (labelled(both, ("A" * 200, "B" * 200), 0.5) == both).all(), "a name without room is left out"


def test_marked_splats_are_the_same_splats_in_another_colour() -> None:
    packed = pack(splats_of(splat_columns(20)))
    rows = np.arange(20) % 3 == 0
    seen = marked(packed, rows)
    rgba = np.ascontiguousarray(seen.buffer[:, 7:]).view(np.uint8).reshape(-1, 4)
    assert (rgba[rows, :3] == MARK).all() and (rgba[rows, 3] >= 150).all()
    assert (seen.buffer[:, :7] == packed.buffer[:, :7]).all() and (seen.buffer[~rows] == packed.buffer[~rows]).all()
    assert marked(packed, np.zeros(20, bool)) is packed


# What a browser is sent


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[tuple[Path, Viewer, FakeBrowser, Session]]:
    """A client that looks at a whole workspace from the first camera."""
    root = fabricate(tmp_path / "ws")
    add_mesh(root)
    save_maps(wall_maps(root), root / "depth")
    add_second(root)
    with Viewer(root, QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        pose = pose_of(ring_cameras(8), 1, (96, 64))
        browser.look(pose.position, pose.wxyz, pose.fov)
        wait_for(lambda: viewer.sessions and splat_buffers(browser))
        browser.look(pose.position, pose.wxyz, pose.fov)
        session = viewer.sessions[0]
        wait_for(lambda: session.now.depth is not None and session.pose is not None)
        yield root, viewer, browser, session


def test_mesh_and_depth_come_when_they_are_switched_on(looking: Any) -> None:
    root, _, browser, session = looking
    panel = session.panel
    assert panel.mesh.visible and panel.depth.visible and not panel.which_mesh.visible
    assert not browser.of("GlbMessage") and not browser.of("PointCloudMessage", name="/depth")
    wait_for(lambda: session.rest.showing)
    panel.cameras.value = False
    wait_for(lambda: session.rest.showing and browser.of("BackgroundImageMessage")[-1]["depth_data"] is None)
    panel.mesh.value = True
    sent = wait_for(lambda: browser.of("GlbMessage"))[0]
    assert sent["props"]["glb_data"] == (root / "mesh" / "main" / "mesh.glb").read_bytes()
    turn = browser.of("SetOrientationMessage", name="/mesh")[-1]["wxyz"]
    np.testing.assert_allclose(rotation_from_quat(turn) @ [1, 2, 3], [1, -3, 2], atol=1e-6)
    assert tuple(turn) == WORLD_FROM_GLTF
    wait_for(lambda: session.rest.showing and browser.of("BackgroundImageMessage")[-1]["depth_data"])
    panel.depth.value = True
    points = wait_for(lambda: browser.of("PointCloudMessage", name="/depth"))[0]["props"]
    assert len(points["points"]) == 12 * 2 * (SIZE[0] // 2) * (SIZE[1] // 2) // 2
    panel.cameras.value, panel.in_cameras.value = True, "depth"
    wait_for(lambda: session.nodes._held == ["depth"] * 8)
    assert [f.image is None for f in session.nodes.frusta] == [i not in (1, 2) for i in range(8)]
    panel.in_cameras.value = "nothing"
    wait_for(lambda: all(f.image is None for f in session.nodes.frusta))
    shutil.rmtree(root / "mesh")
    wait_for(lambda: browser.of("RemoveSceneNodeMessage", name="/mesh"))
    wait_for(lambda: not panel.mesh.visible)


def test_two_scenes_are_shown_on_both_sides_of_the_divider(looking: Any) -> None:
    _, _, browser, session = looking
    wait_for(lambda: session.panel.other.options == ("no other scene", "fine"))
    session.panel.other.value = "fine"
    wait_for(lambda: len(session.rest._views) == 2)
    other = session.other
    assert other is not None
    for share in (50, 25):
        session.panel.divider.value = share
        truth = [true_image(scene, session.pose, 48).astype(float) for scene in (session.scene, other.scene)]
        column = round(48 * share / 100)
        expected = np.concatenate([truth[0][:, :column], truth[1][:, column:]], 1)
        apart = np.abs(truth[0] - truth[1]).mean()

        def as_expected(expected: Any = expected, apart: float = apart) -> bool:
            sent = browser.of("BackgroundImageMessage")[-1]["rgb_data"]
            return bool(sent) and np.abs(picture(sent) - expected).mean() < 0.6 * apart

        wait_for(as_expected)
    assert "B  fine: not evaluated" in session.panel._scores.content and session.panel.divider.visible
    wait_for(lambda: "B fine: PSNR" in session.panel._caption.content)
    wait_for(lambda: session.panel._picture is not None and session.panel._picture.image.shape[0] == 5 * 64 + 4 * 6)
    session.panel.other.value = "no other scene"
    wait_for(lambda: session.other is None and len(session.rest._views) == 1)
    wait_for(lambda: session.panel._picture.image.shape[0] == 3 * 64 + 2 * 6)


def click_at(session: Session, spot: np.ndarray) -> None:
    origin = np.array(session.pose.position) if session.pose is not None else np.zeros(3)
    session.editor.clicked(SimpleNamespace(ray_origin=origin, ray_direction=spot - origin))


def counts(browser: FakeBrowser) -> int:
    return len(splat_buffers(browser)[-1]) // 32


def test_selecting_deleting_undoing_and_saving(looking: Any) -> None:
    root, viewer, browser, session = looking
    editor, mean = session.editor, splat_columns()["mean"].astype(float)
    before = (root / "train" / "main" / "scene.npz").read_bytes()
    editor.tool.value = "ball"
    wait_for(lambda: browser.of("ScenePointerEnableMessage"))
    editor.radius.value = 15.0
    click_at(session, np.zeros(3))
    ball = editor._selected[-1]
    assert np.linalg.norm(ball.center) < 1.3 and ball.radius == pytest.approx(0.15 * session.place.size)
    inside = ball.contains(mean)
    assert editor._rows is not None and (editor._rows == inside).all() and inside.any() and not session.rest.wanted
    expected = marked(pack(splats_of(splat_columns())), inside).buffer.tobytes()
    wait_for(lambda: splat_buffers(browser)[-1] == expected)
    editor.act("delete")
    wait_for(lambda: counts(browser) == (~inside).sum())
    assert editor.unsaved and not edits_path(root).exists() and session.edited
    editor.act("undo")
    wait_for(lambda: counts(browser) == 300)
    editor.tool.value = "box"
    wait_for(lambda: editor._gizmo is not None and editor.selecting)
    editor._gizmo.position, editor.box_size.value = (0.0, 0.0, 0.0), (0.8, 0.8, 0.8)
    in_box = (np.abs(mean) <= 0.4).all(1)
    wait_for(lambda: editor._rows is not None and (editor._rows == in_box).all())
    editor.act("delete")
    with FakeBrowser(viewer.port) as second:
        second.look((9, 0, 1))
        wait_for(lambda: splat_buffers(second))
        assert counts(second) == 300, "until it is saved, it is one client's"
        editor.write()
        wait_for(lambda: counts(second) == (~in_box).sum())
    saved = read_edits(edits_path(root))
    assert (saved.removes(mean) == in_box).all() and saved.removed == (int(in_box.sum()),) and not editor.unsaved
    assert "Saved." in editor._text.content or f"{in_box.sum()} deleted" in editor._text.content
    editor.act("undo")
    editor.write()
    assert not edits_path(root).exists() and (root / "train" / "main" / "scene.npz").read_bytes() == before


def test_what_another_saves_joins_what_one_has_not_saved(looking: Any) -> None:
    root, _, browser, session = looking
    mine, theirs = Ball((0.4, 0.4, 0.4), 0.4), Ball((-0.4, -0.4, -0.4), 0.5)
    session.editor.select((mine,))
    session.editor.act("delete")
    write_edits(edits_path(root), Edits((theirs,), WORLD))
    wait_for(lambda: session.editor._regions == (theirs, mine))
    left = int((~Edits((theirs, mine)).removes(splat_columns()["mean"])).sum())
    wait_for(lambda: counts(browser) == left)
    session.editor.write()
    assert read_edits(edits_path(root)).regions == (theirs, mine)


def test_floaters_are_proposed_and_can_be_deleted(looking: Any) -> None:
    root, _, browser, session = looking
    columns = splat_columns(300)
    columns["mean"][:3] = [[0, 0, 9], [0, 0, -20], [15, 9, 1]]
    write_scene(root / "train" / "main" / "scene.npz", columns, WORLD)
    wait_for(lambda: splat_buffers(browser)[-1] == pack(splats_of(columns)).buffer.tobytes())
    session.editor.tool.value = "floaters"
    wait_for(lambda: session.editor.selecting)
    assert np.flatnonzero(session.editor._rows).tolist() == [0, 1, 2]
    session.editor.act("delete")
    wait_for(lambda: counts(browser) == 297)


def test_a_camera_path_is_recorded_played_and_kept(looking: Any) -> None:
    root, _, browser, session = looking
    cameras, recorder = ring_cameras(8), session.recorder
    for row in (1, 2, 3):
        pose = pose_of(cameras, row, (96, 64))
        browser.look(pose.position, pose.wxyz, pose.fov)
        wait_for(lambda row=row: np.allclose(session.pose.position, cameras.centers[row]))
        recorder.add()
    recorder.add()
    recorder.remove_last()
    recorder.name.value = "round trip"
    recorder.save()
    path = read_path(root / "paths" / "round trip.json")
    np.testing.assert_allclose(path.cam_from_world, cameras.cam_from_world[1:4], atol=1e-6)
    np.testing.assert_allclose(path.vfov_deg, 2 * np.degrees(np.arctan(32 / 90)), rtol=1e-6)
    assert path.time.tolist() == [0, 2, 4] and not path.loop
    assert json.loads((root / "paths" / "round trip.json").read_text())["recon_path"] == 1
    recorder.show_moment(path, 2.0)
    wait_for(lambda: np.allclose(browser.of("SetCameraPositionMessage")[-1]["position"], cameras.centers[2], atol=1e-6))
    recorder.show_moment(path, 1.0)
    middle = se3_inverse(path.at(1.0).cam_from_world)[0]
    wait_for(lambda: np.allclose(browser.of("SetCameraPositionMessage")[-1]["position"], middle[:3, 3], atol=1e-6))
    look = np.array(browser.of("SetCameraLookAtMessage")[-1]["look_at"]) - middle[:3, 3]
    np.testing.assert_allclose(look / np.linalg.norm(look), middle[:3, 2], atol=1e-6)
    recorder.remove_last()
    recorder.saved.value = "round trip"
    recorder.load()
    assert recorder.path is not None and len(recorder.path) == 3
    sent = len(browser.of("SetCameraPositionMessage"))
    recorder.start()
    wait_for(lambda: len(browser.of("SetCameraPositionMessage")) > sent + 2)
    recorder.stop()
    wait_for(lambda: not recorder._player.is_alive())


def test_a_path_is_saved_under_safe_names_alone(looking: Any, tmp_path: Path) -> None:
    root, _, _, session = looking
    for name in ("../out", "/tmp/out", "a/b", "..", ".x", "", "a\\b", "a\nb", "x" * 80, "con:"):
        with pytest.raises(InputError, match="cannot name"):
            path_file(root, name)
    session.recorder.add()
    before = sorted(p.name for p in tmp_path.rglob("*"))
    session.recorder.name.value = "../../out"
    session.recorder.save()
    assert "Not saved" in session.recorder._text.content
    assert sorted(p.name for p in tmp_path.rglob("*")) == before and saved_paths(root) == []
    (root / "paths").mkdir()
    (root / "paths" / "broken.json").write_text('{"recon_path": 9}')
    session.recorder.load()
    assert "Not loaded" in session.recorder._text.content and saved_paths(root) == ["broken"]
