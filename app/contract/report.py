"""The compression report: what the user gets, measured on the exported file, reloaded in a clean process."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Runtime = Literal["torch", "onnxruntime", "tensorflow"]
Share = Annotated[float, Field(ge=0, le=1)]
MOST_CLASSES = 100
"""In a report, which is part of every answer about its job."""


class Latency(BaseModel):
    """How long one batch takes, in seconds, over `runs` timed runs after a warm-up."""

    batch_size: int
    p50_s: float
    p95_s: float
    runs: int
    runtime: Runtime = Field("torch", description="What ran the network; `onnxruntime` ran it on the CPU.")


class Measurement(BaseModel):
    """One network, measured. MACs are multiply-accumulates of one forward pass of one image."""

    parameters: int
    macs: int
    file_bytes: int = Field(description="Of the safetensors file; of the int8 file where that is what ships.")
    latency: list[Latency]
    accuracy: float | None = Field(
        None, description="On the validation images, in [0, 1]; null when it was not trained."
    )


class Trained(BaseModel):
    """How a network came to the weights that were exported."""

    epochs: int = Field(description="That were made.")
    planned_epochs: int = Field(description="`training.epochs` of the spec.")
    stopped_early: bool = Field(description="`early_stopping` ended training.")
    exported_epoch: int = Field(description="Whose weights these are; with `export_best` the best one's.")
    averaged: bool = Field(description="They are the moving average that `ema` asked for.")


class Stage(Measurement):
    """The network as it was, or would have been, behind one method of the spec. Only what was trained has an accuracy.

    The first stage is the uncompressed network, behind that of an earlier job where `baseline` names one; the last one
    is what ships. Those between are built again from the spec, and hold initial weights.
    """

    name: str = Field(
        description="`uncompressed`, then the kinds in the order of the spec; a second one has `#2`. "
        "`baseline`: another job's."
    )
    method: str | None = Field(None, description="The kind of the compression method; null for the first stage.")
    gzip_bytes: int | None = Field(None, description="Of the same file behind gzip, level 6.")
    training_memory_bytes: int | None = Field(
        None, description="Estimated peak of one training process, as in the plan; null where it is not trained so."
    )
    peak_memory_bytes: int | None = Field(
        None,
        description="Measured peak of the training process that took most: of its GPU's memory (with `mirrored`, the "
        "first's), or its own on a CPU, libraries and what it shares with the other processes included. Null where it "
        "was not trained in this attempt.",
    )
    accuracy_interval: tuple[Share, Share] | None = Field(
        None, description="95 % confidence (Wilson's score interval), for validation images drawn at random."
    )
    trained: Trained | None = Field(None, description="Null where it was not trained.")


class ClassChange(BaseModel):
    """How one class fares: the share of its validation images that are told right."""

    name: str
    images: int = Field(description="Validation images of the class.")
    before: float | None = Field(None, description="Of what `baseline` names; null when it was not trained.")
    after: float


class ExportCheck(BaseModel):
    """A file that was run by its own runtime, beside the trained network, on validation images."""

    format: Literal["safetensors", "onnx", "torch_export", "onnx_int8", "saved_model", "tflite"]
    file: str = Field(description="Name of the artifact.")
    size_bytes: int
    max_abs_difference: float = Field(description="Of the logits.")
    top1_agreement: Share = Field(description="Share of the images that both give the same class.")
    images: int
    runtime: str = Field(description="Name and version.")


class Machine(BaseModel):
    """Where the figures were taken; latencies of different machines do not compare."""

    host: str
    device: str
    processor: str
    threads: int
    torch: str | None = Field(None, description="Version; null where TensorFlow trained.")
    tensorflow: str | None = Field(None, description="Version; null where torch trained.")
    onnxruntime: str | None = Field(None, description="Version; null where no ONNX file was measured.")


class Ratios(BaseModel):
    """before / after: above 1 means smaller or faster."""

    parameters: float
    macs: float
    file_bytes: float
    latency_p50: float = Field(description="At batch size 1, both run by the same runtime.")


class GateResult(BaseModel):
    """One gate of the spec, judged."""

    gate: str = Field(description="Its name in `gates` of the spec.")
    limit: int | float
    found: int | float | None = Field(description="What was measured; null when it could not be.")
    passed: bool
    missed_by: int | float | None = Field(None, description="How far beyond the limit; null when it was passed.")


class Report(BaseModel):
    """Before is the network that the spec's `baseline` names; after is what the job ships."""

    before: Measurement
    after: Measurement
    ratios: Ratios
    accuracy_drop: float | None = Field(None, description="accuracy before - after; null when either is unknown.")
    machine: Machine
    verified: bool = Field(description="The reloaded file gave the same outputs as the trained network.")
    dataset_sha256: str | None = Field(None, description="Of names and contents of the images it was trained on.")
    stages: list[Stage] = Field([], description="Uncompressed, then after each method in the order of the spec.")
    classes: list[ClassChange] = Field(
        [],
        description=f"In the order of the outputs; of more than {MOST_CLASSES} the ones that lost most, or that are "
        "told worst where there is no before.",
    )
    exports: list[ExportCheck] = Field([], description="Every format of the model, checked.")
    gates: list[GateResult] = Field([], description="One for each gate of the spec.")
