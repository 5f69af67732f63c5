"""Small networks with known answers, written as the files that users have: ONNX, a transformers folder, a Marigold folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon.depth.mono_networks import IMAGENET_MEAN, IMAGENET_STD

Shape = Sequence[int | str | None]


def onnx_file(
    path: Path,
    gain: float = 1.0,
    offset: float = 0.0,
    *,
    size: Shape = ("height", "width"),
    channels: int = 1,
    nan_below: float | None = None,
    inputs: Shape | None = None,
    squeeze: bool = True,
) -> Path:
    """A network that undoes ImageNet's normalisation and says gain * red + offset of each pixel, red in 0..1.

    NaN where red is below `nan_below`. `channels` outputs; `inputs`: the shape that it asks for, [1, 3, *size] otherwise.
    """
    from onnx import TensorProto, checker, helper, numpy_helper, save

    weight = np.zeros((channels, 3, 1, 1), np.float32)
    weight[:, 0] = gain * IMAGENET_STD[0]
    bias = np.full(channels, gain * IMAGENET_MEAN[0] + offset, np.float32)
    values = {"weight": weight, "bias": bias, "axis": np.array([1], np.int64)}
    nodes = [helper.make_node("Conv", ["pixel_values", "weight", "bias"], ["said"])]
    if nan_below is not None:
        values |= {"least": np.float32(gain * nan_below + offset), "zero": np.float32(0)}
        nodes += [
            helper.make_node("Sub", ["said", "least"], ["above"]),
            helper.make_node("Sqrt", ["above"], ["root"]),
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", ["said", "nothing"], ["with_nan"]),
        ]
    last = nodes[-1].output[0]
    last_node = helper.make_node("Squeeze", [last, "axis"], ["predicted_depth"])
    nodes.append(last_node if squeeze else helper.make_node("Identity", [last], ["predicted_depth"]))
    shape = ["batch", *([] if squeeze else ["channel"]), "h", "w"]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, inputs or [1, 3, *size])],
        [helper.make_tensor_value_info("predicted_depth", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))
    return path


def transformers_folder(folder: Path, **config: Any) -> Path:
    """Depth Anything with a backbone of two layers and random weights; its photos are 56 px on the shorter side."""
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        patch_size=14,
        out_features=["stage1", "stage2"],
        reshape_hidden_states=False,
    )
    torch.manual_seed(0)
    model = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            patch_size=14,
            reassemble_hidden_size=16,
            reassemble_factors=[2, 1],
            neck_hidden_sizes=[8, 8],
            fusion_hidden_size=8,
            head_hidden_size=4,
            **config,
        )
    )
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(0, 0.3)  # the usual start ends in a map of zeros
        model.head.conv3.bias.fill_(2.0)
    model.save_pretrained(folder)
    size = {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
    (folder / "preprocessor_config.json").write_text(json.dumps(size), encoding="utf-8")
    return folder


def marigold_folder(folder: Path) -> Path:
    """A Marigold pipeline of a few thousand random weights, two denoising steps at 32 px."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, MarigoldDepthPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        sample_size=8,
        in_channels=8,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(block_out_channels=(8,), latent_channels=4, norm_num_groups=4)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=4,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=8,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "b</w>": 3}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), model_max_length=8)
    scheduler = DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing")
    pipeline = MarigoldDepthPipeline(
        unet,
        vae,
        scheduler,
        text,
        tokenizer,
        prediction_type="depth",
        default_denoising_steps=2,
        default_processing_resolution=32,
    )
    pipeline.save_pretrained(str(folder))
    return folder
