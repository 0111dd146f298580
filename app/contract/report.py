"""The compression report: what the user gets, measured on the exported file, reloaded in a clean process."""

from typing import Literal

from pydantic import BaseModel, Field


class Latency(BaseModel):
    """How long one batch takes, in seconds, over `runs` timed runs after a warm-up."""

    batch_size: int
    p50_s: float
    p95_s: float
    runs: int
    runtime: Literal["torch", "onnxruntime"] = "torch"


class Measurement(BaseModel):
    """One network, measured. MACs are multiply-accumulates of one forward pass of one image."""

    parameters: int
    macs: int
    file_bytes: int = Field(description="Of the safetensors file.")
    latency: list[Latency]
    accuracy: float | None = Field(
        None, description="On the validation images, in [0, 1]; null when it was not trained."
    )


class Machine(BaseModel):
    """Where the figures were taken; latencies of different machines do not compare."""

    host: str
    device: str
    processor: str
    threads: int
    torch: str


class Ratios(BaseModel):
    """before / after: above 1 means smaller or faster."""

    parameters: float
    macs: float
    file_bytes: float
    latency_p50: float = Field(description="At batch size 1.")


class Stage(BaseModel):
    """The network after one compression method, or before the first: measured as it then was."""

    name: str
    method: str | None = Field(None, description="The kind of the compression method; null: uncompressed.")
    parameters: int
    macs: int
    file_bytes: int = Field(description="Of the file that holds it.")
    gzip_bytes: int | None = Field(None, description="Of the same file, compressed by gzip.")
    latency: list[Latency] = []
    training_memory_bytes: int | None = Field(None, description="Peak of one training process.")
    accuracy: float | None = Field(None, description="On the validation images; null when it was not measured.")
    accuracy_interval: tuple[float, float] | None = Field(None, description="Wilson's, 95 %.")


class ClassChange(BaseModel):
    """One class of the data: the share of its validation images that are told right, before and after."""

    name: str
    images: int = Field(description="Validation images of this class.")
    before: float | None = None
    after: float | None = None


class ExportCheck(BaseModel):
    """A file that the job ships, reloaded in a clean process and compared with the trained network."""

    format: str
    file: str
    size_bytes: int
    max_abs_difference: float | None = Field(None, description="Of the outputs.")
    top1_agreement: float | None = Field(None, description="Share of images for which both name the same class.")
    images: int = Field(0, description="Images that were compared.")
    runtime: str


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
    stages: list[Stage] = Field([], description="Uncompressed, then after each compression method.")
    classes: list[ClassChange] = []
    exports: list[ExportCheck] = []
    gates: list[GateResult] = Field([], description="One for each gate of the spec.")

    def shipped(self) -> Measurement | Stage:
        """The file that the job ships: the network after the last method, where the stages were measured."""
        return self.stages[-1] if self.stages else self.after

    def shipped_accuracy(self) -> float | None:
        """Of that file, or of the network that it was made from."""
        accuracy = self.shipped().accuracy
        return self.after.accuracy if accuracy is None else accuracy
