"""Splats that a few nodes carry: each node has a path of six degrees of freedom, and splats follow the nodes nearest to them.

Source: Huang et al., SC-GS: Sparse-Controlled Gaussian Splatting for Editable Dynamic Scenes, CVPR 2024 (nodes by farthest point
sampling, weights by radial basis functions, linear blend skinning, motion as rigid as possible); Sorkine and Alexa,
As-rigid-as-possible surface modeling, SGP 2007. A node's path is a cubic B-spline over keyframes instead of a network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from render.densify import Edit
from render.initial import SceneSetup
from render.motion import Motion, MotionConfig, MovingScene, swings, swung
from render.scenes.gs import EDIT_EVERY

NEIGHBOURS = 6
"""Of a node, to which it keeps its distance."""


@dataclass(frozen=True)
class NodesConfig(MotionConfig):
    """That of motion.py, and the number, rates and weights of the nodes."""

    nodes: int = 256
    """At most; fewer where there are few splats."""
    near: int = 4
    """Nodes that a splat follows."""
    moments: float = 0.5
    """Keyframes, relative to the number of moments that were photographed."""
    lr_track: float = 4e-3
    lr_radius: float = 1e-2
    rigid: float = 1.0
    """Of the squared changes of the vectors between neighbouring nodes beyond their rotations, in units of the extent; 0: off."""
    company: float = 1.0
    """How much the nodes' paths count beside their places at rest when neighbours are sought that keep their distance; 0: not."""
    smooth: float = 0.1
    """Of the squared second differences of the nodes' paths over keyframes, in units of the extent and radians; 0: off."""

    def motion(self, setup: SceneSetup, mean: Tensor) -> dict[str, Tensor]:
        start, end = setup.times or (0.0, 0.0)
        keys = max(4, 1 + round(self.moments * setup.fps * (end - start)))
        count = max(1, min(self.nodes, len(mean) // 4))
        node = mean[farthest(mean.cpu(), count)].cpu()
        return {"node": node, "log_radius": log_spacing(node), "track": torch.zeros(keys + 2, count, 6)}

    def scene(self, setup: SceneSetup, columns: dict[str, Tensor], shared: dict[str, Tensor]) -> NodesScene:
        return NodesScene(self, setup, columns, shared)


class NodesScene(MovingScene):
    """MovingScene whose splats follow nodes."""

    config: NodesConfig
    fixed = ("node",)
    _near: Tensor | None = None
    """i64[N, near], the nodes that each splat follows until the next edit."""
    _edges: Tensor | None = None
    """i64[E, 2], pairs of neighbouring nodes."""

    @torch.no_grad()
    def begin(self) -> None:
        """Place the nodes among the splats of the still scene."""
        shared, mean = self._parameters.shared, self._parameters.per_splat["mean"].detach()
        shared["node"].copy_(mean[farthest(mean.cpu(), len(shared["node"]))])
        shared["log_radius"].copy_(log_spacing(shared["node"].cpu()))
        self._near = self._edges = None

    def path(self, s: float) -> Tensor:
        """f32[K, 6] at s: what the nodes are shifted by, in units of the extent, and turned by, as in motion.py."""
        track = self._parameters.shared["track"]
        at = s * (len(track) - 3)
        first = min(int(at), len(track) - 4)
        u = at - first
        weights = [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3]
        return torch.einsum("k,knd->nd", track.new_tensor(weights) / 6, track[first : first + 4])

    def motion_at(self, rows: Tensor, mean: Tensor, s: float) -> Motion:
        """Linear blend skinning of means and rotations.

        Node k carries x to x + D_k x + (t_k - D_k p_k), D_k = R_k - 1; splats blend D_k, t_k - D_k p_k and the turn itself."""
        shared, near = self._parameters.shared, self._nearest()[rows]
        node = shared["node"]
        shift, turn = self.path(s).split(3, -1)
        swing = swings(turn)
        carried = self.setup.extent * shift - torch.einsum("kij,kj->ki", swing, node)
        away = (mean[:, None] - node[near]).square().sum(-1)
        weight = torch.softmax(-0.5 * away * torch.exp(-2 * shared["log_radius"])[near], 1)
        table = torch.cat([swing.flatten(1), carried, turn], 1)
        blend = torch.nn.functional.embedding_bag(near, table, per_sample_weights=weight, mode="sum")
        swung, carried, turned = blend[:, :9].view(-1, 3, 3), blend[:, 9:12], blend[:, 12:]
        return (swung @ mean[..., None])[..., 0] + carried, turned, torch.zeros_like(turned)

    def motion_rates(self) -> dict[str, float]:
        return {"track": self.config.lr_track, "log_radius": self.config.lr_radius}

    def motion_penalty(self, s: float) -> Tensor | None:
        c, terms = self.config, []
        if c.rigid > 0:
            terms.append(c.rigid * self.bending(s))
        if c.smooth > 0:
            terms.append(c.smooth * self._parameters.shared["track"].diff(n=2, dim=0).square().sum(-1).mean())
        return torch.stack(terms).sum() if terms else None

    def bending(self, s: float) -> Tensor:
        """Mean of |(p_j(s) - p_i(s)) - R_i(s) (p_j - p_i)|^2 over neighbouring nodes, in units of the extent."""
        i, j = self._pairs().unbind(-1)
        shift, turn = self.path(s).split(3, -1)
        edge = (self._parameters.shared["node"][j] - self._parameters.shared["node"][i]) / self.setup.extent
        return (shift[j] - shift[i] - swung(turn[i], edge)).square().sum(-1).mean()

    @torch.no_grad()
    def edge_variance(self, moments: int = 9) -> float:
        """Variance over time of the distances between neighbouring nodes, relative to those at rest; mean over all pairs."""
        node, (i, j) = self._parameters.shared["node"], self._pairs().unbind(-1)
        places = [node + self.setup.extent * self.path(k / (moments - 1))[:, :3] for k in range(moments)]
        lengths = torch.stack([(place[j] - place[i]).norm(dim=-1) for place in places])
        return float((lengths / (node[j] - node[i]).norm(dim=-1).clamp_min(1e-12)).var(0).mean())

    def _pairs(self) -> Tensor:
        """i64[E, 2], nodes and their neighbours: those nearest at rest and all along their paths, as in SC-GS."""
        if self._edges is None:
            node = self._parameters.shared["node"].detach()
            track = self._parameters.shared["track"].detach()[..., :3]
            path = self.config.company * self.setup.extent * (track - track.mean(0)).permute(1, 0, 2).flatten(1)
            along = torch.cat([node, path / math.sqrt(len(track))], 1)
            near = nearest(along, along, 1 + min(NEIGHBOURS, len(node) - 1))[:, 1:]
            start = torch.arange(len(node), device=near.device)[:, None].expand_as(near)
            self._edges = torch.stack([start.reshape(-1), near.reshape(-1)], -1)
        return self._edges

    def _nearest(self) -> Tensor:
        if self._near is None:
            node, mean = self._parameters.shared["node"], self._parameters.per_splat["mean"]
            self._near = nearest(mean.detach(), node.detach(), min(self.config.near, len(node)))
        return self._near

    def _edit(self, edit: Edit) -> None:
        super()._edit(edit)
        self._near = None

    def after_step(self, step: int, progress: float) -> bool:
        edited = super().after_step(step, progress)
        if step % EDIT_EVERY == 0:
            self._near = self._edges = None
        return edited

    def finish(self) -> None:
        super().finish()
        self._near = None

    def state(self) -> dict[str, Tensor]:
        found = {"near": self._near, "edges": self._edges}
        return super().state() | {name: tensor for name, tensor in found.items() if tensor is not None}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self._near, self._edges = state.get("near"), state.get("edges")


def farthest(xyz: Tensor, count: int) -> Tensor:
    """i64[count]: points [N, 3], each the farthest from those before it; the first is the one farthest from the median."""
    distance = (xyz - xyz.median(0).values).norm(dim=-1)
    cap = 4 * float(distance.median()) + 1e-12  # lone points far away are not worth a node
    distance = torch.where(distance <= cap, distance, -1.0)
    within, chosen = distance >= 0, [int(distance.argmax())]
    least = torch.where(within, torch.full_like(distance, math.inf), -1.0)
    for _ in range(count - 1):
        least = torch.minimum(least, (xyz - xyz[chosen[-1]]).norm(dim=-1))
        chosen.append(int(least.argmax()))
    return torch.tensor(chosen)


def nearest(xyz: Tensor, node: Tensor, count: int) -> Tensor:
    """i64[N, count]: the nodes [K, 3] nearest to each point [N, 3], nearest first."""
    from scipy.spatial import KDTree

    found = KDTree(node.cpu().numpy()).query(xyz.cpu().numpy(), k=count, workers=1)[1]
    return torch.from_numpy(np.asarray(found, np.int64).reshape(len(xyz), count)).to(xyz.device)


def log_spacing(node: Tensor) -> Tensor:
    """f32[K]: logarithm of each node's distance to the third nearest other one, or to the farthest of fewer."""
    distance = torch.cdist(node.float(), node.float())
    rank = min(3, len(node) - 1)
    return torch.log(distance.sort(1).values[:, rank].clamp_min(1e-6))
