"""What only the network itself can tell about a spec, found by a worker without training: the answer of a dry run."""

from typing import Literal

from pydantic import BaseModel, Field


class NetworkCost(BaseModel):
    """What a network costs to keep and to run. One MAC is one multiply-accumulate, for one image."""

    parameters: int = Field(description="Trainable and fixed weights.")
    macs: int = Field(description="Multiply-accumulates of one forward pass of one image.")
    weights_bytes: int = Field(description="Of all weights and buffers in fp32.")


class LayerChange(BaseModel):
    """What one compression method did, or could not do, to one layer."""

    name: str = Field(description="The layer's module name in the network.")
    method: str = Field(description="The kind of the compression method.")
    status: Literal["changed", "kept"]
    reason: str = Field("", description="Why a layer was kept.")
    parameters_before: int
    parameters_after: int
    macs_before: int | None = Field(
        None, description="For one image; a layer that is called twice counts twice. Null from an earlier version."
    )
    macs_after: int | None = None


class MethodEffect(BaseModel):
    """What one compression method did to the whole network. MACs are those of one image."""

    method: str = Field(max_length=100, description="Its kind.")
    layers_changed: int = Field(ge=0, lt=2**31)
    layers_kept: int = Field(ge=0, lt=2**31, description="Looked at, and left as they were.")
    parameters_before: int = Field(ge=0, le=2**53)
    parameters_after: int = Field(ge=0, le=2**53)
    macs_before: int = Field(ge=0, le=2**53)
    macs_after: int = Field(ge=0, le=2**53)


class TeacherCost(BaseModel):
    """What a teacher adds to training; it is no part of the network that is shipped."""

    job: str = Field(description="The job whose network it is.")
    parameters: int
    macs: int = Field(description="Multiply-accumulates of one image, in every step, beside the network's own.")
    memory_bytes: int = Field(description="Its weights and what passes through it; part of the plan's `memory_bytes`.")


class Computing(BaseModel):
    """How the steps of training will be computed, where the spec says `auto`."""

    precision: Literal["fp64", "fp32", "bf16", "fp16"]
    compiled: bool = Field(description="Whether torch.compile will be used.")
    reason: str = Field("", description="Why it will not, where that was left to the worker.")


class Plan(BaseModel):
    """What a job will do: its networks before and after compression, its steps and its memory."""

    before: NetworkCost
    after: NetworkCost
    layers: list[LayerChange] = []
    methods: list[MethodEffect] = Field([], description="One after the other, as the spec lists them.")
    classes: list[str] = Field([], description="Class names, in the order of the network's outputs.")
    train_images: int
    validation_images: int
    image_size: tuple[int, int] = Field(description="[height, width] of what the network sees.")
    steps_per_epoch: int
    processes: int = Field(1, description="Training processes; with `auto`, as many as the best worker could give.")
    passes_per_step: int = Field(1, description="Passes that make up a step: `distributed.gradient_accumulation`.")
    images_per_pass: int = Field(0, description="Most images that one process computes at once; 0: not known.")
    memory_bytes: int = Field(
        description="Estimated peak of one training process: weights, gradients, optimizer, activations."
    )
    teacher: TeacherCost | None = Field(None, description="With `distillation`.")
    computing: Computing | None = Field(None, description="Null from an earlier version.")
    warnings: list[str] = []
